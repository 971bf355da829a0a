"""Which ending a run had: one ordered table, first row wins.

Input, guard, create, pod, cancelled, timeout, stalled, Job deleted, API lost, the result's own, no
result. A row is chosen by fields, never by what a text says, and names the fact that chose it. The
one row without a code is success: exit code 0, a last result with `is_error: false`, and an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto

from tasks.agent_job.api_failures import (
    billing_fact,
    connection_fact,
    failed_request_fact,
    login_fact,
    model_unknown_fact,
    output_limit_fact,
    prompt_too_long_fact,
    rate_limit_fact,
    refusal_fact,
)
from tasks.agent_job.causes import deadline_fact, deletion_ended_agent
from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.run_facts import Ending, RunFacts
from tasks.claude_code.event_types import ResultEvent
from tasks.claude_code.line_grammar import Refusal

Evidence = Callable[[RunFacts, Ending], str | None]


class Reason(StrEnum):
    """What a row of the table is about; several reasons may share a code."""

    STAGE = auto()
    CANCELLED = auto()
    TIMEOUT = auto()
    STALLED = auto()
    JOB_DELETED = auto()
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
    """One way to end; `evidence` returns the fact that shows it, or `None`."""

    reason: Reason
    code: ErrorCode | None
    evidence: Evidence
    clear_session: bool = False


def find_row(facts: RunFacts, ending: Ending) -> tuple[Row, str]:
    """Return the first row that the facts support, with the fact; there is always one."""
    failed = facts.stage_failure
    for row in PRECEDENCE:
        if failed is not None and failed.code is row.code:
            return Row(Reason.STAGE, failed.code, row.evidence, row.clear_session), failed.message
        fact = row.evidence(facts, ending)
        if fact is not None:
            return row, fact
    # The table's last row holds always; a type checker cannot see that.
    raise AssertionError("no row of the precedence table holds")


def _only_by_stage(_facts: RunFacts, _ending: Ending) -> None:
    """Leave the row to a stage that failed with its code."""
    return


def _cancelled(facts: RunFacts, _ending: Ending) -> str | None:
    return "the flow run's state says cancelled" if facts.cancelled else None


def _timed_out(facts: RunFacts, _ending: Ending) -> str | None:
    return deadline_fact(facts)


def _stalled(facts: RunFacts, _ending: Ending) -> str | None:
    seconds = facts.stalled_seconds
    return None if seconds is None else f"no output for {seconds:,.0f} s"


def _job_deleted(facts: RunFacts, ending: Ending) -> str | None:
    return "the Job's deletion" if deletion_ended_agent(facts, ending) else None


def _api_lost(facts: RunFacts, ending: Ending) -> str | None:
    if facts.api_lost_seconds is None or ending.exit_code is not None:
        return None
    return f"no answer from the Kubernetes API for {facts.api_lost_seconds:,.0f} s"


def _revoked(facts: RunFacts, _ending: Ending) -> str | None:
    if facts.refusal is Refusal.REVOKED:
        return "the run script found its prompt revoked"
    return None


def _closing_result_lost(facts: RunFacts, _ending: Ending) -> str | None:
    number = facts.any_trailer.last_result_line if facts.any_trailer else None
    missing = facts.transcript.missing
    if number is not None and any(gap.first <= number <= gap.last for gap in missing):
        return f"line {number}, which looked like the last result, is missing"
    return None


def _of_result(judge: Callable[[ResultEvent, RunFacts, Ending], str | None]) -> Evidence:
    """Make evidence of the last result; without one there is none."""

    def evidence(facts: RunFacts, ending: Ending) -> str | None:
        result = facts.session.last_result
        return None if result is None else judge(result, facts, ending)

    return evidence


def _session_unknown(result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    if not facts.resume_requested or facts.session.init_seen:
        return None
    if result.is_error is True and result.num_turns == 0:
        return "resume asked, result is_error=true, num_turns=0, no init event"
    return None


def _turns_used_up(result: ResultEvent, _facts: RunFacts, _ending: Ending) -> str | None:
    return _limit_fact(result, "error_max_turns", "max_turns")


def _budget_used_up(result: ResultEvent, _facts: RunFacts, _ending: Ending) -> str | None:
    return _limit_fact(result, "error_max_budget_usd", "budget_exhausted")


def _limit_fact(result: ResultEvent, subtype: str, reason: str) -> str | None:
    if result.subtype == subtype:
        return f"result subtype={subtype}"
    if result.terminal_reason == reason:
        return f"result terminal_reason={reason}"
    # Older versions and gateways say it here, in any case of letters.
    if result.stop_reason is not None and result.stop_reason.lower() == reason:
        return f"result stop_reason={reason}"
    return None


def _error_result(result: ResultEvent, _facts: RunFacts, _ending: Ending) -> str | None:
    return "result is_error=true" if result.is_error is True else None


def _exit_unreadable(_result: ResultEvent, _facts: RunFacts, ending: Ending) -> str | None:
    return "a result, and no exit code" if ending.exit_code is None else None


def _ended_after_result(_result: ResultEvent, facts: RunFacts, ending: Ending) -> str | None:
    if ending.exit_code != 0 and facts.session.output_after_result:
        return f"output after the last result, exit code {ending.exit_code}"
    return None


def _exit_after_result(_result: ResultEvent, _facts: RunFacts, ending: Ending) -> str | None:
    return f"a result, and exit code {ending.exit_code}" if ending.exit_code != 0 else None


def _error_unsaid(result: ResultEvent, _facts: RunFacts, _ending: Ending) -> str | None:
    return "a result without is_error" if result.is_error is None else None


def _no_answer(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    return None if facts.session.answer else "exit code 0 and an empty result"


def _success(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    # All the rows above have not held; a failed stage must not be outdone by an old result.
    return "exit code 0, result is_error=false, an answer" if not facts.stage_failure else None


def _silent(facts: RunFacts) -> bool:
    session = facts.session
    return session.events == 0 and session.plain_lines == 0 and facts.transcript.lines == 0


def _never_ran(facts: RunFacts, _ending: Ending) -> str | None:
    if facts.container_started is False and facts.refusal is None and _silent(facts):
        return "the agent's container never ran"
    return None


def _lines_lost(facts: RunFacts, _ending: Ending) -> str | None:
    if facts.transcript.missing:
        return "stdout lines are missing, and there is no result"
    if facts.any_trailer and facts.any_trailer.lines > 0 and _silent(facts):
        return f"the run script counted {facts.any_trailer.lines:,} lines, and none was read"
    return None


def _empty_model_answer(facts: RunFacts, ending: Ending) -> str | None:
    if facts.session.empty_answer_open and ending.signal is None:
        return "an open, empty message of zero tokens, and no result"
    return None


def _bad_input(facts: RunFacts, _ending: Ending) -> str | None:
    if facts.refusal in {Refusal.BUNDLE_MISMATCH, Refusal.NO_PROMPT}:
        return f"the run script refused: {facts.refusal}"
    return None


def _no_stdout(facts: RunFacts, _ending: Ending) -> str | None:
    return "nothing on stdout" if _silent(facts) else None


def _no_result(facts: RunFacts, _ending: Ending) -> str | None:
    return "model output, and no result" if facts.session.model_output_seen else None


def _start_up_only(facts: RunFacts, _ending: Ending) -> str | None:
    session = facts.session
    if session.events > 0:
        return "start-up events, and nothing after them"
    # Nothing but the beginning of an event: start-up was cut short.
    cut = session.fragment_lines > 0 and session.fragment_lines == session.plain_lines
    return "a first event cut short" if cut else None


def _always(_facts: RunFacts, _ending: Ending) -> str | None:
    return "no event on stdout"


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
    *(Row(Reason.STAGE, code, _only_by_stage) for code in _STAGE_CODES),
    Row(Reason.CANCELLED, ErrorCode.CANCELLED, _cancelled),
    Row(Reason.TIMEOUT, ErrorCode.TIMEOUT, _timed_out),
    Row(Reason.STALLED, ErrorCode.STALLED, _stalled),
    Row(Reason.JOB_DELETED, ErrorCode.JOB_DELETED_EXTERNALLY, _job_deleted),
    Row(Reason.API_LOST, ErrorCode.JOB_STATE_MISMATCH, _api_lost),
    Row(Reason.REVOKED, ErrorCode.CONCURRENT_RUN_BLOCKED, _revoked),
    # The result's own.
    Row(Reason.CLOSING_RESULT_LOST, ErrorCode.CLAUDE_TRUNCATED, _closing_result_lost),
    Row(
        Reason.SESSION_UNKNOWN,
        ErrorCode.SESSION_UNAVAILABLE,
        _of_result(_session_unknown),
        clear_session=True,
    ),
    Row(
        Reason.MAX_TURNS,
        ErrorCode.CLAUDE_MAX_TURNS,
        _of_result(_turns_used_up),
        clear_session=True,
    ),
    Row(Reason.MAX_BUDGET, ErrorCode.CLAUDE_MAX_BUDGET, _of_result(_budget_used_up)),
    Row(Reason.PROMPT_TOO_LONG, ErrorCode.CLAUDE_PROMPT_TOO_LONG, prompt_too_long_fact),
    Row(Reason.REFUSED, ErrorCode.CLAUDE_REFUSED, refusal_fact),
    Row(Reason.LOGIN, ErrorCode.CLAUDE_AUTH_REQUIRED, login_fact),
    Row(Reason.RATE_LIMITED, ErrorCode.CLAUDE_RATE_LIMITED, rate_limit_fact),
    Row(Reason.BILLING, ErrorCode.LLM_API_ERROR, billing_fact),
    Row(Reason.MODEL_UNKNOWN, ErrorCode.LLM_API_ERROR, model_unknown_fact),
    Row(Reason.OUTPUT_LIMIT, ErrorCode.LLM_API_ERROR, output_limit_fact),
    Row(Reason.CONNECTION, ErrorCode.LLM_API_ERROR, connection_fact),
    Row(Reason.API_FAILED, ErrorCode.LLM_API_ERROR, failed_request_fact),
    Row(Reason.ERROR_RESULT, ErrorCode.CLAUDE_FAILED, _of_result(_error_result)),
    Row(Reason.EXIT_UNREADABLE, ErrorCode.CLAUDE_FAILED, _of_result(_exit_unreadable)),
    Row(Reason.ENDED_AFTER_RESULT, ErrorCode.CLAUDE_TRUNCATED, _of_result(_ended_after_result)),
    Row(Reason.EXIT_AFTER_RESULT, ErrorCode.CLAUDE_FAILED, _of_result(_exit_after_result)),
    Row(Reason.ERROR_UNSAID, ErrorCode.CLAUDE_FAILED, _of_result(_error_unsaid)),
    Row(Reason.NO_ANSWER, ErrorCode.CLAUDE_NO_OUTPUT, _of_result(_no_answer)),
    Row(Reason.SUCCESS, None, _of_result(_success)),
    # No result.
    Row(Reason.NEVER_RAN, ErrorCode.POD_SCHEDULE_FAILED, _never_ran),
    Row(Reason.LINES_LOST, ErrorCode.CLAUDE_TRUNCATED, _lines_lost),
    Row(Reason.EMPTY_MODEL_ANSWER, ErrorCode.LLM_API_ERROR, _empty_model_answer),
    Row(Reason.BAD_INPUT, ErrorCode.CLAUDE_START_FAILED, _bad_input),
    Row(Reason.NO_STDOUT, ErrorCode.CLAUDE_START_FAILED, _no_stdout),
    Row(Reason.NO_RESULT, ErrorCode.CLAUDE_TRUNCATED, _no_result),
    Row(Reason.START_UP_ONLY, ErrorCode.CLAUDE_INIT_FAILED, _start_up_only),
    Row(Reason.UNMATCHED, ErrorCode.CLAUDE_FAILED, _always),
)
