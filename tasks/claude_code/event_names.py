"""What events are called when they are counted."""

from tasks.claude_code.event_types import (
    ApiRetryEvent,
    AssistantEvent,
    EventParseError,
    InitEvent,
    ModelRefusalEvent,
    PartialMessageEvent,
    PermissionDeniedEvent,
    PlainLine,
    RateLimitEvent,
    ResultEvent,
    StreamEvent,
    SystemNoteEvent,
    UnknownEvent,
    UserEvent,
)

NAME_LIMIT_CHARACTERS = 100


def event_name(event: StreamEvent | EventParseError) -> str:
    """Return how an event is counted: the wire's type, with the subtype where it matters."""
    match event:
        case EventParseError():
            return event.event_type
        case UnknownEvent():
            name = f"{event.event_type}/{event.subtype}" if event.subtype else event.event_type
            return name[:NAME_LIMIT_CHARACTERS]
        case SystemNoteEvent():
            return f"system/{event.subtype}"
        case _:
            return _NAMES[type(event)]


_NAMES: dict[type[StreamEvent], str] = {
    ApiRetryEvent: "system/api_retry",
    AssistantEvent: "assistant",
    InitEvent: "system/init",
    ModelRefusalEvent: "system/model_refusal_no_fallback",
    PartialMessageEvent: "stream_event",
    PermissionDeniedEvent: "system/permission_denied",
    PlainLine: "plain line",
    RateLimitEvent: "rate_limit_event",
    ResultEvent: "result",
    UserEvent: "user",
}
