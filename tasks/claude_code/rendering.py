"""Events as people read them: one wording for the run log, the transcript artifact and terminals.

Every event says something or stands in `SILENT_EVENTS` with the reason; what is cut says how much.
Control characters are written out, and in its text all but the first line of an entry is indented,
so that nothing the agent says can steer a terminal or pass for a line of ours.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never

from tasks.claude_code.event_types import (
    ApiRetryEvent,
    AssistantEvent,
    ContentBlock,
    EventParseError,
    InitEvent,
    ModelRefusalEvent,
    OtherBlock,
    PartialMessageEvent,
    PermissionDeniedEvent,
    PlainLine,
    RateLimitEvent,
    ResultEvent,
    StreamEvent,
    SystemNoteEvent,
    TextBlock,
    ThinkingBlock,
    TokenCounts,
    ToolResultBlock,
    ToolUseBlock,
    UnknownEvent,
    UserEvent,
)
from tasks.claude_code.tool_calls import BodyForm, describe_tool_call
from tasks.claude_code.tool_calls import detail as _detail
from tasks.text.safe_text import cut_text, escape_control_characters, fold_text

SILENT_EVENTS: dict[str, str] = {
    "stream_event": "a piece of a message that comes again, whole, as an assistant event",
    "system/thinking_tokens": "a counter that goes up while the model thinks",
    "system/background_tasks_changed": "said by the task_started and task_updated events beside it",
}

SAID_LIMIT_CHARACTERS = 20_000
RESULT_LIMIT_CHARACTERS = 2_000
# Of a tool's output the end tells as much as the beginning: there stands what failed.
TOOL_HEAD_CHARACTERS = 1_200
TOOL_TAIL_CHARACTERS = 800
# What the agent writes is reviewed, so more of it is shown.
CALL_HEAD_CHARACTERS = 3_000
CALL_TAIL_CHARACTERS = 1_000

_UNKNOWN = "unknown"
_CONTINUATION = "\n    "
_UNDER_A_CALL = "│ "


class LineKind(StrEnum):
    """What a rendered line is about; terminals choose a style by it."""

    SESSION = "session"
    TURN = "turn"
    ASSISTANT = "assistant"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    TOOL_ERROR = "tool_error"
    USER = "user"
    RETRY = "retry"
    RATE_LIMIT = "rate_limit"
    RESULT = "result"
    ERROR = "error"
    NOTE = "note"
    UNKNOWN = "unknown"
    PLAIN = "plain"
    STDERR = "stderr"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of long texts is shown.

    Attributes:
        is_whole: All of them, whatever their length.
        printed_by: The command that prints what was left out.
    """

    is_whole: bool = False
    printed_by: str = "claude-jobs logs AGENT --full"

    def fold(self, text: str, head_characters: int, tail_characters: int) -> str:
        """Return `text`, or its beginning and end with the size of what is between them."""
        if self.is_whole:
            return text
        hint = f"; `{self.printed_by}` prints them"
        return fold_text(text, head_characters, tail_characters, hint)

    def cut(self, text: str, limit_characters: int) -> str:
        """Return `text`, or its beginning with the size of the rest."""
        return text if self.is_whole else cut_text(text, limit_characters)


@dataclass(frozen=True, slots=True)
class RenderedLine:
    """One entry; its texts are safe and bounded, and may have several lines.

    Attributes:
        body: What was said.
        label: Who says it, or what it is; empty where the body speaks for itself.
        caption: What it is about, in one line; empty without a label.
        form: Of the body.
        elapsed_seconds: Since the transcript's first timestamp; `None` where the event has none.
        depth: How many calls of subagents it is under.
        call_id: The tool call that it is.
        under_call_id: The subagent's call that it is under.
    """

    kind: LineKind
    body: str
    label: str = ""
    caption: str = ""
    form: BodyForm = BodyForm.TEXT
    elapsed_seconds: float | None = None
    depth: int = 0
    call_id: str | None = None
    under_call_id: str | None = None

    @property
    def text(self) -> str:
        """Label, caption and body as people read them in a log, further lines indented."""
        head = f"{self.label} ({self.caption})" if self.caption else self.label
        between = " " if self.form is BodyForm.TEXT else "\n"
        text = f"{head}:{between}{self.body}" if head and self.body else head or self.body
        prefix = _UNDER_A_CALL * self.depth
        return prefix + text.replace("\n", f"\n{prefix}{_CONTINUATION[1:]}")

    def rewritten(self, rewrite: Callable[[str], str]) -> "RenderedLine":
        """Return the entry with all texts rewritten, as for masking secrets."""
        body, label, caption = rewrite(self.body), rewrite(self.label), rewrite(self.caption)
        if body is self.body and label is self.label and caption is self.caption:
            return self
        return replace(self, body=body, label=label, caption=caption)


