"""How a run ended: one ordered table, the first matching row wins.

The order: input, guard, create, pod, cancelled, timeout, stalled, Job deleted, preempted by a
queue, API lost, what the result shows, no result. Fields select a row, never the content of a text,
and each row returns the fact that selected it. The one row without a code is success: none of the
conditions of `SUCCESS_RULE` is broken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.outcome import api_failures, ending_facts
from tasks.outcome.ending_facts import Evidence, means, of_result
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import Ending, RunFacts
from tasks.vocabulary.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class Row:
    """One possible ending; `evidence` returns the fact that shows it, or `None`.

    Attributes:
        clear_session: The session must not be resumed.
        recurs_in_session: The session itself may be why, so that a resumed one ends likewise.
    """

    reason: Reason
    code: ErrorCode | None
    evidence: Evidence
    clear_session: bool = False
    recurs_in_session: bool = False


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
        Reason.API_REFUSED,
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

# What keeps a result from being a success, each condition with the code of a run that breaks it.
# None may be left out: the last one that is broken would make the run a success.
SUCCESS_RULE: tuple[Row, ...] = (
    Row(Reason.CLOSING_RESULT_LOST, ErrorCode.CLAUDE_TRUNCATED, ending_facts.closing_result_lost),
    Row(Reason.CLOSING_RESULT_TORN, ErrorCode.CLAUDE_TRUNCATED, ending_facts.closing_result_torn),
    Row(
        Reason.ENDED_AFTER_RESULT,
        ErrorCode.CLAUDE_TRUNCATED,
        of_result(ending_facts.turn_left_open),
    ),
    Row(Reason.SESSION_UNKNOWN, ErrorCode.SESSION_UNAVAILABLE, ending_facts.session_unknown),
    Row(Reason.MAX_TURNS, ErrorCode.CLAUDE_MAX_TURNS, means(Reason.MAX_TURNS), clear_session=True),
    Row(Reason.MAX_BUDGET, ErrorCode.CLAUDE_MAX_BUDGET, means(Reason.MAX_BUDGET)),
    Row(
        Reason.PROMPT_TOO_LONG,
        ErrorCode.CLAUDE_PROMPT_TOO_LONG,
        means(Reason.PROMPT_TOO_LONG),
        recurs_in_session=True,
    ),
    Row(Reason.REFUSED, ErrorCode.CLAUDE_REFUSED, api_failures.refusal_fact),
    Row(Reason.LOGIN, ErrorCode.CLAUDE_AUTH_REQUIRED, api_failures.login_fact),
    Row(Reason.RATE_LIMITED, ErrorCode.CLAUDE_RATE_LIMITED, api_failures.rate_limit_fact),
    Row(Reason.BILLING, ErrorCode.LLM_API_ERROR, api_failures.billing_fact),
    Row(Reason.MODEL_UNKNOWN, ErrorCode.LLM_API_ERROR, api_failures.model_unknown_fact),
    Row(Reason.OUTPUT_LIMIT, ErrorCode.LLM_API_ERROR, api_failures.output_limit_fact),
    Row(Reason.CONNECTION, ErrorCode.LLM_API_ERROR, api_failures.connection_fact),
    Row(
        Reason.API_REJECTED,
        ErrorCode.LLM_API_ERROR,
        api_failures.rejected_fact,
        recurs_in_session=True,
    ),
    Row(Reason.API_UNAVAILABLE, ErrorCode.LLM_API_ERROR, api_failures.unavailable_fact),
    Row(Reason.API_FAILED, ErrorCode.LLM_API_ERROR, api_failures.failed_request_fact),
    Row(Reason.OUTPUT_INVALID, ErrorCode.CLAUDE_OUTPUT_INVALID, means(Reason.OUTPUT_INVALID)),
    Row(Reason.HOOK_STOPPED, ErrorCode.CLAUDE_FAILED, means(Reason.HOOK_STOPPED)),
    Row(Reason.TOOL_DEFERRED, ErrorCode.CLAUDE_TRUNCATED, of_result(ending_facts.tool_deferred)),
    Row(Reason.ABORTED, ErrorCode.CLAUDE_FAILED, means(Reason.ABORTED)),
    Row(Reason.ERROR_RESULT, ErrorCode.CLAUDE_FAILED, of_result(ending_facts.error_result)),
    Row(Reason.UNFINISHED, ErrorCode.CLAUDE_TRUNCATED, means(Reason.UNFINISHED)),
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
    Row(
        Reason.OUTPUT_INVALID,
        ErrorCode.CLAUDE_OUTPUT_INVALID,
        of_result(ending_facts.output_missing),
    ),
    Row(
        Reason.ANSWERED_BY_CLI,
        ErrorCode.CLAUDE_NO_OUTPUT,
        of_result(ending_facts.answered_by_cli),
    ),
    Row(Reason.NO_ANSWER, ErrorCode.CLAUDE_NO_OUTPUT, of_result(ending_facts.no_answer)),
    # The agent itself has succeeded.
    Row(Reason.CHECK_UNKNOWN, ErrorCode.CHECK_FAILED, of_result(ending_facts.check_unknown)),
    Row(Reason.CHECK_TIMED_OUT, ErrorCode.CHECK_FAILED, of_result(ending_facts.check_timed_out)),
    Row(Reason.CHECK_FAILED, ErrorCode.CHECK_FAILED, of_result(ending_facts.check_failed)),
    Row(Reason.NO_CHANGES, ErrorCode.NO_CHANGES, of_result(ending_facts.no_changes)),
    Row(
        Reason.WORK_NOT_DELIVERED,
        ErrorCode.WORK_NOT_DELIVERED,
        of_result(ending_facts.work_not_delivered),
    ),
    Row(
        Reason.WORK_NOT_PUBLISHED,
        ErrorCode.WORK_NOT_DELIVERED,
        of_result(ending_facts.work_not_published),
    ),
)

PRECEDENCE: tuple[Row, ...] = (
    *(Row(Reason.STAGE, code, ending_facts.only_by_stage) for code in _STAGE_CODES),
    Row(Reason.CANCELLED, ErrorCode.CANCELLED, ending_facts.cancelled),
    Row(Reason.TIMEOUT, ErrorCode.TIMEOUT, ending_facts.timed_out),
    Row(Reason.STALLED, ErrorCode.STALLED, ending_facts.stalled),
    Row(Reason.JOB_DELETED, ErrorCode.JOB_DELETED_EXTERNALLY, ending_facts.job_deleted),
    Row(Reason.PREEMPTED_BY_QUEUE, ErrorCode.CLAUDE_TRUNCATED, ending_facts.preempted_by_queue),
    Row(Reason.API_REFUSED, ErrorCode.JOB_STATE_MISMATCH, ending_facts.api_refused),
    Row(Reason.API_LOST, ErrorCode.JOB_STATE_MISMATCH, ending_facts.api_lost),
    Row(Reason.REVOKED, ErrorCode.CONCURRENT_RUN_BLOCKED, ending_facts.revoked),
    # What the result shows.
    *SUCCESS_RULE,
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
