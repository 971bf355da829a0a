"""What a run's events add up to, read once and in order.

Memory does not grow with the run: texts, names and denials are bounded, events are not kept but for
the last result.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from tasks.claude_code.event_types import (
    NAME_LIMIT_CHARACTERS,
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
    ResultEvent,
    StreamEvent,
    SystemNoteEvent,
    TextBlock,
    TokenCounts,
    ToolDenial,
    UnknownEvent,
    UserEvent,
    event_name,
    is_output,
)
from tasks.claude_code.json_fields import JsonObject, object_field, text_field
from tasks.claude_code.line_damage import TornLine, identify_torn_line
from tasks.claude_code.session_totals import Answers, LastTexts, ResultTotals, TurnCount, TurnEnding

PLAIN_LINE_LIMIT_CHARACTERS = 2_000
DENIALS_LIMIT = 100
NAMES_LIMIT = 100
STOPPED_TASK = frozenset({"stopped", "killed"})
OTHER_NAMES = "other"
"""Counts what comes once `NAMES_LIMIT` names are known."""


_NO_COUNTS = TokenCounts()


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What a run's stdout said; `None` where it did not say.

    Attributes:
        provider: Who served the model, as the last result names it.
        lines: All lines, blank ones included.
        plain_lines: Lines that are no events, blank ones not included.
        fragment_lines: Those of them that look like events cut short.
        event_counts: Events by type, or type/subtype; bounded, see `OTHER_NAMES`.
        unknown_events: Those of them that this version does not know.
        foreign_events: Of these, how many bear no mark of the stream's own.
        plain_line: First of the last run of plain lines that are no fragments.
        model_output_seen: The model, or a tool for it, has said something.
        output_after_result: It has said something after the last result.
        turn_open: The main agent began a turn that no result has closed.
        result_torn: A line after the last result is a piece of another one.
        empty_answer_open: The last message of the model is open, empty and of zero tokens.
        last_result: The run's closing result, if it got there.
        prompt_ending: The end of the prompt's own turn, where a notification's came after it.
        answer: Last non-empty text of a result that is no error and answers the prompt, trimmed;
            else, where the prompt's turn did not fail, of one that answers a notification.
        structured_output: Of the result that answers the prompt, else of the last that has one.
        texts: The main agent's own texts, the last `TEXT_LIMIT_CHARACTERS` of them.
        usage, num_turns, duration_ms: Summed over the results; unknown once one of them is.
        cost_usd: Of the last result that tells it; it is cumulative.
        api_failure: The failed request that the last result, or the end of the run, is about.
        refusal: The model's refusal, of the same turn.
        error_text: What the CLI itself said instead of an answer, of the same turn.
        stopped_tasks: Background tasks that were stopped before they were done, as described.
        stopping_hook: The hook whose answer stopped the run.
        last_hook: The last hook that ran and was not about a session.
    """

    session_id: str | None = None
    model: str | None = None
    provider: str | None = None
    init_seen: bool = False
    lines: int = 0
    plain_lines: int = 0
    fragment_lines: int = 0
    event_counts: tuple[tuple[str, int], ...] = ()
    unknown_events: tuple[tuple[str, int], ...] = ()
    foreign_events: int = 0
    plain_line: str | None = None
    model_output_seen: bool = False
    output_after_result: bool = False
    turn_open: bool = False
    result_torn: bool = False
    empty_answer_open: bool = False
    last_result: ResultEvent | None = None
    prompt_ending: TurnEnding | None = None
    answer: str | None = None
    structured_output: object = None
    texts: str | None = None
    usage: TokenCounts = _NO_COUNTS
    cost_usd: float | None = None
    num_turns: int | None = None
    duration_ms: float | None = None
    permission_denials: tuple[ToolDenial, ...] = ()
    last_api_retry: ApiRetryEvent | None = None
    last_rate_limit: RateLimitEvent | None = None
    api_failure: ApiFailure | None = None
    refusal: ModelRefusalEvent | None = None
    error_text: str | None = None
    stopped_tasks: tuple[str, ...] = ()
    stopping_hook: str | None = None
    last_hook: str | None = None

    @property
    def summary(self) -> str | None:
        """Return the answer, else what the main agent has said; never an error's text."""
        if self.answer is None and self.structured_output is not None:
            return json.dumps(self.structured_output, ensure_ascii=False)
        return self.answer or self.texts

    @property
    def has_answer(self) -> bool:
        """Whether a result that is no error holds a text or a JSON value."""
        return self.answer is not None or self.structured_output is not None

    @property
    def events(self) -> int:
        """Return how many events there were, of any kind."""
        return sum(count for _, count in self.event_counts)


