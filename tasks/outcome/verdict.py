"""How a run ended: one verdict, derived from plain facts."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.outcome.api_failures import with_judged_result
from tasks.outcome.causes import CAUSE_TABLE, CauseFinding, CauseRule, find_cause
from tasks.outcome.cluster_words import cluster_words
from tasks.outcome.diagnosis import describe, list_observations
from tasks.outcome.precedence import PRECEDENCE, Row, find_row
from tasks.outcome.reasons import OF_THE_CHECK, OF_THE_WORK, Reason
from tasks.outcome.run_facts import Ending, RunFacts, read_ending, signal_of
from tasks.outcome.run_warnings import find_warnings
from tasks.vocabulary.error_codes import Cause, ErrorCode

# What the run itself did is not the cluster's doing.
_OUR_DOING = frozenset({Reason.CANCELLED, Reason.STALLED})
# Its deletion of the Job takes the pod along.
_CLUSTER_SIDE = frozenset(
    {Cause.DEADLINE_EXCEEDED, Cause.JOB_DELETED, Cause.POD_REPLACED, Cause.UNKNOWN}
)
# These tell of the agent's own process, which has ended well before its check.
_AGENT_SIDE = frozenset(
    {Cause.APP_EXIT, Cause.SIGKILL, Cause.SIGTERM, Cause.HEAP_EXHAUSTED, Cause.UNKNOWN}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on a run; success is `code is None` and nothing else.

    Attributes:
        reason: Which row of the precedence table decided; several may share a code.
        message: One sentence.
        cluster_said: What the cluster reported; `None` if it reported nothing, and after success.
        advice: What to do; `None` after success.
        facts_used: The facts behind the verdict, the deciding one first.
        not_observed: What was not observed, although it might have shown more.
        clear_session: The session must not be resumed.
        recurs_in_session: The session itself may be why, so that a resumed one ends likewise.
        warnings: What may be wrong although the verdict does not rest on it.
        exit_code: Exit code of the agent; `None` if unknown.
        signal: Number of the signal that ended the agent.
    """

    code: ErrorCode | None
    reason: Reason
    cause: Cause | None
    message: str
    check: str | None
    observed: tuple[tuple[str, str], ...]
    cluster_said: str | None
    advice: str | None
    facts_used: tuple[str, ...]
    not_observed: tuple[str, ...]
    clear_session: bool
    recurs_in_session: bool
    warnings: tuple[str, ...]
    exit_code: int | None
    signal: int | None


def judge_run(
    facts: RunFacts,
    *,
    precedence: Sequence[Row] = PRECEDENCE,
    causes: Sequence[CauseRule] = CAUSE_TABLE,
) -> Outcome:
    """Judge a run by its facts; never raises, and never claims more than the facts show.

    Success is what `SUCCESS_RULE` asks for: exit code 0, a last result that says in none of its
    fields that the work was not finished, an answer, and no turn begun after it. For each
    cause other than `Unknown`, `facts_used` contains the fact that shows it.

    Args:
        facts: Everything that is known about the run.
        precedence: The ordered rules that select the ending.
        causes: The ordered rules that select the cause.
    """
    ending = read_ending(facts)
    facts = with_judged_result(facts)
    row, fact = find_row(facts, ending, precedence)
    found = _cause(row, facts, ending, causes)
    diagnosis = describe(row.reason, facts, ending, found.cause if found else None)
    used = [fact, _exit_fact(ending), found.fact if found else None]
    return Outcome(
        code=row.code,
        reason=row.reason,
        cause=found.cause if found else None,
        message=diagnosis.message,
        check=diagnosis.check,
        observed=list_observations(facts, ending, found.cause if found else None),
        cluster_said=cluster_words(facts) if row.code is not None else None,
        advice=diagnosis.advice,
        facts_used=tuple(dict.fromkeys(item for item in used if item)),
        not_observed=_not_observed(facts, ending),
        clear_session=row.clear_session,
        recurs_in_session=row.recurs_in_session,
        warnings=find_warnings(facts),
        exit_code=ending.exit_code,
        signal=ending.signal,
    )


def _cause(
    row: Row, facts: RunFacts, ending: Ending, causes: Sequence[CauseRule]
) -> CauseFinding | None:
    # The agent has ended by itself, and well.
    if row.reason is Reason.SUCCESS or row.reason in OF_THE_WORK:
        return None
    if row.reason is Reason.STAGE:
        failed = facts.stage_failure
        named = failed.cause if failed is not None else None
        return CauseFinding(named, "reported by the failed stage") if named else None
    if row.reason in OF_THE_CHECK:
        found = find_cause(facts, _end_of_check(facts), causes)
        return None if found.cause in _AGENT_SIDE else found
    found = find_cause(facts, ending, causes)
    if row.reason in _OUR_DOING and found.cause in _CLUSTER_SIDE:
        return None
    return found


def _end_of_check(facts: RunFacts) -> Ending:
    """Return how the check ended, as the agent's own ending has no other cause than itself."""
    exit_code = facts.check.exit_code if facts.check is not None else None
    if exit_code is None and not facts.exit_code_is_made_up:
        exit_code = facts.container_exit_code
    return Ending(exit_code, signal=signal_of(exit_code) if exit_code is not None else None)


def _exit_fact(ending: Ending) -> str | None:
    return f"exit code {ending.exit_code} ({ending.source})" if ending.source else None


def _not_observed(facts: RunFacts, ending: Ending) -> tuple[str, ...]:
    proof = facts.transcript
    # Then nobody waits for what the Job controller says of it.
    is_proven = ending.source == "container state" and proof.complete is True
    absent = {
        "exit code": ending.exit_code is None,
        "result event": facts.session.last_result is None,
        "trailer of the run script": facts.any_trailer is None,
        "proof that the transcript is complete": proof.complete is not True,
        "result of the check": facts.check is not None and facts.check.end is None,
        "what the agent changed": facts.work is not None and facts.work.result is None,
        "whether the container started": facts.container_started is None,
        "pod phase": facts.pod_phase is None,
        "final Job condition": not is_proven
        and not any(
            item.is_true and item.type in {"Complete", "Failed"} for item in facts.job_conditions
        ),
    }
    return tuple(name for name, is_absent in absent.items() if is_absent)
