"""What changed between two texts, line by line, as people read it in a review."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

_CONTEXT_LINES = 3
# Lines before times lines after. Beyond, comparing each line with each takes too long, and what
# differs between the common beginning and the common end is shown as one change.
_COMPARED_PAIRS = 10_000
_BETWEEN_CHANGES = "@@"
_NO_LINE_FEED = "\n\\ No line feed at the end"

_Change = tuple[str, int, int, int, int]


def line_diff(before: str, after: str) -> str:
    """Return the changed lines, marked `-` and `+`, with three unchanged ones around them.

    Every line begins with `-`, `+`, a space, a backslash for a remark on the line before it or,
    between changes that are apart, `@@`; empty where nothing changed. Takes time in proportion to
    the texts, whatever they hold.
    """
    old, new = _lines(before), _lines(after)
    if before.endswith("\n") != after.endswith("\n"):
        # Whoever adds or takes away the last LF joins, or parts, what stands around the text.
        old, new = _with_remark(old, before), _with_remark(new, after)
    parts = ["\n".join(_marked(group, old, new)) for group in _changes(old, new)]
    return f"\n{_BETWEEN_CHANGES}\n".join(parts)


def _with_remark(lines: list[str], text: str) -> list[str]:
    if not lines or text.endswith("\n"):
        return lines
    return [*lines[:-1], f"{lines[-1]}{_NO_LINE_FEED}"]


def added_lines(text: str) -> str:
    """Return `text` as a change of which every line is new."""
    return "\n".join(f"+{line}" for line in _lines(text))


def _lines(text: str) -> list[str]:
    """Return the lines; a CR, which nobody would see, is shown as a sign."""
    return text.removesuffix("\n").replace("\r", "␍").split("\n") if text else []


def _changes(old: Sequence[str], new: Sequence[str]) -> Iterable[Iterable[_Change]]:
    if old == new:
        return []
    if len(old) * len(new) <= _COMPARED_PAIRS:
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        return matcher.get_grouped_opcodes(_CONTEXT_LINES)
    shortest = min(len(old), len(new))
    begin = _common(old, new, shortest)
    end = _common(old[::-1], new[::-1], shortest - begin)
    old_end, new_end = len(old) - end, len(new) - end
    first, last = max(0, begin - _CONTEXT_LINES), min(end, _CONTEXT_LINES)
    change: list[_Change] = [
        ("equal", first, begin, first, begin),
        ("replace", begin, old_end, begin, new_end),
        ("equal", old_end, old_end + last, new_end, new_end + last),
    ]
    return [change]


def _common(old: Sequence[str], new: Sequence[str], most: int) -> int:
    """Return how many lines are the same from the beginning on, at most `most`."""
    return next((at for at in range(most) if old[at] != new[at]), most)


def _marked(changes: Iterable[_Change], old: Sequence[str], new: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for kind, old_begin, old_end, new_begin, new_end in changes:
        if kind == "equal":
            lines += [f" {line}" for line in old[old_begin:old_end]]
        else:
            lines += [f"-{line}" for line in old[old_begin:old_end]]
            lines += [f"+{line}" for line in new[new_begin:new_end]]
    return lines
