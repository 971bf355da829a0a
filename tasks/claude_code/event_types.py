"""The stream-json events of Claude Code as frozen values.

`None` means that the CLI did not say; it is never zero. Names are the wire's where it has good
ones. `uuid` is the event's own and occurs once in a run; a message's id does not.
"""

from dataclasses import dataclass, field
from typing import assert_never

from tasks.claude_code.json_fields import JsonObject

NAME_LIMIT_CHARACTERS = 100
TASK_NOTIFICATION = "task-notification"
"""The `origin.kind` of a turn that the CLI begins by itself when a background task has ended."""
SYNTHETIC_MODEL = "<synthetic>"
"""The model of messages that the CLI wrote itself; their text is an error, not an answer."""

_LOWEST_ERROR_STATUS = 400


class EventParseError(Exception):
    """An event of a known type lacks what makes it one.

    Attributes:
        event_type: The type, with the subtype after a slash where there is one.
        missing: Path of the field that is missing or of a wrong type.
        payload: The event as parsed.
    """

    def __init__(self, event_type: str, missing: str, payload: JsonObject) -> None:
        super().__init__(f"A {event_type} event without a usable {missing}.")
        self.event_type = event_type
        self.missing = missing
        self.payload = payload


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Something said."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingBlock:
    """Something thought; the text is empty where the CLI withholds it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUseBlock:
    """A tool that the model wants to use."""

    name: str | None
    tool_use_id: str | None
    tool_input: JsonObject = field(hash=False)


@dataclass(frozen=True, slots=True)
class ToolResultBlock:
    """What a tool answered; `other_parts` are the types of its parts that are no text."""

    tool_use_id: str | None
    text: str
    is_error: bool
    other_parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OtherBlock:
    """A content block of another type; `block_type` names it."""

    block_type: str


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock | OtherBlock


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens, as the CLI counted them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ToolDenial:
    """A tool that the model wanted and was not allowed to use."""

    tool_name: str
    tool_use_id: str | None


@dataclass(frozen=True, slots=True)
class ApiFailure:
    """What the CLI says about a failed model API request, in fields.

    Attributes:
        error: Its own class of the failure, such as `authentication_failed`.
        api_error: A finer one, such as `usage_limit_reached`.
        api_error_type: The API's own, such as `rate_limit_error`.
        status: HTTP status.
        is_refusal: The model declined to answer.
    """

    error: str | None = None
    api_error: str | None = None
    api_error_type: str | None = None
    status: int | None = None
    resets_at_epoch_seconds: float | None = None
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class InitEvent:
    """`system/init`: the CLI has started; it has asked the model nothing yet."""

    session_id: str | None
    model: str | None
    cwd: str | None
    claude_code_version: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class AssistantEvent:
    """One content block of a message of the model, or an error the CLI put in its place.

    Attributes:
        is_synthetic: The CLI wrote it, not the model.
        is_open: `stop_reason` is there and null.
        message_id: The same for all blocks of one answer of the model.
        usage: Of the whole answer, as counted when it began: the output is hardly in it.
        parent_tool_use_id: Set for what a subagent says.
        timestamp: When it was printed, as the CLI writes it: ISO 8601, UTC.
    """

    blocks: tuple[ContentBlock, ...]
    model: str | None
    is_synthetic: bool
    api_failure: ApiFailure | None
    is_open: bool
    message_id: str | None
    usage: TokenCounts
    parent_tool_use_id: str | None
    subagent_type: str | None
    session_id: str | None
    uuid: str | None
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class UserEvent:
    """A tool's answer, or a prompt; `is_synthetic` where the CLI wrote the prompt itself."""

    blocks: tuple[ContentBlock, ...]
    is_synthetic: bool
    parent_tool_use_id: str | None
    subagent_type: str | None
    session_id: str | None
    uuid: str | None
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class ResultEvent:
    """The closing of a turn; a run may have several, and the last one closes it.

    Attributes:
        subtype: Says `success` for failed API requests too; `is_error` is what counts.
        text: Last text block of the answer, or the error's text; `None` without the field.
        errors: Texts of the `errors` list; an entry that is no text is named, a blank one is not.
        structured_output: What `StructuredOutput` was called with, where the run has a schema.
        origin_kind: What the turn answers; `None` for the prompt.
        deferred_tool: Name of the tool that waits for somebody's approval, where one does.
        total_cost_usd: Cumulative over the process, and over what its session had cost before
            where that came to a clean end.
        new_cost_usd: Since the result before this one, or since the process began.
        usage: Of this turn, like `num_turns` and `duration_ms`.
        provider: Who served the model, where the CLI names one and only one.
        models: Models that were paid for, cumulative.
        raw: The event as parsed.
    """

    subtype: str | None
    is_error: bool | None
    terminal_reason: str | None
    stop_reason: str | None
    text: str | None
    errors: tuple[str, ...]
    api_error: str | None
    api_error_type: str | None
    api_error_status: int | None
    num_turns: int | None
    duration_ms: float | None
    total_cost_usd: float | None
    new_cost_usd: float | None
    usage: TokenCounts
    permission_denials: tuple[ToolDenial, ...]
    provider: str | None
    models: tuple[str, ...]
    session_id: str | None
    uuid: str | None
    structured_output: object = field(hash=False)
    origin_kind: str | None
    deferred_tool: str | None
    has_deferred_tool: bool
    raw: JsonObject = field(hash=False, repr=False)

    @property
    def has_structured_output(self) -> bool:
        """Whether the run's answer is a JSON value."""
        return self.structured_output is not None

    @property
    def names_api_failure(self) -> bool:
        """Whether its fields tell of a failed request, whatever its flag says."""
        status = self.api_error_status
        named = (self.api_error or "").strip() or (self.api_error_type or "").strip()
        return bool(named) or (status is not None and status >= _LOWEST_ERROR_STATUS)

    @property
    def answers_the_prompt(self) -> bool:
        """Whether its turn answers the prompt, and not a notification of a background task."""
        return self.origin_kind != TASK_NOTIFICATION


