"""Would the tables notice a wrong rule? Each one is removed, inverted and made to hold always."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from tasks.outcome.causes import CAUSE_TABLE, CauseRule
from tasks.outcome.ending_facts import Evidence
from tasks.outcome.precedence import PRECEDENCE, Row
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import Ending, RunFacts, StageFailure
from tasks.outcome.verdict import judge_run
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tests.unit.outcome.ending_matrix import facts_of
from tests.unit.outcome.ending_matrix_expected import CODES
from tests.unit.outcome.test_ending_matrix import POSSIBLE
from tests.unit.outcome.test_outcome_table import REASONS, TABLE

BEFORE_OUTPUT = (
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
CLEARING = {Reason.MAX_TURNS}


class Check(NamedTuple):
    """Facts with the judgement that the tables ask for; a `reason` of `None` is left open."""

    facts: RunFacts
    code: ErrorCode | None
    cause: Cause | None
    reason: Reason | None

    def holds(self, precedence: tuple[Row, ...], causes: tuple[CauseRule, ...]) -> bool:
        outcome = judge_run(self.facts, precedence=precedence, causes=causes)
        if outcome.reason is not Reason.STAGE:
            clears = outcome.reason in CLEARING
            if outcome.clear_session is not clears:
                return False
        return (outcome.code, outcome.cause) == (self.code, self.cause) and self.reason in (
            None,
            outcome.reason,
        )


def _checks() -> Iterator[Check]:
    for name, (facts, code, cause) in TABLE.items():
        yield Check(facts, code, cause, REASONS.get(name))
    for cell, (reason, cause) in POSSIBLE.items():
        yield Check(facts_of(*cell), CODES[reason], cause, reason)
    for code in ErrorCode:
        yield Check(RunFacts(stage_failure=StageFailure(code, "x")), code, None, Reason.STAGE)
    for code in BEFORE_OUTPUT:
        facts = RunFacts(stage_failure=StageFailure(code, "x"), cancelled=True)
        yield Check(facts, code, None, Reason.STAGE)


CHECKS = tuple(_checks())


def _removed(_evidence: Evidence) -> Evidence:
    return lambda _facts, _ending: None


def _always(_evidence: Evidence) -> Evidence:
    return lambda _facts, _ending: "made to hold"


def _inverted(evidence: Evidence) -> Evidence:
    def inverted(facts: RunFacts, ending: Ending) -> str | None:
        return "inverted" if evidence(facts, ending) is None else None

    return inverted


MUTATIONS = (_removed, _always, _inverted)


def _is_noticed(precedence: tuple[Row, ...], causes: tuple[CauseRule, ...]) -> bool:
    for check in CHECKS:
        try:
            if not check.holds(precedence, causes):
                return True
        except (StopIteration, KeyError):
            # No rule is left that holds, or one holds that has no words for these facts.
            return True
    return False


def test_tables_agree_with_the_rules_as_they_are() -> None:
    assert not _is_noticed(PRECEDENCE, CAUSE_TABLE)


@pytest.mark.parametrize(
    ("index", "mutate"),
    [
        (index, mutate)
        for index, row in enumerate(PRECEDENCE)
        for mutate in MUTATIONS
        # The last rule does hold always.
        if (row.reason, mutate) != (Reason.UNMATCHED, _always)
    ],
)
def test_wrong_rule_of_precedence_turns_a_row_red(
    index: int, mutate: Callable[[Evidence], Evidence]
) -> None:
    rules, row = list(PRECEDENCE), PRECEDENCE[index]
    rules[index] = replace(row, evidence=mutate(row.evidence))
    if mutate is _removed:
        # A stage that failed finds its row by the code, whatever the evidence.
        del rules[index]

    assert _is_noticed(tuple(rules), CAUSE_TABLE), f"nobody misses {row.reason} {row.code}"


@pytest.mark.parametrize(
    "index",
    # There is no session before there is a Job.
    [index for index, row in enumerate(PRECEDENCE) if row.reason is not Reason.STAGE],
)
def test_rule_that_clears_or_keeps_the_session_wrongly_turns_a_row_red(index: int) -> None:
    row = PRECEDENCE[index]
    rules = list(PRECEDENCE)
    rules[index] = replace(row, clear_session=not row.clear_session)

    assert _is_noticed(tuple(rules), CAUSE_TABLE)


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("index", range(len(CAUSE_TABLE)))
def test_wrong_rule_of_causes_turns_a_row_red(
    index: int, mutate: Callable[[Evidence], Evidence]
) -> None:
    rules = list(CAUSE_TABLE)
    cause, evidence = rules[index]
    rules[index] = (cause, mutate(evidence))

    assert _is_noticed(PRECEDENCE, tuple(rules)), f"nobody misses {cause} {evidence}"