FOLDED = Extent()


def render_event(
    event: StreamEvent | EventParseError, extent: Extent = FOLDED
) -> list[RenderedLine]:
    """Return the entries of one event, in order; none for blank lines and `SILENT_EVENTS`."""
    match event:
        case AssistantEvent() | UserEvent():
            return [_block(block, event, extent) for block in shown_blocks(event)]
        case ResultEvent():
            return list(_result(event, extent))
        case PlainLine(is_fragment=True):
            text = f"piece of a damaged event, {len(event.text):,} characters, not shown"
            return [RenderedLine(LineKind.UNKNOWN, text)]
        case PlainLine():
            return [_entry(LineKind.PLAIN, "", event.text, extent)] if event.text.strip() else []
        case PartialMessageEvent():
            return []
        case SystemNoteEvent():
            return [] if f"system/{event.subtype}" in SILENT_EVENTS else [_note(event)]
        case _:
            return [_short(event)]


def shown_blocks(event: AssistantEvent | UserEvent) -> list[ContentBlock]:
    """Return the blocks of a message that have an entry each, in order."""
    return [block for block in event.blocks if not _is_empty(block)]


def render_tokens(counts: TokenCounts) -> str:
    """Return what is known of token counts, by kind; empty where nothing is."""
    named = {
        "in": counts.input_tokens,
        "out": counts.output_tokens,
        "cache read": counts.cache_read_input_tokens,
        "cache write": counts.cache_creation_input_tokens,
    }
    return ", ".join(f"{name} {count:,}" for name, count in named.items() if count is not None)


def render_stderr(payload: bytes) -> RenderedLine:
    """Return one line of the agent's stderr."""
    return _entry(LineKind.STDERR, "stderr", payload.decode("utf-8", errors="replace"), FOLDED)


def render_check(text: str) -> RenderedLine:
    """Return one line of what the check of the agent's work printed."""
    return _entry(LineKind.CHECK, "check", text, FOLDED)


def _short(
    event: InitEvent
    | ApiRetryEvent
    | RateLimitEvent
    | PermissionDeniedEvent
    | ModelRefusalEvent
    | UnknownEvent
    | EventParseError,
) -> RenderedLine:
    match event:
        case InitEvent():
            return RenderedLine(LineKind.SESSION, _init(event))
        case ApiRetryEvent():
            return RenderedLine(LineKind.RETRY, _retry(event))
        case RateLimitEvent():
            return RenderedLine(LineKind.RATE_LIMIT, _rate_limit(event))
        case PermissionDeniedEvent():
            reason = f": {_detail(event.message)}" if event.message else ""
            text = f"permission denied: {_detail(event.tool_name)}{reason}"
            return RenderedLine(LineKind.TOOL_ERROR, text)
        case ModelRefusalEvent():
            parts = [part for part in (event.model, event.category, event.explanation) if part]
            text = ": ".join(["the model declined to answer", *map(_detail, parts)])
            return RenderedLine(LineKind.ERROR, text)
        case UnknownEvent():
            subtype = f"/{_detail(event.subtype)}" if event.subtype else ""
            text = f"event of an unknown type: {_detail(event.event_type)}{subtype}"
            return RenderedLine(LineKind.UNKNOWN, text)
        case EventParseError():
            text = f"unreadable {event.event_type} event: no usable {event.missing}"
            return RenderedLine(LineKind.UNKNOWN, text)
        case _:
            assert_never(event)


def _block(block: ContentBlock, event: AssistantEvent | UserEvent, extent: Extent) -> RenderedLine:
    speaker = f"[{_detail(event.subagent_type or 'subagent')}] " if event.parent_tool_use_id else ""
    match block:
        case TextBlock():
            kind, label = _speaker(event)
            return _entry(kind, speaker + label, block.text, extent)
        case ThinkingBlock():
            return _entry(LineKind.THINKING, f"{speaker}thinking", block.text, extent)
        case ToolUseBlock():
            return _tool_call(block, speaker, extent)
        case ToolResultBlock():
            others = "".join(f" [{_detail(part)}]" for part in block.other_parts)
            text = extent.fold(block.text, TOOL_HEAD_CHARACTERS, TOOL_TAIL_CHARACTERS) + others
            kind = LineKind.TOOL_ERROR if block.is_error else LineKind.TOOL_RESULT
            name = "tool error" if block.is_error else "tool result"
            return _entry(kind, f"{speaker}{name}", text, extent)
        case OtherBlock():
            text = f"{speaker}{_detail(block.block_type)} block, not shown"
            return RenderedLine(LineKind.UNKNOWN, text)
        case _:
            assert_never(block)


