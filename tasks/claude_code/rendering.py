"""Events as people read them: one wording for the run log, the transcript artifact and terminals.

Every event says something or stands in `SILENT_EVENTS` with the reason; what is cut says how much.
Control characters are written out, and in its text all but the first line of an entry is indented,
so that nothing the agent says can steer a terminal or pass for a line of ours.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
    ToolResultBlock,
    ToolUseBlock,
    UnknownEvent,
    UserEvent,
)
from tasks.claude_code.json_fields import JsonObject
from tasks.text.safe_text import (
    cut_text,
    escape_control_characters,
    fold_text,
    one_line,
)

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
DETAIL_LIMIT_CHARACTERS = 300

_UNKNOWN = "unknown"
_CONTINUATION = "\n    "
# Of a tool's input, what tells most; the first one there is shown.
_TELLING_INPUTS = ("command", "file_path", "path", "pattern", "url", "query", "skill", "prompt")


class LineKind(StrEnum):
    """What a rendered line is about; terminals choose a style by it."""

    SESSION = "session"
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


@dataclass(frozen=True, slots=True)
class RenderedLine:
    """One entry; its texts are safe and bounded, and may have several lines.

    Attributes:
        body: What was said.
        label: Who says it, or what it is; empty where the body speaks for itself.
    """

    kind: LineKind
    body: str
    label: str = ""

    @property
    def text(self) -> str:
        """Label and body as people read them in a log, further lines indented."""
        body = self.body.replace("\n", _CONTINUATION)
        return f"{self.label}: {body}" if self.label and body else self.label or body

    def rewritten(self, rewrite: Callable[[str], str]) -> "RenderedLine":
        """Return the entry with both texts rewritten, as for masking secrets."""
        body, label = rewrite(self.body), rewrite(self.label)
        is_same = body is self.body and label is self.label
        return self if is_same else RenderedLine(self.kind, body, label)


def render_event(event: StreamEvent | EventParseError) -> list[RenderedLine]:
    """Return the entries of one event, in order; none for blank lines and `SILENT_EVENTS`."""
    match event:
        case AssistantEvent():
            return [_block(block, event) for block in event.blocks if not _is_empty(block)]
        case UserEvent():
            return [_block(block, event) for block in event.blocks if not _is_empty(block)]
        case ResultEvent():
            return list(_result(event))
        case PlainLine(is_fragment=True):
            text = f"piece of a damaged event, {len(event.text):,} characters, not shown"
            return [RenderedLine(LineKind.UNKNOWN, text)]
        case PlainLine():
            return [_entry(LineKind.PLAIN, "", event.text)] if event.text.strip() else []
        case PartialMessageEvent():
            return []
        case SystemNoteEvent():
            return [] if f"system/{event.subtype}" in SILENT_EVENTS else [_note(event)]
        case _:
            return [_short(event)]


def render_stderr(payload: bytes) -> RenderedLine:
    """Return one line of the agent's stderr."""
    return _entry(LineKind.STDERR, "stderr", payload.decode("utf-8", errors="replace"))


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


def _block(block: ContentBlock, event: AssistantEvent | UserEvent) -> RenderedLine:
    speaker = f"[{_detail(event.subagent_type or 'subagent')}] " if event.parent_tool_use_id else ""
    match block:
        case TextBlock():
            return _said(block, event, speaker)
        case ThinkingBlock():
            return _entry(LineKind.THINKING, f"{speaker}thinking", block.text)
        case ToolUseBlock():
            name = _detail(block.name or _UNKNOWN)
            return _entry(
                LineKind.TOOL_CALL, f"{speaker}tool call {name}", _tool_input(block.tool_input)
            )
        case ToolResultBlock():
            others = "".join(f" [{_detail(part)}]" for part in block.other_parts)
            text = fold_text(block.text, TOOL_HEAD_CHARACTERS, TOOL_TAIL_CHARACTERS) + others
            if block.is_error:
                return _entry(LineKind.TOOL_ERROR, f"{speaker}tool error", text)
            return _entry(LineKind.TOOL_RESULT, f"{speaker}tool result", text)
        case OtherBlock():
            text = f"{speaker}{_detail(block.block_type)} block, not shown"
            return RenderedLine(LineKind.UNKNOWN, text)
        case _:
            assert_never(block)


def _said(block: TextBlock, event: AssistantEvent | UserEvent, speaker: str) -> RenderedLine:
    match event:
        case AssistantEvent(is_synthetic=True):
            return _entry(LineKind.ERROR, f"{speaker}error", block.text)
        case AssistantEvent():
            return _entry(LineKind.ASSISTANT, f"{speaker}assistant", block.text)
        case UserEvent(is_synthetic=True):
            return _entry(LineKind.USER, f"{speaker}prompt by the CLI itself", block.text)
        case UserEvent():
            return _entry(LineKind.USER, f"{speaker}user", block.text)
        case _:
            assert_never(event)


def _is_empty(block: ContentBlock) -> bool:
    return isinstance(block, TextBlock | ThinkingBlock) and not block.text.strip()


def _tool_input(tool_input: JsonObject) -> str:
    telling = next((name for name in _TELLING_INPUTS if tool_input.get(name)), None)
    if telling is None:
        return _detail(_compact_json(tool_input)) if tool_input else ""
    others = [_detail(name) for name in tool_input if name != telling]
    more = f" (and {', '.join(others)})" if others else ""
    return _detail(tool_input[telling]) + more


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


def _result(event: ResultEvent) -> Iterator[RenderedLine]:
    failed = event.is_error is True or bool(event.errors)
    kind = LineKind.ERROR if failed else LineKind.RESULT
    # An error's subtype may read `success`.
    outcome = ", ".join(_texts(["failed"] if failed else [], event.subtype, event.terminal_reason))
    for text in _texts([event.text], *event.errors):
        yield _entry(kind, "result", cut_text(text, RESULT_LIMIT_CHARACTERS))
    usage = event.usage
    counts = {
        "in": usage.input_tokens,
        "out": usage.output_tokens,
        "cache read": usage.cache_read_input_tokens,
        "cache write": usage.cache_creation_input_tokens,
    }
    known = [f"{name} {count:,}" for name, count in counts.items() if count is not None]
    tokens = ", ".join(known) or _UNKNOWN
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


def _entry(kind: LineKind, label: str, text: str) -> RenderedLine:
    shown = escape_control_characters(cut_text(text.strip("\n"), SAID_LIMIT_CHARACTERS))
    return RenderedLine(kind, shown, label)


def _detail(value: object) -> str:
    text = value if isinstance(value, str) else _compact_json(value)
    return one_line(text, DETAIL_LIMIT_CHARACTERS)


def _compact_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
