"""From one line of Claude Code's stdout to a stream-json event.

Tolerant outside, strict inside: a line that is no event is a `PlainLine`, an event of a type that
nobody has told us about an `UnknownEvent`; an event of a known type that lacks what makes it one is
an `EventParseError`. Fields of the right name and the wrong type count as missing. Lines are judged
as JSON, never by how they begin: a result usually starts with `{"duration_api_ms":`.

Source:
    Recordings of Claude Code 2.1.329, `tests/data/transcripts`.
"""

from collections.abc import Callable
from dataclasses import replace

from tasks.claude_code.content_blocks import parse_blocks
from tasks.claude_code.event_types import (
    SYNTHETIC_MODEL,
    ApiFailure,
    ApiRetryEvent,
    AssistantEvent,
    EventParseError,
    InitEvent,
    ModelRefusalEvent,
    PartialMessageEvent,
    PermissionDeniedEvent,
    PlainLine,
    RateLimitEvent,
    StreamEvent,
    SystemNoteEvent,
    UnknownEvent,
    UserEvent,
)
from tasks.claude_code.json_fields import (
    JsonObject,
    as_object,
    count_field,
    flag_field,
    list_field,
    number_field,
    object_field,
    parse_json,
    parse_json_values,
    text_field,
)
from tasks.claude_code.line_damage import holds_stream_keys, looks_like_fragment
from tasks.claude_code.result_event import parse_result, parse_usage
from tasks.text.safe_text import without_terminal_codes

# Subtypes of `system` that are for reading only, with the fields worth reading.
_NOTES: dict[str, tuple[str, ...]] = {
    "background_tasks_changed": (),
    "hook_response": ("hook_name", "outcome", "exit_code"),
    "hook_started": ("hook_name",),
    "informational": ("level", "content"),
    "status": ("status",),
    "task_notification": ("task_id", "status", "summary"),
    "task_progress": ("task_id", "description", "last_tool_name"),
    "task_started": ("task_id", "task_type", "description"),
    "task_updated": ("task_id", "patch"),
    "thinking_tokens": ("estimated_tokens",),
}


def parse_event(payload: bytes) -> StreamEvent:
    """Tell what one line of stdout is.

    Args:
        payload: The line without its LF. Bytes that are not UTF-8 become U+FFFD.

    Raises:
        EventParseError: The type is known, and what it needs is missing.
    """
    text = payload.decode("utf-8", errors="replace")
    value = parse_json(text)
    if value is None and (bare := without_terminal_codes(text)) != text:
        # A program beside the agent may have moved the cursor or cleared the screen.
        value = parse_json(bare)
    event = as_object(value)
    if event is None or text_field(event, "type") is None:
        # Half an event is no text to show to people, and neither is something wrapped around one.
        judge = looks_like_fragment if value is None else holds_stream_keys
        return PlainLine(text, is_fragment=judge(text))
    return _parse_object(event)


def parse_event_leniently(payload: bytes) -> StreamEvent | EventParseError:
    """Do as `parse_event`, with the error as a value, for those who count it and read on."""
    try:
        return parse_event(payload)
    except EventParseError as error:
        return error


def parse_line(payload: bytes) -> tuple[StreamEvent | EventParseError, ...]:
    """Return what one line of stdout holds: several events if only the LF between them was lost.

    Each of them must be known by its session or uuid, so that no other program's line is taken for
    events.
    """
    event = parse_event_leniently(payload)
    if not (isinstance(event, PlainLine) and event.is_fragment):
        return (event,)
    text = without_terminal_codes(event.text).strip()
    values = parse_json_values(text) if text.startswith("{") and text.endswith("}") else []
    objects = [value for value in map(as_object, values) if value is not None and _is_marked(value)]
    if len(objects) < 2 or len(objects) < len(values):
        return (event,)
    return tuple(map(_parse_object_leniently, objects))


def _is_marked(event: JsonObject) -> bool:
    return text_field(event, "type") is not None and any(
        text_field(event, name) for name in ("session_id", "uuid")
    )


def _parse_object(event: JsonObject) -> StreamEvent:
    return _PARSERS.get(text_field(event, "type") or "", _parse_unknown)(event)


def _parse_object_leniently(event: JsonObject) -> StreamEvent | EventParseError:
    try:
        return _parse_object(event)
    except EventParseError as error:
        return error


def _parse_system(event: JsonObject) -> StreamEvent:
    subtype = text_field(event, "subtype")
    if subtype in _NOTES:
        details = tuple((name, event[name]) for name in _NOTES[subtype] if event.get(name))
        return SystemNoteEvent(subtype, details, text_field(event, "uuid"), _stops_run(event))
    parser = _SYSTEM_PARSERS.get(subtype or "")
    return parser(event) if parser is not None else _parse_unknown(event)


def _stops_run(event: JsonObject) -> bool:
    """Tell whether a hook answered that the run shall not go on."""
    output = as_object(parse_json(text_field(event, "output") or ""))
    return output is not None and flag_field(output, "continue") is False


def _parse_init(event: JsonObject) -> InitEvent:
    return InitEvent(
        session_id=text_field(event, "session_id"),
        model=text_field(event, "model"),
        cwd=text_field(event, "cwd"),
        claude_code_version=text_field(event, "claude_code_version"),
        uuid=text_field(event, "uuid"),
    )