class SessionState:
    """Takes a run's events in order; `summary()` may be asked at any time."""

    def __init__(self) -> None:
        self._lines = self._plain_lines = self._fragment_lines = 0
        self._event_counts: Counter[str] = Counter()
        self._unknown_events: Counter[str] = Counter()
        self._foreign_events = 0
        self._plain_line: str | None = None
        self._after_plain_line = False
        self._init_seen = False
        self._session_id: str | None = None
        self._init_model: str | None = None
        self._answering_model: str | None = None
        self._model_output_seen = self._output_after_result = self._empty_answer_open = False
        self._result_torn = False
        self._texts = LastTexts()
        self._turns = TurnCount()
        self._answers = Answers()
        # What each of them is called, by its id.
        self._stopped_tasks: dict[str, str] = {}
        self._stopping_hook: str | None = None
        self._last_hook: str | None = None
        self._results = ResultTotals()
        self._prompt_ending: TurnEnding | None = None
        self._denials: dict[ToolDenial, None] = {}
        self._last_api_retry: ApiRetryEvent | None = None
        self._last_rate_limit: RateLimitEvent | None = None
        # What has happened since the last result, and what the last result is about.
        self._turn_failure: ApiFailure | None = None
        self._turn_refusal: ModelRefusalEvent | None = None
        self._result_failure: ApiFailure | None = None
        self._result_refusal: ModelRefusalEvent | None = None
        self._turn_error_text: str | None = None
        self._result_error_text: str | None = None

    def apply(self, event: StreamEvent | EventParseError) -> None:
        """Take the event of the next line."""
        self._lines += 1
        if isinstance(event, PlainLine):
            self._apply_plain_line(event)
            return
        self._after_plain_line = False
        name = event_name(event)
        _count(self._event_counts, name)
        # The most frequent ones first.
        match event:
            case AssistantEvent():
                self._apply_assistant(event)
            case UserEvent() | PartialMessageEvent():
                self._note_output(event)
                if is_output(event) and _is_of_main_agent(event):
                    self._turns.note_output()
                    if isinstance(event, UserEvent):
                        self._note_recovery()
            case EventParseError():
                self._apply_unreadable(event)
            case UnknownEvent():
                _count(self._unknown_events, name)
                self._foreign_events += event.uuid is None
            case InitEvent():
                self._init_seen = True
                self._turns.note_init()
                self._session_id = event.session_id or self._session_id
                self._init_model = event.model or self._init_model
            case ResultEvent():
                self._apply_result(event)
            case _:
                self._apply_note(event)

    def summary(self) -> SessionSummary:
        """Return what is known so far."""
        last = self._results.last
        denials = tuple(self._denials)
        return SessionSummary(
            session_id=self._session_id,
            model=self._init_model or self._answering_model or _only_model(last),
            provider=last.provider if last else None,
            init_seen=self._init_seen,
            lines=self._lines,
            plain_lines=self._plain_lines,
            fragment_lines=self._fragment_lines,
            event_counts=tuple(self._event_counts.items()),
            unknown_events=tuple(self._unknown_events.items()),
            foreign_events=self._foreign_events,
            plain_line=self._plain_line,
            model_output_seen=self._model_output_seen,
            output_after_result=self._output_after_result,
            turn_open=last is not None and self._turns.is_open,
            result_torn=self._result_torn,
            empty_answer_open=self._empty_answer_open,
            last_result=last,
            prompt_ending=None if last and last.answers_the_prompt else self._prompt_ending,
            answer=self._answers.text,
            structured_output=self._answers.structured_output,
            texts=self._texts.joined(),
            usage=self._results.usage,
            cost_usd=self._results.cost_usd,
            num_turns=self._results.num_turns,
            duration_ms=self._results.duration_ms,
            permission_denials=denials,
            last_api_retry=self._last_api_retry,
            last_rate_limit=self._last_rate_limit,
            api_failure=self._turn_failure or self._result_failure,
            refusal=self._turn_refusal or self._result_refusal,
            error_text=self._turn_error_text or self._result_error_text,
            stopped_tasks=tuple(dict.fromkeys(self._stopped_tasks.values())),
            stopping_hook=self._stopping_hook,
            last_hook=self._last_hook,
        )

    def _apply_plain_line(self, line: PlainLine) -> None:
        text = line.text.strip()
        if not text:
            return
        self._plain_lines += 1
        if line.is_fragment:
            self._fragment_lines += 1
            self._apply_torn_line(identify_torn_line(line.text))
        elif not self._after_plain_line:
            # Of a traceback the first line says most; of several the last one is the reason.
            self._plain_line = text[:PLAIN_LINE_LIMIT_CHARACTERS]
            self._after_plain_line = True

    def _apply_torn_line(self, line: TornLine) -> None:
        match line:
            case TornLine.MAIN_AGENT:
                self._model_output_seen = self._output_after_result = True
                self._turns.note_output()
            case TornLine.PERHAPS_MAIN_AGENT if self._results.last is not None:
                self._turns.note_output()
            case TornLine.SUBAGENT:
                self._model_output_seen = self._output_after_result = True
            case TornLine.RESULT:
                self._result_torn = True
            case _:
                pass

    def _apply_unreadable(self, event: EventParseError) -> None:
        """Take a message that cannot be read: after a result it tells that somebody went on."""
        if self._results.last is None or event.event_type not in {"assistant", "stream_event"}:
            return
        self._model_output_seen = self._output_after_result = True
        if text_field(event.payload, "parent_tool_use_id") is None:
            self._turns.note_output()

    def _apply_assistant(self, event: AssistantEvent) -> None:
        if event.parent_tool_use_id is not None:
            self._note_output(event)
            return
        self._session_id = event.session_id or self._session_id
        if is_output(event):
            self._turns.note_output()
        if event.is_synthetic:
            self._turn_failure = event.api_failure or self._turn_failure
            self._turn_error_text = _only_text(event) or self._turn_error_text
            return
        self._note_output(event)
        # The model has answered after all.
        self._turn_failure = self._turn_error_text = None
        if is_output(event):
            self._note_recovery()
        self._answering_model = event.model or self._answering_model
        self._empty_answer_open = (
            event.is_open and not event.blocks and event.usage.output_tokens == 0
        )
        for block in event.blocks:
            if isinstance(block, TextBlock):
                self._texts.add(block.text)

    def _apply_result(self, event: ResultEvent) -> None:
        self._results.add(event)
        self._session_id = event.session_id or self._session_id
        self._turns.note_result()
        failed = self._turn_failure is not None or self._turn_refusal is not None
        failed = failed or repeats(event, self._turn_error_text)
        self._answers.add(event, model_failed=failed)
        self._note_denials(event.permission_denials)
        self._result_failure, self._turn_failure = self._turn_failure, None
        self._result_refusal, self._turn_refusal = self._turn_refusal, None
        self._result_error_text, self._turn_error_text = self._turn_error_text, None
        self._output_after_result = self._empty_answer_open = self._result_torn = False
        if event.answers_the_prompt:
            self._prompt_ending = TurnEnding(
                event, self._result_failure, self._result_refusal, self._result_error_text
            )

    def _apply_note(
        self,
        event: ApiRetryEvent
        | RateLimitEvent
        | PermissionDeniedEvent
        | ModelRefusalEvent
        | SystemNoteEvent,
    ) -> None:
        match event:
            case ApiRetryEvent():
                self._last_api_retry = event
            case RateLimitEvent():
                self._last_rate_limit = event
            case PermissionDeniedEvent():
                self._note_denials([ToolDenial(event.tool_name, event.tool_use_id)])
            case ModelRefusalEvent():
                self._turn_refusal = event
            case SystemNoteEvent():
                self._apply_system_note(event)
            case _:
                assert_never(event)

    def _apply_system_note(self, event: SystemNoteEvent) -> None:
        details = dict(event.details)
        match event.subtype:
            case "task_notification":
                self._turns.note_notification()
                self._note_stopped_task(details, details)
            case "task_updated":
                # A notification of the same, with a summary, may follow or not.
                self._note_stopped_task(details, object_field(details, "patch"))
            case "hook_response":
                name = str(details.get("hook_name") or "")[:NAME_LIMIT_CHARACTERS]
                if event.stops_run:
                    self._stopping_hook = name or self._stopping_hook
                if not name.startswith("Session"):
                    self._last_hook = name or self._last_hook
            case _:
                pass

    def _note_stopped_task(self, details: JsonObject, change: JsonObject) -> None:
        # What comes before the first turn is about tasks of an earlier process.
        if not self._init_seen or change.get("status") not in STOPPED_TASK:
            return
        summary, task_id = details.get("summary"), details.get("task_id")
        what = str(summary or task_id or "unnamed")[:NAME_LIMIT_CHARACTERS]
        key = str(task_id or what)[:NAME_LIMIT_CHARACTERS]
        if key in self._stopped_tasks or len(self._stopped_tasks) < NAMES_LIMIT:
            self._stopped_tasks[key] = what

    def _note_output(self, event: AssistantEvent | UserEvent | PartialMessageEvent) -> None:
        if not self._output_after_result and is_output(event):
            self._model_output_seen = self._output_after_result = True

    def _note_recovery(self) -> None:
        """Forget what earlier requests of the turn came to: the main agent goes on."""
        self._turn_refusal = self._last_api_retry = None

    def _note_denials(self, denials: Iterable[ToolDenial]) -> None:
        for denial in denials:
            if len(self._denials) < DENIALS_LIMIT:
                self._denials[denial] = None


def repeats(result: ResultEvent, error_text: str | None) -> bool:
    """Tell whether all that a result says is what the CLI itself has said instead of an answer."""
    said = (error_text or "").strip()
    if not said or result.has_structured_output:
        return False
    return (result.text or "").strip()[:PLAIN_LINE_LIMIT_CHARACTERS].strip() == said


def _is_of_main_agent(event: UserEvent | PartialMessageEvent) -> bool:
    return event.parent_tool_use_id is None


def _only_text(event: AssistantEvent) -> str | None:
    texts = (block.text.strip() for block in event.blocks if isinstance(block, TextBlock))
    return next((text[:PLAIN_LINE_LIMIT_CHARACTERS] for text in texts if text), None)


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < NAMES_LIMIT else OTHER_NAMES] += 1


def _only_model(result: ResultEvent | None) -> str | None:
    return result.models[0] if result is not None and len(result.models) == 1 else None
