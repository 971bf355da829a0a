"""Events into entries with what only their order tells: turns, time, and under which call they are.

Pure: the transcript of a run gives the same entries while it is followed and when it is read again.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from tasks.claude_code.event_types import (
    AssistantEvent,
    EventParseError,
    StreamEvent,
    ToolResultBlock,
    ToolUseBlock,
    UserEvent,
)
from tasks.claude_code.rendering import (
    FOLDED,
    Extent,
    LineKind,
    RenderedLine,
    render_event,
    render_tokens,
    shown_blocks,
)
from tasks.text.safe_text import one_line

# Deeper ones are shown so deep; also bounds how much longer indenting makes a text.
MOST_DEPTH = 3
# More are not open at once; an older one's entries are shown without its name.
_CALLS_LIMIT = 500
_TITLE_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class _Call:
    depth: int
    title: str


class EntryReader:
    """Takes a run's events in order; memory does not grow with them."""

    def __init__(self, extent: Extent = FOLDED) -> None:
        """Read nothing yet.

        Args:
            extent: How much of long texts is shown.
        """
        self._extent = extent
        self._began_at: datetime | None = None
        self._turns = 0
        self._message_id: str | None = None
        self._calls: dict[str, _Call] = {}
        self._last_call_id: str | None = None

    def read(self, event: StreamEvent | EventParseError) -> list[RenderedLine]:
        """Return the entries of the next event; before those of a new turn, one about the turn."""
        lines = render_event(event, self._extent)
        if not isinstance(event, AssistantEvent | UserEvent):
            return lines
        elapsed, depth = self._elapsed(event), self._depth(event)
        placed = [
            replace(
                line,
                elapsed_seconds=elapsed,
                depth=min(depth, MOST_DEPTH),
                under_call_id=event.parent_tool_use_id,
            )
            for line in lines
        ]
        entries = [
            self._note_call(line, block, depth)
            for line, block in zip(placed, shown_blocks(event), strict=True)
        ]
        return [*self._new_turn(event, elapsed), *entries]

    def _elapsed(self, event: AssistantEvent | UserEvent) -> float | None:
        try:
            at = datetime.fromisoformat(event.timestamp or "")
        except ValueError:
            return None
        if at.tzinfo is None:
            return None
        self._began_at = self._began_at or at
        return max(0.0, (at - self._began_at).total_seconds())

    def _depth(self, event: AssistantEvent | UserEvent) -> int:
        if event.parent_tool_use_id is None:
            return 0
        call = self._calls.get(event.parent_tool_use_id)
        return 1 if call is None else call.depth + 1

    def _new_turn(
        self, event: AssistantEvent | UserEvent, elapsed: float | None
    ) -> list[RenderedLine]:
        if not isinstance(event, AssistantEvent) or event.is_synthetic:
            return []
        if event.parent_tool_use_id is not None:
            return []
        if event.message_id is not None and event.message_id == self._message_id:
            return []
        self._message_id = event.message_id
        self._turns += 1
        # Its output is told by the result: when a turn begins, hardly any of it is counted.
        tokens = render_tokens(replace(event.usage, output_tokens=None))
        text = f"turn {self._turns:,}" + (f": tokens {tokens}" if tokens else "")
        return [RenderedLine(LineKind.TURN, text, elapsed_seconds=elapsed)]

    def _note_call(self, line: RenderedLine, block: object, depth: int) -> RenderedLine:
        """Remember a call; name the call that a result is of, where another entry is between."""
        if isinstance(block, ToolUseBlock) and block.tool_use_id:
            title = ": ".join(filter(None, [block.name or "", line.caption]))
            if len(self._calls) >= _CALLS_LIMIT:
                del self._calls[next(iter(self._calls))]
            self._calls[block.tool_use_id] = _Call(depth, one_line(title, _TITLE_CHARACTERS))
            self._last_call_id = block.tool_use_id
        elif isinstance(block, ToolResultBlock) and block.tool_use_id in self._calls:
            title = self._calls[block.tool_use_id].title
            if block.tool_use_id != self._last_call_id and title:
                return replace(line, caption=title)
        return line
