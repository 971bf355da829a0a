"""The verdicts of a sweep, over every combination of what it can know of an object."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sweep.sweep_config import SweepPolicy
from tasks.sweep.sweep_facts import (
    STATES_OF_KIND,
    ObjectFacts,
    ObjectKind,
    ObjectState,
    Recognition,
    RunStanding,
)
from tasks.sweep.sweep_rules import (
    ALARMING,
    REPORTED,
    Finding,
    SweepAction,
    SweepVerdict,
    judge_object,
)

# Objects of ours, whose Lease is not held, old enough: what they are by the standing of their flow
# run. `-` is impossible.
MATRIX = """
kind     state          | waiting     running     silent      cancelling   cancelled   over        deleted     unknown     unreadable
Job      deleting       | deleting    deleting    deleting    deleting     deleting    deleting    deleting    deleting    deleting
Job      deletion_stuck | deletion_stuck deletion_stuck deletion_stuck deletion_stuck deletion_stuck deletion_stuck deletion_stuck deletion_stuck unreadable
Job      ttl_passed     | ttl_passed  ttl_passed  ttl_passed  ttl_passed   ttl_passed  ttl_passed  ttl_passed  ttl_passed  unreadable
Job      harvested      | harvested   harvested   harvested   harvested    harvested   harvested   harvested   harvested   harvested
Job      finished       | awaited     awaited     of_zombie   unharvested  unharvested unharvested unharvested unharvested unreadable
Job      inert          | awaited     awaited     of_zombie   unstarted    unstarted   unstarted   unstarted   unstarted   unreadable
Job      live           | awaited     awaited     of_zombie   cancelled    cancelled   orphaned    run_missing run_missing unreadable
Secret   paired         | paired      paired      paired      paired       paired      paired      paired      paired      paired
Secret   unpaired       | awaited     awaited     of_zombie   unpaired     unpaired    unpaired    unpaired    unpaired    unreadable
Lease    resting        | resting     resting     resting     resting      resting     resting     resting     resting     resting
Lease    idle           | awaited     awaited     of_zombie   awaited      idle        idle        idle        idle        unreadable
flow_run recorded       | run_settled run_settled zombie      cancel_stuck run_settled run_settled run_settled -           -
"""  # noqa: E501 # a table is read by its columns

# Nothing would be done about these anyway; all else that is too young is `YOUNG` instead.
KEPT_WHEN_YOUNG = {
    Finding.DELETING,
    Finding.HARVESTED,
    Finding.PAIRED,
    Finding.RESTING,
    Finding.RUN_SETTLED,
}

DEFAULT_ACTIONS = {
    Finding.CANCELLED: SweepAction.STOP,
    Finding.ORPHANED: SweepAction.REPORT,
    Finding.RUN_MISSING: SweepAction.REPORT,
    Finding.UNSTARTED: SweepAction.DELETE,
    Finding.TTL_PASSED: SweepAction.DELETE,
    Finding.UNPAIRED: SweepAction.DELETE,
    Finding.IDLE: SweepAction.DELETE,
    Finding.CANCEL_STUCK: SweepAction.MARK_CANCELLED,
    Finding.ZOMBIE: SweepAction.REPORT,
    Finding.DELETION_STUCK: SweepAction.REPORT,
    Finding.UNHARVESTED: SweepAction.REPORT,
    Finding.UNREADABLE: SweepAction.REPORT,
}


def _table() -> dict[tuple[ObjectKind, ObjectState, RunStanding], Finding | None]:
    header, *lines = MATRIX.strip().splitlines()
    columns = [RunStanding(word) for word in header.partition("|")[2].split()]
    table: dict[tuple[ObjectKind, ObjectState, RunStanding], Finding | None] = {}
    for line in lines:
        row, _, cells = line.partition("|")
        kind_word, state_word = row.split()
        kind, state = ObjectKind(kind_word.replace("_", " ")), ObjectState[state_word.upper()]
        for run, cell in zip(columns, cells.split(), strict=True):
            table[kind, state, run] = None if cell == "-" else Finding(cell)
    return table


TABLE = _table()
EVERY_ROW = list(
    product(ObjectKind, ObjectState, Recognition, RunStanding, (True, False), (True, False))
)


def _is_impossible(
    kind: ObjectKind, state: ObjectState, recognition: Recognition, run: RunStanding
) -> bool:
    """A state of another kind; a flow run that nothing of ours or not Prefect has named."""
    if (kind, state, run) not in TABLE or TABLE[kind, state, run] is None:
        return True
    return kind is ObjectKind.FLOW_RUN and recognition is not Recognition.OURS


def _expected(facts: ObjectFacts) -> Finding | None:
    if facts.recognition is Recognition.FOREIGN:
        return Finding.FOREIGN
    if facts.recognition is Recognition.OTHER_VERSION:
        return Finding.OTHER_VERSION
    if facts.lease_fresh:
        return Finding.OWNED
    found = TABLE[facts.kind, facts.state, facts.run]
    return found if facts.old_enough or found in KEPT_WHEN_YOUNG else Finding.YOUNG


def test_table_covers_all_that_a_sweep_can_know() -> None:
    judged = 0
    for kind, state, recognition, run, lease_fresh, old_enough in EVERY_ROW:
        if _is_impossible(kind, state, recognition, run):
            with pytest.raises(ValueError, match=r"is never|found in Prefect"):
                ObjectFacts(kind, state, recognition, run, lease_fresh, old_enough)
            continue
        facts = ObjectFacts(kind, state, recognition, run, lease_fresh, old_enough)

        assert judge_object(facts, SweepPolicy()).finding is _expected(facts), facts
        judged += 1

    assert (len(EVERY_ROW), judged) == (5184, 1216)


@pytest.mark.parametrize("finding", list(Finding))
def test_finding_has_its_answer_by_default(finding: Finding) -> None:
    answers = {verdict.action for verdict in _verdicts(SweepPolicy()) if verdict.finding is finding}

    assert answers == {DEFAULT_ACTIONS.get(finding, SweepAction.NONE)}


def test_every_policy_field_is_a_finding_that_the_rules_can_reach() -> None:
    fields = set(SweepPolicy.model_fields)

    assert fields == {finding for finding in DEFAULT_ACTIONS if finding not in REPORTED}
    assert set(DEFAULT_ACTIONS) >= ALARMING


def test_reasons_are_whole_sentences_without_subject() -> None:
    for verdict in _verdicts(SweepPolicy()):
        assert "{" not in verdict.reason
        assert verdict.reason[0].islower() or verdict.reason.startswith("Prefect")
        assert not verdict.reason.endswith(".")


def _verdicts(policy: SweepPolicy) -> list[SweepVerdict]:
    return [
        judge_object(ObjectFacts(kind, state, recognition, run, fresh, old), policy)
        for kind, state, recognition, run, fresh, old in EVERY_ROW
        if not _is_impossible(kind, state, recognition, run)
    ]


@st.composite
def _facts(draw: st.DrawFn) -> ObjectFacts:
    kind = draw(st.sampled_from(ObjectKind))
    is_run = kind is ObjectKind.FLOW_RUN
    unnamed = {RunStanding.UNKNOWN, RunStanding.UNREADABLE}
    runs = [run for run in RunStanding if not (is_run and run in unnamed)]
    return ObjectFacts(
        kind=kind,
        state=draw(st.sampled_from(sorted(STATES_OF_KIND[kind]))),
        recognition=Recognition.OURS if is_run else draw(st.sampled_from(Recognition)),
        run=draw(st.sampled_from(runs)),
        lease_fresh=draw(st.booleans()),
        old_enough=draw(st.booleans()),
    )


_POLICIES = st.builds(
    SweepPolicy,
    orphaned=st.sampled_from(("report", "stop", "adopt")),
    run_missing=st.sampled_from(("report", "stop")),
    cancelled=st.sampled_from(("report", "stop")),
    unstarted=st.sampled_from(("report", "delete")),
    ttl_passed=st.sampled_from(("report", "delete")),
    unpaired=st.sampled_from(("report", "delete")),
    idle=st.sampled_from(("report", "delete")),
    cancel_stuck=st.sampled_from(("report", "mark_cancelled")),
    zombie=st.sampled_from(("report", "mark_crashed")),
)


UNCHANGING = {SweepAction.NONE, SweepAction.REPORT}


@given(_facts(), _POLICIES)
def test_nothing_is_done_to_what_a_fresh_lease_holds(
    facts: ObjectFacts, policy: SweepPolicy
) -> None:
    assert judge_object(replace(facts, lease_fresh=True), policy).action in UNCHANGING


@given(_facts(), _POLICIES)
def test_nothing_is_done_to_what_is_younger_than_the_minimum_age(
    facts: ObjectFacts, policy: SweepPolicy
) -> None:
    assert judge_object(replace(facts, old_enough=False), policy).action in UNCHANGING


@given(_facts(), _POLICIES)
def test_nothing_is_done_while_prefect_cannot_be_read(
    facts: ObjectFacts, policy: SweepPolicy
) -> None:
    if facts.kind is not ObjectKind.FLOW_RUN:
        facts = replace(facts, run=RunStanding.UNREADABLE)

        assert judge_object(facts, policy).action in UNCHANGING


@given(_facts().filter(lambda facts: facts.recognition is not Recognition.OURS), _POLICIES)
def test_nothing_is_done_to_what_is_not_ours(facts: ObjectFacts, policy: SweepPolicy) -> None:
    assert judge_object(facts, policy).action is SweepAction.NONE


@given(_facts(), _POLICIES)
def test_live_agent_is_ended_only_where_its_run_will_not_go_on(
    facts: ObjectFacts, policy: SweepPolicy
) -> None:
    verdict = judge_object(facts, policy)

    if facts.state is ObjectState.LIVE and verdict.action not in UNCHANGING:
        assert facts.run in {
            RunStanding.CANCELLING,
            RunStanding.CANCELLED,
            RunStanding.OVER,
            RunStanding.DELETED,
            RunStanding.UNKNOWN,
        }


@given(_facts(), _POLICIES)
def test_policy_that_only_reports_changes_nothing(facts: ObjectFacts, policy: SweepPolicy) -> None:
    reports = SweepPolicy.model_validate(dict.fromkeys(SweepPolicy.model_fields, "report"))

    action = judge_object(facts, reports).action

    assert action in UNCHANGING
    assert (action is SweepAction.NONE) == (judge_object(facts, policy).action is SweepAction.NONE)
