"""How a run ended: one ordered table, the first matching row wins.

The order: input, guard, create, pod, cancelled, timeout, stalled, Job deleted, preempted by a
queue, API lost, what the result shows, no result. Fields select a row, never the content of a text,
and each row returns the fact that selected it. The one row without a code is success: exit code 0,
a last result with `is_error: false`, and an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto

from tasks.outcome import api_failures, ending_facts
from tasks.outcome.ending_facts import Evidence, of_result
from tasks.outcome.run_facts import Ending, RunFacts
from tasks.vocabulary.error_codes import ErrorCode


class Reason(StrEnum):
    """The ending that a row of the table describes; several reasons may share a code."""

    STAGE = auto()
    CANCELLED = auto()
    TIMEOUT = auto()
    STALLED = auto()
    JOB_DELETED = auto()
    PREEMPTED_BY_QUEUE = auto()
    API_LOST = auto()
    REVOKED = auto()
    CLOSING_RESULT_LOST = auto()
    SESSION_UNKNOWN = auto()
    MAX_TURNS = auto()
    MAX_BUDGET = auto()
    PROMPT_TOO_LONG = auto()
    REFUSED = auto()
    LOGIN = auto()
    RATE_LIMITED = auto()
    BILLING = auto()
    MODEL_UNKNOWN = auto()
    OUTPUT_LIMIT = auto()
    CONNECTION = auto()
    API_FAILED = auto()
    ERROR_RESULT = auto()
    EXIT_UNREADABLE = auto()
    ENDED_AFTER_RESULT = auto()
    EXIT_AFTER_RESULT = auto()
    ERROR_UNSAID = auto()
    NO_ANSWER = auto()
    SUCCESS = auto()
    NEVER_RAN = auto()
    LINES_LOST = auto()
    EMPTY_MODEL_ANSWER = auto()
    BAD_INPUT = auto()
    NO_STDOUT = auto()
    NO_RESULT = auto()
    START_UP_ONLY = auto()
    UNMATCHED = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """One possible ending; `evidence` returns the fact that shows it, or `None`."""

    reason: Reason
    code: ErrorCode | None
    evidence: Evidence
    clear_session: bool = False


def find_row(facts: RunFacts, ending: Ending, table: Sequence[Row]) -> tuple[Row, str]:
    """Return the first row that the facts support, and the fact; the last row always matches.

    A failed stage takes the place of its code in the table and outranks all output of Claude.
    """
    return next(found for row in table if (found := _match(row, facts, ending)) is not None)


def _match(row: Row, facts: RunFacts, ending: Ending) -> tuple[Row, str] | None:
    failed = facts.stage_failure
    if failed is not None and failed.code is row.code:
        return replace(row, reason=Reason.STAGE), failed.message
    if failed is not None and row.reason not in _ABOVE_OUTPUT:
        return None
    fact = row.evidence(facts, ending)
    return None if fact is None else (row, fact)


_ABOVE_OUTPUT = frozenset(
    {
        Reason.CANCELLED,
        Reason.TIMEOUT,
        Reason.STALLED,
        Reason.JOB_DELETED,
        Reason.API_LOST,
    }
)

# Codes of the stages before there is any output, in the order of the stages.
_STAGE_CODES = (
    ErrorCode.INPUT_INVALID,
    ErrorCode.PROMPT_TOO_LARGE,
    ErrorCode.AGENT_ID_INVALID,
    ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
    ErrorCode.CONCURRENT_RUN_BLOCKED,
    ErrorCode.ORPHAN_TASK_UNKNOWN,
    ErrorCode.ORPHAN_SESSION_MISMATCH,
    ErrorCode.PROMPT_SECRET_CREATE_FAILED,
    ErrorCode.JOB_CREATE_FAILED,
    ErrorCode.POD_SCHEDULE_FAILED,
    ErrorCode.POD_REATTACH_FAILED,
)

PRECEDENCE: tuple[Row, ...] = (
    *(Row(Reason.STAGE, code, ending_facts.only_by_stage) for code in _STAGE_CODES),
    Row(Reason.CANCELLED, ErrorCode.CANCELLED, ending_facts.cancelled),
    Row(Reason.TIMEOUT, ErrorCode.TIMEOUT, ending_facts.timed_out),
    Row(Reason.STALLED, ErrorCode.STALLED, ending_facts.stalled),
    Row(Reason.JOB_DELETED, ErrorCode.JOB_DELETED_EXTERNALLY, ending_facts.job_deleted),
    Row(Reason.PREEMPTED_BY_QUEUE, ErrorCode.CLAUDE_TRUNCATED, ending_facts.preempted_by_queue),
    Row(Reason.API_LOST, ErrorCode.JOB_STATE_MISMATCH, ending_facts.api_lost),
    Row(Reason.REVOKED, ErrorCode.CONCURRENT_RUN_BLOCKED, ending_facts.revoked),
    # What the result shows.
    Row(Reason.CLOSING_RESULT_LOST, ErrorCode.CLAUDE_TRUNCATED, ending_facts.closing_result_lost),
    Row(
        Reason.SESSION_UNKNOWN,
        ErrorCode.SESSION_UNAVAILABLE,
        of_result(ending_facts.session_unknown),
        clear_session=True,
    ),
    Row(
        Reason.MAX_TURNS,
        ErrorCode.CLAUDE_MAX_TURNS,
        of_result(ending_facts.turns_used_up),
        clear_session=True,
    ),
    Row(Reason.MAX_BUDGET, ErrorCode.CLAUDE_MAX_BUDGET, of_result(ending_facts.budget_used_up)),
    Row(
        Reason.PROMPT_TOO_LONG, ErrorCode.CLAUDE_PROMPT_TOO_LONG, api_failures.prompt_too_long_fact
    ),
    Row(Reason.REFUSED, ErrorCode.CLAUDE_REFUSED, api_failures.refusal_fact),
    Row(Reason.LOGIN, ErrorCode.CLAUDE_AUTH_REQUIRED, api_failures.login_fact),
    Row(Reason.RATE_LIMITED, ErrorCode.CLAUDE_RATE_LIMITED, api_failures.rate_limit_fact),
    Row(Reason.BILLING, ErrorCode.LLM_API_ERROR, api_failures.billing_fact),
    Row(Reason.MODEL_UNKNOWN, ErrorCode.LLM_API_ERROR, api_failures.model_unknown_fact),
    Row(Reason.OUTPUT_LIMIT, ErrorCode.LLM_API_ERROR, api_failures.output_limit_fact),
    Row(Reason.CONNECTION, ErrorCode.LLM_API_ERROR, api_failures.connection_fact),
    Row(Reason.API_FAILED, ErrorCode.LLM_API_ERROR, api_failures.failed_request_fact),
    Row(Reason.ERROR_RESULT, ErrorCode.CLAUDE_FAILED, of_result(ending_facts.error_result)),
    Row(Reason.EXIT_UNREADABLE, ErrorCode.CLAUDE_FAILED, of_result(ending_facts.exit_unreadable)),
    Row(
        Reason.ENDED_AFTER_RESULT,
        ErrorCode.CLAUDE_TRUNCATED,
        of_result(ending_facts.ended_after_result),
    ),
    Row(
        Reason.EXIT_AFTER_RESULT, ErrorCode.CLAUDE_FAILED, of_result(ending_facts.exit_after_result)
    ),
    Row(Reason.ERROR_UNSAID, ErrorCode.CLAUDE_FAILED, of_result(ending_facts.error_unsaid)),
    Row(Reason.NO_ANSWER, ErrorCode.CLAUDE_NO_OUTPUT, of_result(ending_facts.no_answer)),
    Row(Reason.SUCCESS, None, of_result(ending_facts.success)),
    # No result.
    Row(Reason.NEVER_RAN, ErrorCode.POD_SCHEDULE_FAILED, ending_facts.never_ran),
    Row(Reason.LINES_LOST, ErrorCode.CLAUDE_TRUNCATED, ending_facts.lines_lost),
    Row(Reason.EMPTY_MODEL_ANSWER, ErrorCode.LLM_API_ERROR, ending_facts.empty_model_answer),
    Row(Reason.BAD_INPUT, ErrorCode.CLAUDE_START_FAILED, ending_facts.bad_input),
    Row(Reason.NO_STDOUT, ErrorCode.CLAUDE_START_FAILED, ending_facts.no_stdout),
    Row(Reason.NO_RESULT, ErrorCode.CLAUDE_TRUNCATED, ending_facts.no_result),
    Row(Reason.START_UP_ONLY, ErrorCode.CLAUDE_INIT_FAILED, ending_facts.start_up_only),
    Row(Reason.UNMATCHED, ErrorCode.CLAUDE_FAILED, ending_facts.always),
)