def _tool_call(block: ToolUseBlock, speaker: str, extent: Extent) -> RenderedLine:
    call = describe_tool_call(block.name, block.tool_input)
    body = extent.fold(call.body, CALL_HEAD_CHARACTERS, CALL_TAIL_CHARACTERS)
    label = f"{speaker}tool call {_detail(block.name or _UNKNOWN)}"
    entry = _entry(LineKind.TOOL_CALL, label, body, extent)
    return replace(entry, caption=call.caption, form=call.form, call_id=block.tool_use_id)


def _speaker(event: AssistantEvent | UserEvent) -> tuple[LineKind, str]:
    match event:
        case AssistantEvent(is_synthetic=True):
            return LineKind.ERROR, "error"
        case AssistantEvent():
            return LineKind.ASSISTANT, "assistant"
        case UserEvent(is_synthetic=True):
            return LineKind.USER, "prompt by the CLI itself"
        case UserEvent():
            return LineKind.USER, "user"
        case _:
            assert_never(event)


def _is_empty(block: ContentBlock) -> bool:
    return isinstance(block, TextBlock | ThinkingBlock) and not block.text.strip()


def _init(event: InitEvent) -> str:
    facts = [f"model {_detail(event.model or _UNKNOWN)}"]
    if event.session_id:
        facts.append(f"session {_detail(event.session_id)}")
    if event.claude_code_version:
        facts.append(f"version {_detail(event.claude_code_version)}")
    return f"Claude Code ready: {', '.join(facts)}"


def _retry(event: ApiRetryEvent) -> str:
    limit = _UNKNOWN if event.max_retries is None else event.max_retries
    delay = "" if event.retry_delay_ms is None else f" in {event.retry_delay_ms / 1000:.1f} s"
    failure = "no answer" if event.error_status is None else f"status {event.error_status}"
    reason = f", {_detail(event.error)}" if event.error else ""
    return f"model API retry {event.attempt} of {limit}{delay}: {failure}{reason}"


def _rate_limit(event: RateLimitEvent) -> str:
    kind, status = event.rate_limit_type or _UNKNOWN, event.status or _UNKNOWN
    resets = render_epoch(event.resets_at_epoch_seconds)
    return f"rate limit {_detail(kind)}: {_detail(status)}" + (
        f", resets {resets}" if resets else ""
    )


def _result(event: ResultEvent, extent: Extent) -> Iterator[RenderedLine]:
    failed = event.is_error is True or bool(event.errors)
    kind = LineKind.ERROR if failed else LineKind.RESULT
    # An error's subtype may read `success`.
    outcome = ", ".join(_texts(["failed"] if failed else [], event.subtype, event.terminal_reason))
    for text in _texts([event.text], *event.errors):
        yield _entry(kind, "result", extent.cut(text, RESULT_LIMIT_CHARACTERS), extent)
    tokens = render_tokens(event.usage) or _UNKNOWN
    turns = _UNKNOWN if event.num_turns is None else f"{event.num_turns:,}"
    cost = _UNKNOWN if event.total_cost_usd is None else f"${event.total_cost_usd:.6f}"
    head = f"turn ended ({outcome})" if outcome else "turn ended"
    yield RenderedLine(kind, f"{head}: turns {turns}; tokens {tokens}; cost so far {cost}")


def _texts(first: Iterable[str | None], *others: str | None) -> list[str]:
    return [text for text in (*first, *others) if text and text.strip()]


def _note(event: SystemNoteEvent) -> RenderedLine:
    details = ", ".join(
        _detail(value) if isinstance(value, str) else f"{key.replace('_', ' ')} {_detail(value)}"
        for key, value in event.details
    )
    name = event.subtype.replace("_", " ")
    return RenderedLine(LineKind.NOTE, f"{name}: {details}" if details else name)


def render_epoch(epoch_seconds: float | None) -> str | None:
    """Return an instant as people read it, to the second; `None` where there is none."""
    if epoch_seconds is None:
        return None
    try:
        return f"{datetime.fromtimestamp(epoch_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return None


def _entry(kind: LineKind, label: str, text: str, extent: Extent) -> RenderedLine:
    shown = escape_control_characters(extent.cut(text.strip("\n"), SAID_LIMIT_CHARACTERS))
    return RenderedLine(kind, shown, label)
