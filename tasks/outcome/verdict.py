"""How a run ended: one judgement over plain facts."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.outcome.causes import CAUSE_TABLE, CauseFinding, CauseRule, find_cause
from tasks.outcome.cluster_words import cluster_words
from tasks.outcome.diagnosis import describe
from tasks.outcome.precedence import PRECEDENCE, Reason, Row, find_row
from tasks.outcome.run_facts import Ending, RunFacts, read_ending
from tasks.vocabulary.error_codes import Cause, ErrorCode

# What we did ourselves is no finding about the cluster.
_OUR_DOING = frozenset({Reason.CANCELLED, Reason.STALLED})
_CLUSTER_SIDE = frozenset({Cause.DEADLINE_EXCEEDED, Cause.JOB_DELETED, Cause.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The judgement of a run; success is `code is None` and nothing else.

    Attributes:
        reason: Which row of the precedence table decided; several may share a code.
        message: One sentence.
        cluster_said: In the cluster's own words; `None` where it said nothing, and after success.
        advice: What to do; `None` after success.
        facts_used: What the judgement rests on, the deciding fact first.
        not_observed: What could not be seen and might have told more.
        clear_session: The session must not be resumed.
        exit_code: The agent's; `None` where nobody says.
        signal: Number of the signal that ended the agent.
    """

    code: ErrorCode | None
    reason: Reason
    cause: Cause | None
    message: str
    cluster_said: str | None
    advice: str | None
    facts_used: tuple[str, ...]
    not_observed: tuple[str, ...]
    clear_session: bool
    exit_code: int | None
    signal: int | None


def judge_run(
    facts: RunFacts,
    *,
    precedence: Sequence[Row] = PRECEDENCE,
    causes: Sequence[CauseRule] = CAUSE_TABLE,
) -> Outcome:
    """Judge a run by its facts; never raises, and never better than the facts.

    Success is exit code 0, a last result with `is_error: false`, and a non-empty answer. A cause
    other than `Unknown` is named only with the fact that shows it, in `facts_used`.

    Args:
        facts: All that is known.
        precedence: The ordered rules for what the ending was.
        causes: The ordered rules for what brought it about.
    """
    ending = read_ending(facts)
    row, fact = find_row(facts, ending, precedence)
    found = _cause(row, facts, ending, causes)
    diagnosis = describe(row.reason, facts, ending, found.cause if found else None)
    used = [fact, _exit_fact(ending), found.fact if found else None]
    return Outcome(
        code=row.code,
        reason=row.reason,
        cause=found.cause if found else None,
        message=diagnosis.message,
        cluster_said=cluster_words(facts) if row.code is not None else None,
        advice=diagnosis.advice,
        facts_used=tuple(dict.fromkeys(item for item in used if item)),
        not_observed=_not_observed(facts, ending),
        clear_session=row.clear_session,
        exit_code=ending.exit_code,
        signal=ending.signal,
    )


def _cause(
    row: Row, facts: RunFacts, ending: Ending, causes: Sequence[CauseRule]
) -> CauseFinding | None:
    if row.reason is Reason.SUCCESS:
        return None
    if row.reason is Reason.STAGE:
        failed = facts.stage_failure
        named = failed.cause if failed is not None else None
        return CauseFinding(named, "said by the stage that failed") if named else None
    found = find_cause(facts, ending, causes)
    if row.reason in _OUR_DOING and found.cause in _CLUSTER_SIDE:
        return None
    return found


def _exit_fact(ending: Ending) -> str | None:
    return f"exit code {ending.exit_code} ({ending.source})" if ending.source else None


def _not_observed(facts: RunFacts, ending: Ending) -> tuple[str, ...]:
    proof = facts.transcript
    absent = {
        "exit code": ending.exit_code is None,
        "result event": facts.session.last_result is None,
        "trailer of the run script": facts.any_trailer is None,
        "proof that the transcript is complete": proof.complete is not True,
        "whether the container started": facts.container_started is None,
        "pod phase": facts.pod_phase is None,
        "final Job condition": not any(
            item.is_true and item.type in {"Complete", "Failed"} for item in facts.job_conditions
        ),
    }
    return tuple(name for name, is_absent in absent.items() if is_absent)
