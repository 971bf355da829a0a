"""The result event: how a turn ended and what it cost.

No field is required. A result tells what has been paid, and whoever judges it treats what it does
not say as unknown; refusing the whole line for one missing field would lose the rest.
"""

from tasks.claude_code.event_types import ResultEvent, TokenCounts, ToolDenial
from tasks.claude_code.json_fields import (
    JsonObject,
    as_object,
    count_field,
    flag_field,
    list_field,
    number_field,
    object_field,
    text_field,
)

_NO_COUNTS = TokenCounts()


def parse_result(event: JsonObject) -> ResultEvent:
    """Return a result event; never raises."""
    models = object_field(event, "modelUsage")
    return ResultEvent(
        subtype=text_field(event, "subtype"),
        is_error=flag_field(event, "is_error"),
        terminal_reason=text_field(event, "terminal_reason"),
        stop_reason=text_field(event, "stop_reason"),
        text=text_field(event, "result"),
        errors=_parse_errors(event),
        api_error=text_field(event, "api_error"),
        api_error_type=text_field(event, "api_error_type"),
        api_error_status=count_field(event, "api_error_status"),
        num_turns=count_field(event, "num_turns"),
        duration_ms=number_field(event, "duration_ms"),
        total_cost_usd=number_field(event, "total_cost_usd"),
        usage=parse_usage(object_field(event, "usage")),
        permission_denials=_parse_denials(event),
        provider=_parse_provider(models),
        models=tuple(models),
        session_id=text_field(event, "session_id"),
        uuid=text_field(event, "uuid"),
        structured_output=event.get("structured_output"),
        origin_kind=text_field(object_field(event, "origin"), "kind"),
        deferred_tool=text_field(object_field(event, "deferred_tool_use"), "name"),
        raw=event,
    )


def parse_usage(usage: JsonObject) -> TokenCounts:
    """Return the counts of a `usage` object, of a result or a message."""
    if not usage:
        return _NO_COUNTS
    return TokenCounts(
        input_tokens=count_field(usage, "input_tokens"),
        output_tokens=count_field(usage, "output_tokens"),
        cache_creation_input_tokens=count_field(usage, "cache_creation_input_tokens"),
        cache_read_input_tokens=count_field(usage, "cache_read_input_tokens"),
    )


def _parse_errors(event: JsonObject) -> tuple[str, ...]:
    """Return every error, those that say something first; one blank entry must not hide the next.

    Of an error without a text its fields are named.
    """
    entries = list_field(event, "errors") or []
    said = [text for text in map(_error_text, entries) if text.strip()]
    silent = [error for error in map(as_object, entries) if error is not None]
    named = [
        f"an error with {', '.join(sorted(error)) or 'no fields'}"
        for error in silent
        if not _error_text(error)
    ]
    return (*said, *named)


def _error_text(entry: object) -> str:
    error = as_object(entry)
    if error is None:
        return "" if entry is None else str(entry)
    texts = (
        text_field(source, name)
        for source in (error, object_field(error, "error"))
        for name in ("message", "text", "detail", "error", "reason", "code", "type")
    )
    return next((text for text in texts if text and text.strip()), "")


def _parse_denials(event: JsonObject) -> tuple[ToolDenial, ...]:
    entries = (as_object(entry) for entry in list_field(event, "permission_denials") or [])
    denials = (
        ToolDenial(text_field(entry, "tool_name") or "unnamed", text_field(entry, "tool_use_id"))
        for entry in entries
        if entry is not None
    )
    return tuple(denials)


def _parse_provider(models: JsonObject) -> str | None:
    usages = (as_object(usage) for usage in models.values())
    providers = {text_field(usage, "provider") for usage in usages if usage is not None}
    return providers.pop() if len(providers) == 1 else None
