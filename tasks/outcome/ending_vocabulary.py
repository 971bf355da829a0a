"""What Claude Code's own words about an ending mean: one table, with a source and a code each.

A result says in three fields how it ended. Success has one subtype, its own. A reason that the
table does not list is no objection to it, so that an update of the CLI does not turn every run red;
whoever judges warns of it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tasks.claude_code.event_types import ResultEvent, ending_word
from tasks.outcome.reasons import Reason
from tasks.vocabulary.error_codes import ErrorCode

ENDING_FIELDS = ("subtype", "terminal_reason", "stop_reason")

_SCHEMA = "the event schemas in the binary of 2.1.329"
_RECORDED = "recordings of 2.1.329 and the schemas in its binary"
_OLDER = "older versions and gateways, which report limits here"


class Meaning(NamedTuple):
    """What a value says of the run; `reason` and `code` are `None` where the work was finished."""

    code: ErrorCode | None
    reason: Reason | None
    source: str


def _finished(source: str) -> Meaning:
    return Meaning(None, None, source)


VOCABULARY: dict[tuple[str, str], Meaning] = {
    ("subtype", "success"): _finished(_RECORDED),
    ("subtype", "error_during_execution"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.ERROR_RESULT, _RECORDED
    ),
    ("subtype", "error_max_turns"): Meaning(
        ErrorCode.CLAUDE_MAX_TURNS, Reason.MAX_TURNS, _RECORDED
    ),
    ("subtype", "error_max_budget_usd"): Meaning(
        ErrorCode.CLAUDE_MAX_BUDGET, Reason.MAX_BUDGET, _RECORDED
    ),
    ("subtype", "error_max_structured_output_retries"): Meaning(
        ErrorCode.CLAUDE_OUTPUT_INVALID, Reason.OUTPUT_INVALID, _RECORDED
    ),
    ("terminal_reason", "completed"): _finished(_RECORDED),
    ("terminal_reason", "max_turns"): Meaning(
        ErrorCode.CLAUDE_MAX_TURNS, Reason.MAX_TURNS, _RECORDED
    ),
    ("terminal_reason", "budget_exhausted"): Meaning(
        ErrorCode.CLAUDE_MAX_BUDGET, Reason.MAX_BUDGET, _RECORDED
    ),
    ("terminal_reason", "prompt_too_long"): Meaning(
        ErrorCode.CLAUDE_PROMPT_TOO_LONG, Reason.PROMPT_TOO_LONG, _RECORDED
    ),
    ("terminal_reason", "blocking_limit"): Meaning(
        ErrorCode.CLAUDE_PROMPT_TOO_LONG, Reason.PROMPT_TOO_LONG, _SCHEMA
    ),
    # Compaction frees so little that the context is full again at once.
    ("terminal_reason", "rapid_refill_breaker"): Meaning(
        ErrorCode.CLAUDE_PROMPT_TOO_LONG, Reason.PROMPT_TOO_LONG, _SCHEMA
    ),
    ("terminal_reason", "api_error"): Meaning(
        ErrorCode.LLM_API_ERROR, Reason.API_FAILED, _RECORDED
    ),
    ("terminal_reason", "model_error"): Meaning(
        ErrorCode.LLM_API_ERROR, Reason.API_FAILED, _SCHEMA
    ),
    # The API takes no image of that kind or size, and the session keeps it.
    ("terminal_reason", "image_error"): Meaning(
        ErrorCode.LLM_API_ERROR, Reason.API_REJECTED, _SCHEMA
    ),
    ("terminal_reason", "structured_output_retry_exhausted"): Meaning(
        ErrorCode.CLAUDE_OUTPUT_INVALID, Reason.OUTPUT_INVALID, _RECORDED
    ),
    ("terminal_reason", "hook_stopped"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.HOOK_STOPPED, _SCHEMA
    ),
    ("terminal_reason", "stop_hook_prevented"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.HOOK_STOPPED, _SCHEMA
    ),
    ("terminal_reason", "tool_deferred"): Meaning(
        ErrorCode.CLAUDE_TRUNCATED, Reason.TOOL_DEFERRED, _RECORDED
    ),
    ("terminal_reason", "tool_deferred_unavailable"): Meaning(
        ErrorCode.CLAUDE_TRUNCATED, Reason.TOOL_DEFERRED, _RECORDED
    ),
    ("terminal_reason", "aborted_streaming"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.ABORTED, _RECORDED
    ),
    ("terminal_reason", "aborted_tools"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.ABORTED, _RECORDED
    ),
    ("terminal_reason", "malformed_tool_use_exhausted"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.ERROR_RESULT, _SCHEMA
    ),
    ("terminal_reason", "turn_setup_failed"): Meaning(
        ErrorCode.CLAUDE_FAILED, Reason.ERROR_RESULT, _SCHEMA
    ),
    ("terminal_reason", "background_requested"): Meaning(
        ErrorCode.CLAUDE_TRUNCATED, Reason.UNFINISHED, _SCHEMA
    ),
    ("stop_reason", "end_turn"): _finished(_RECORDED),
    # Also stands in results that are errors; `is_error` tells.
    ("stop_reason", "stop_sequence"): _finished(_RECORDED),
    ("stop_reason", "refusal"): Meaning(ErrorCode.CLAUDE_REFUSED, Reason.REFUSED, _SCHEMA),
    # But for a run with a schema, which ends with the call of `StructuredOutput`.
    ("stop_reason", "tool_use"): Meaning(ErrorCode.CLAUDE_TRUNCATED, Reason.UNFINISHED, _RECORDED),
    ("stop_reason", "max_tokens"): Meaning(ErrorCode.CLAUDE_TRUNCATED, Reason.UNFINISHED, _SCHEMA),
    ("stop_reason", "pause_turn"): Meaning(ErrorCode.CLAUDE_TRUNCATED, Reason.UNFINISHED, _SCHEMA),
    ("stop_reason", "compaction"): Meaning(ErrorCode.CLAUDE_TRUNCATED, Reason.UNFINISHED, _SCHEMA),
    ("stop_reason", "model_context_window_exceeded"): Meaning(
        ErrorCode.CLAUDE_PROMPT_TOO_LONG, Reason.PROMPT_TOO_LONG, _SCHEMA
    ),
    ("stop_reason", "tool_deferred"): Meaning(
        ErrorCode.CLAUDE_TRUNCATED, Reason.TOOL_DEFERRED, _RECORDED
    ),
    ("stop_reason", "max_turns"): Meaning(ErrorCode.CLAUDE_MAX_TURNS, Reason.MAX_TURNS, _OLDER),
    ("stop_reason", "budget_exhausted"): Meaning(
        ErrorCode.CLAUDE_MAX_BUDGET, Reason.MAX_BUDGET, _OLDER
    ),
}


class Word(NamedTuple):
    """A field of a result and its value, spelt as the table spells it."""

    field: str
    value: str

    def __str__(self) -> str:
        return f"result {self.field}={self.value}"


def ending_words(result: ResultEvent) -> Iterator[Word]:
    """Yield what the result says about its ending; case and blanks make no difference."""
    for field, said in zip(
        ENDING_FIELDS, (result.subtype, result.terminal_reason, result.stop_reason), strict=True
    ):
        value = ending_word(said)
        if value:
            yield Word(field, value)


def find_word(result: ResultEvent, reason: Reason) -> Word | None:
    """Return the first word of a result that means this ending."""
    return next((word for word in ending_words(result) if _reason(word, result) is reason), None)


def says_unfinished(result: ResultEvent) -> bool:
    """Tell whether any word of a result says that the work was not finished."""
    return any(_reason(word, result) is not None for word in ending_words(result))


def error_subtype(result: ResultEvent) -> Word | None:
    """Return the subtype of a result if it calls the result an error, and no limit that was hit."""
    word = find_word(result, Reason.ERROR_RESULT)
    return word if word is not None and word.field == "subtype" else None


def unknown_words(result: ResultEvent) -> tuple[Word, ...]:
    """Return the words of a result that the table does not list."""
    return tuple(
        word
        for word in ending_words(result)
        if word not in VOCABULARY and _unlisted_reason(word) is None
    )


def _reason(word: Word, result: ResultEvent) -> Reason | None:
    if word == ("stop_reason", "tool_use") and result.has_structured_output:
        return None
    meaning = VOCABULARY.get(word)
    return meaning.reason if meaning is not None else _unlisted_reason(word)


def _unlisted_reason(word: Word) -> Reason | None:
    """Return what a word of a later version says of itself, as far as that can be told."""
    if word.field == "subtype":
        return Reason.ERROR_RESULT
    if word.field == "terminal_reason" and word.value.startswith("aborted"):
        return Reason.ABORTED
    return None
