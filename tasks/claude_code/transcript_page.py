"""The transcript as a page for reading, of bounded size whatever the length of the run.

Prefect's pages show markdown and look at each piece of HTML alone, so nothing can be folded there:
long outputs are shown by their beginning and their end.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.claude_code.tool_calls import BodyForm
from tasks.text.markdown import code_span, escape_markdown, quote_code, quote_prose
from tasks.text.safe_text import clock_text

# Together about 200 KB: a page that a browser shows at once, and the beginning and end of any run.
HEAD_CHARACTERS = 60_000
TAIL_CHARACTERS = 120_000

# Counts for the bounds beside the entry's own texts.
_ENTRY_CHARACTERS = 16
_QUOTE = "> "

_FAILED = frozenset({LineKind.TOOL_ERROR, LineKind.ERROR})
_PRINTED = frozenset({LineKind.TOOL_CALL, LineKind.TOOL_RESULT, LineKind.TOOL_ERROR})
# Lines that came one by one and are read together.
_JOINED = frozenset({LineKind.PLAIN, LineKind.STDERR, LineKind.CHECK})


class TranscriptPage:
    """Takes entries as they come and keeps the first and the last of them.

    Memory is bounded by the two limits and one entry. Known secrets must be masked before.
    """

    def __init__(
        self, head_characters: int = HEAD_CHARACTERS, tail_characters: int = TAIL_CHARACTERS
    ) -> None:
        self._head: list[RenderedLine] = []
        self._head_left = head_characters
        self._tail: deque[RenderedLine] = deque()
        self._tail_left = tail_characters
        self._left_out = 0

    def add(self, lines: Iterable[RenderedLine]) -> None:
        """Take the next entries."""
        for line in lines:
            if not self._tail and self._left_out == 0 and _size(line) <= self._head_left:
                self._head.append(line)
                self._head_left -= _size(line)
            else:
                self._add_to_tail(line)

    def render(self, whole: str) -> str:
        """Return the page as markdown.

        Args:
            whole: Where the whole transcript is to be found; markdown.
        """
        parts = [whole, *_blocks(self._head)]
        if self._left_out:
            parts += ["---", f"*{self._left_out:,} entries left out here. {whole}*", "---"]
        parts += _blocks(self._tail)
        if not self._head and not self._tail:
            parts.append("The agent printed nothing.")
        return "\n\n".join(parts)

    def _add_to_tail(self, line: RenderedLine) -> None:
        self._tail.append(line)
        self._tail_left -= _size(line)
        while self._tail_left < 0 and len(self._tail) > 1:
            self._tail_left += _size(self._tail.popleft())
            self._left_out += 1


def _size(line: RenderedLine) -> int:
    texts = len(line.label) + len(line.caption) + len(line.body)
    # Every line of an entry is quoted as often as the entry is deep, and thinking once more.
    quotes = line.depth + (line.kind is LineKind.THINKING) + (line.form is BodyForm.LIST)
    return texts + quotes * len(_QUOTE) * (1 + line.body.count("\n")) + _ENTRY_CHARACTERS


def _blocks(lines: Iterable[RenderedLine]) -> Iterator[str]:
    for kind, group in groupby(_under_their_calls(list(lines)), lambda line: line.kind):
        if kind in _JOINED:
            # The label is the same for all; it is said once.
            joined = list(group)
            printed = quote_code("\n".join(line.body for line in joined))
            yield f"**{joined[0].label or 'printed'}**\n\n{printed}"
        else:
            for line in group:
                yield _quoted(_block(line), line.depth)


def _under_their_calls(lines: Sequence[RenderedLine]) -> list[RenderedLine]:
    """Return the entries with those of a subagent under its call, whatever came between."""
    calls = {line.call_id for line in lines if line.call_id}
    under: dict[str, list[RenderedLine]] = {}
    waiting: list[RenderedLine] = []
    for line in lines:
        if line.under_call_id in calls and line.under_call_id != line.call_id:
            under.setdefault(line.under_call_id or "", []).append(line)
        else:
            waiting.append(line)
    waiting.reverse()
    arranged: list[RenderedLine] = []
    while waiting:
        line = waiting.pop()
        arranged.append(line)
        waiting += reversed(under.pop(line.call_id or "", []))
    # Calls that name each other as their callers have no place of their own.
    return [*arranged, *(line for left in under.values() for line in left)]


def _block(line: RenderedLine) -> str:
    if line.kind is LineKind.TURN:
        return f"---\n\n{_head(line, f'**{escape_markdown(line.body)}**')}"
    if not line.label:
        return _head(line, escape_markdown(line.body))
    if line.kind is LineKind.THINKING:
        head = _head(line, f"*{escape_markdown(line.label)}*")
        return f"{head}\n\n{_quoted(quote_prose(line.body), 1)}"
    mark = "✘ " if line.kind in _FAILED else ""
    caption = f" · {escape_markdown(line.caption)}" if line.caption else ""
    head = _head(line, f"**{mark}{escape_markdown(line.label)}**{caption}")
    return f"{head}\n\n{_body(line)}" if line.body else head


def _head(line: RenderedLine, text: str) -> str:
    if line.elapsed_seconds is None:
        return text
    return f"{code_span(clock_text(line.elapsed_seconds))} {text}"


def _body(line: RenderedLine) -> str:
    match line.form:
        case BodyForm.DIFF:
            return quote_code(line.body, "diff")
        case BodyForm.LIST:
            return "\n".join(f"- {escape_markdown(item)}" for item in line.body.split("\n"))
        case BodyForm.TEXT:
            return quote_code(line.body) if line.kind in _PRINTED else quote_prose(line.body)


def _quoted(markdown: str, depth: int) -> str:
    """Return markdown as block quotes in each other; no line of it can leave them."""
    if depth == 0:
        return markdown
    mark, blank = _QUOTE * depth, (_QUOTE * depth).rstrip()
    return "\n".join(f"{mark}{line}" if line else blank for line in markdown.split("\n"))
