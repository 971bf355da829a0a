"""The transcript as a page for reading, of bounded size whatever the length of the run."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby

from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.text.markdown import escape_markdown, quote_code, quote_prose

# Together about 200 KB: a page that a browser shows at once, and the beginning and end of any run.
HEAD_CHARACTERS = 60_000
TAIL_CHARACTERS = 120_000

# Counts for the bounds beside the entry's own texts.
_ENTRY_CHARACTERS = 16

_FAILED = frozenset({LineKind.TOOL_ERROR, LineKind.ERROR})
_PRINTED = frozenset({LineKind.TOOL_CALL, LineKind.TOOL_RESULT, LineKind.TOOL_ERROR})
# Lines that came one by one and are read together.
_JOINED = frozenset({LineKind.PLAIN, LineKind.STDERR})


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
    return len(line.label) + len(line.body) + _ENTRY_CHARACTERS


def _blocks(lines: Iterable[RenderedLine]) -> Iterator[str]:
    for kind, group in groupby(lines, lambda line: line.kind):
        if kind in _JOINED:
            # The label is the same for all; it is said once.
            joined = list(group)
            printed = quote_code("\n".join(line.body for line in joined))
            yield f"**{joined[0].label or 'printed'}**\n\n{printed}"
        else:
            yield from map(_block, group)


def _block(line: RenderedLine) -> str:
    if not line.label or line.kind is LineKind.THINKING:
        quoted = escape_markdown(line.text).replace("\n", "\n> ")
        return f"> {quoted}"
    mark = "✘ " if line.kind in _FAILED else ""
    label = f"**{mark}{escape_markdown(line.label)}**"
    if not line.body:
        return label
    return f"{label}\n\n{(quote_code if line.kind in _PRINTED else quote_prose)(line.body)}"