def _parse_api_retry(event: JsonObject) -> ApiRetryEvent:
    attempt = count_field(event, "attempt")
    if attempt is None:
        raise EventParseError("system/api_retry", "attempt", event)
    return ApiRetryEvent(
        attempt=attempt,
        max_retries=count_field(event, "max_retries"),
        retry_delay_ms=number_field(event, "retry_delay_ms"),
        error_status=count_field(event, "error_status"),
        error=text_field(event, "error"),
        uuid=text_field(event, "uuid"),
    )


def _parse_permission_denied(event: JsonObject) -> PermissionDeniedEvent:
    tool_name = text_field(event, "tool_name")
    if tool_name is None:
        raise EventParseError("system/permission_denied", "tool_name", event)
    return PermissionDeniedEvent(
        tool_name=tool_name,
        tool_use_id=text_field(event, "tool_use_id"),
        message=text_field(event, "message"),
        uuid=text_field(event, "uuid"),
    )


def _parse_model_refusal(event: JsonObject) -> ModelRefusalEvent:
    return ModelRefusalEvent(
        model=text_field(event, "original_model"),
        category=text_field(event, "api_refusal_category"),
        explanation=text_field(event, "api_refusal_explanation"),
        uuid=text_field(event, "uuid"),
    )


def _parse_assistant(event: JsonObject) -> AssistantEvent:
    message = object_field(event, "message")
    content = list_field(message, "content")
    if content is None:
        raise EventParseError("assistant", "message.content", event)
    model = text_field(message, "model")
    is_api_error = flag_field(event, "is_api_error_message") is True
    usage = parse_usage(object_field(message, "usage"))
    # Some gateways put the count beside `usage` instead of into it, or leave a zero there.
    beside = count_field(message, "output_tokens")
    if beside is not None:
        usage = replace(usage, output_tokens=max(beside, usage.output_tokens or 0))
    return AssistantEvent(
        blocks=parse_blocks(content),
        model=None if model == SYNTHETIC_MODEL else model,
        is_synthetic=model == SYNTHETIC_MODEL or is_api_error,
        api_failure=_parse_api_failure(event) if is_api_error or event.get("error") else None,
        is_open="stop_reason" in message and message["stop_reason"] is None,
        message_id=text_field(message, "id"),
        usage=usage,
        parent_tool_use_id=text_field(event, "parent_tool_use_id"),
        subagent_type=text_field(event, "subagent_type"),
        session_id=text_field(event, "session_id"),
        uuid=text_field(event, "uuid"),
        timestamp=text_field(event, "timestamp"),
    )


def _parse_api_failure(event: JsonObject) -> ApiFailure:
    limit = object_field(object_field(event, "api_error_params"), "rate_limit_info")
    return ApiFailure(
        error=text_field(event, "error"),
        api_error=text_field(event, "api_error"),
        api_error_type=text_field(event, "api_error_type"),
        status=count_field(event, "api_error_status"),
        resets_at_epoch_seconds=number_field(limit, "resetsAt"),
        is_refusal=text_field(event, "refused_message_id") is not None,
    )


def _parse_user(event: JsonObject) -> UserEvent:
    message = object_field(event, "message")
    content = list_field(message, "content")
    prompt = text_field(message, "content")
    if content is None and prompt is None:
        raise EventParseError("user", "message.content", event)
    return UserEvent(
        blocks=parse_blocks(content or prompt or ""),
        is_synthetic=flag_field(event, "isSynthetic") is True,
        parent_tool_use_id=text_field(event, "parent_tool_use_id"),
        subagent_type=text_field(event, "subagent_type"),
        session_id=text_field(event, "session_id"),
        uuid=text_field(event, "uuid"),
        timestamp=text_field(event, "timestamp"),
    )


def _parse_rate_limit(event: JsonObject) -> RateLimitEvent:
    info = as_object(event.get("rate_limit_info"))
    if info is None:
        raise EventParseError("rate_limit_event", "rate_limit_info", event)
    return RateLimitEvent(
        status=text_field(info, "status"),
        rate_limit_type=text_field(info, "rateLimitType"),
        resets_at_epoch_seconds=number_field(info, "resetsAt"),
        uuid=text_field(event, "uuid"),
    )


def _parse_partial_message(event: JsonObject) -> PartialMessageEvent:
    inner = as_object(event.get("event"))
    if inner is None:
        raise EventParseError("stream_event", "event", event)
    return PartialMessageEvent(
        text_field(inner, "type"),
        text_field(event, "uuid"),
        text_field(event, "parent_tool_use_id"),
    )


def _parse_unknown(event: JsonObject) -> UnknownEvent:
    return UnknownEvent(
        event_type=text_field(event, "type") or "",
        subtype=text_field(event, "subtype"),
        uuid=text_field(event, "uuid") or text_field(event, "session_id"),
    )


_PARSERS: dict[str, Callable[[JsonObject], StreamEvent]] = {
    "assistant": _parse_assistant,
    "rate_limit_event": _parse_rate_limit,
    "result": parse_result,
    # The CLI's name for a piece of a message that comes again, whole, as an assistant event.
    "stream_event": _parse_partial_message,
    "system": _parse_system,
    "user": _parse_user,
}

_SYSTEM_PARSERS: dict[str, Callable[[JsonObject], StreamEvent]] = {
    "api_retry": _parse_api_retry,
    "init": _parse_init,
    "model_refusal_no_fallback": _parse_model_refusal,
    "permission_denied": _parse_permission_denied,
}