def ending_word(said: str | None) -> str:
    """Return a word about an ending as it is compared: case and blanks make no difference."""
    return "_".join((said or "").split()).lower()


@dataclass(frozen=True, slots=True)
class ApiRetryEvent:
    """`system/api_retry`: a request failed and is tried again after the delay.

    `attempt` starts at 1 after the first failure; `error_status` is null where no answer came.
    """

    attempt: int
    max_retries: int | None
    retry_delay_ms: float | None
    error_status: int | None
    error: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class RateLimitEvent:
    """How much of a subscription's limit is used; comes with OAuth credentials only."""

    status: str | None
    rate_limit_type: str | None
    resets_at_epoch_seconds: float | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class PermissionDeniedEvent:
    """`system/permission_denied`: a tool was not allowed."""

    tool_name: str
    tool_use_id: str | None
    message: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class ModelRefusalEvent:
    """`system/model_refusal_no_fallback`: the model declined, and no other one was asked."""

    model: str | None
    category: str | None
    explanation: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class SystemNoteEvent:
    """A `system` event for reading only; `details` are its telling fields, in order.

    Attributes:
        stops_run: It is a hook's answer, with `"continue": false`.
    """

    subtype: str
    details: tuple[tuple[str, object], ...] = field(hash=False)
    uuid: str | None
    stops_run: bool = False


@dataclass(frozen=True, slots=True)
class PartialMessageEvent:
    """The CLI's `stream_event`: a piece of a message that comes again, whole."""

    event_type: str | None
    uuid: str | None
    parent_tool_use_id: str | None = None


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event of a type or subtype that this version does not know.

    Attributes:
        uuid: Its own, else its session's; without one it may be another program's JSON.
    """

    event_type: str
    subtype: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class PlainLine:
    """A line that is no event.

    Attributes:
        is_fragment: A piece of an event: cut short, torn, or written into by another one.
    """

    text: str
    is_fragment: bool = False


StreamEvent = (
    InitEvent
    | AssistantEvent
    | UserEvent
    | ResultEvent
    | ApiRetryEvent
    | RateLimitEvent
    | PermissionDeniedEvent
    | ModelRefusalEvent
    | SystemNoteEvent
    | PartialMessageEvent
    | UnknownEvent
    | PlainLine
)


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


def is_output(event: AssistantEvent | UserEvent | PartialMessageEvent) -> bool:
    """Tell whether an event is something that an agent, or a tool for it, said."""
    match event:
        case AssistantEvent():
            return any(
                not isinstance(block, TextBlock) or block.text.strip() for block in event.blocks
            )
        case UserEvent():
            # Prompts, and notes such as that of an interruption, are no output.
            return any(isinstance(block, ToolResultBlock) for block in event.blocks)
        case PartialMessageEvent():
            return True
        case _:
            assert_never(event)
