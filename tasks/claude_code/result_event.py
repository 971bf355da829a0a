"""The result event: how a turn ended and what it cost.

No field is required. A result tells what has been paid, and whoever judges it treats what it does
not say as unknown; refusing the whole line for one missing field would lose the rest.
"""

import json
from typing import TypeVar

from tasks.claude_code.event_types import (
    NAME_LIMIT_CHARACTERS,
    ResultEvent,
    TokenCounts,
    ToolDenial,
)
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

Number = TypeVar("Number", int, float)

_NO_COUNTS = TokenCounts()
# Guessed: a thousand times what a day of the largest account could use.
_LARGEST_AMOUNT = 1e15


def parse_result(event: JsonObject) -> ResultEvent:
    """Return a result event; never raises."""
    models = object_field(event, "modelUsage")
    return ResultEvent(
        subtype=text_field(event, "subtype"),
        is_error=flag_field(event, "is_error"),
        terminal_reason=_word(event, "terminal_reason"),
        stop_reason=_word(event, "stop_reason"),
        text=text_field(event, "result"),
        errors=_parse_errors(event),
        api_error=_word(event, "api_error"),
        api_error_type=text_field(event, "api_error_type"),
        api_error_status=count_field(event, "api_error_status"),
        num_turns=_sane_count(event, "num_turns"),
        duration_ms=_sane(number_field(event, "duration_ms")),
        total_cost_usd=_sane(number_field(event, "total_cost_usd")),
        new_cost_usd=_parse_new_cost(event),
        usage=parse_usage(object_field(event, "usage")),
        permission_denials=_parse_denials(event),
        provider=_parse_provider(models),
        models=tuple(models),
        session_id=text_field(event, "session_id"),
        uuid=text_field(event, "uuid"),
        structured_output=event.get("structured_output"),
        origin_kind=text_field(object_field(event, "origin"), "kind"),
        deferred_tool=text_field(object_field(event, "deferred_tool_use"), "name"),
        has_deferred_tool=bool(event.get("deferred_tool_use")),
        raw=event,
    )


def _parse_new_cost(event: JsonObject) -> float | None:
    """Return the cost of all models together; `None` if that of one is unknown."""
    models = as_object(event.get("model_usage_since_last_result"))
    if models is None:
        return None
    total = 0.0
    for usage in map(as_object, models.values()):
        cost = _sane(number_field(usage, "costUSD")) if usage is not None else None
        if cost is None:
            return None
        total += cost
    return total


def parse_usage(usage: JsonObject) -> TokenCounts:
    """Return the counts of a `usage` object, of a result or a message."""
    if not usage:
        return _NO_COUNTS
    return TokenCounts(
        input_tokens=_sane_count(usage, "input_tokens"),
        output_tokens=_sane_count(usage, "output_tokens"),
        cache_creation_input_tokens=_sane_count(usage, "cache_creation_input_tokens"),
        cache_read_input_tokens=_sane_count(usage, "cache_read_input_tokens"),
    )


def _sane(value: Number | None) -> Number | None:
    """Return an amount, or `None` for one that nobody can have used."""
    return value if value is not None and 0 <= value <= _LARGEST_AMOUNT else None


def _sane_count(source: JsonObject, name: str) -> int | None:
    return _sane(count_field(source, name))


def _word(event: JsonObject, name: str) -> str | None:
    """Return a word about an ending; a value that is not a text is an unknown one."""
    value = event.get(name)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)[:NAME_LIMIT_CHARACTERS] if value else None


def _parse_errors(event: JsonObject) -> tuple[str, ...]:
    """Return every error, those that say something first; one blank entry must not hide the next.

    Of an error without a text its fields are named.
    """
    errors = event.get("errors")
    entries = list_field(event, "errors") or ([errors] if errors else [])
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
        return entry if isinstance(entry, str) else json.dumps(entry) if entry else ""
    # What is in words comes before what is a word, wherever they stand.
    texts = (
        text_field(source, name)
        for name in ("message", "text", "detail", "error", "reason", "code", "type")
        for source in (error, object_field(error, "error"))
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
