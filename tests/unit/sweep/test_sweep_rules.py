"""The verdicts of a sweep, over every combination of what it can know of an object."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any

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
POSSIBLE_CELLS = {cell: finding for cell, finding in TABLE.items() if finding is not None}
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


IMPOSSIBLE = [row for row in EVERY_ROW if _is_impossible(*row[:4])]
POSSIBLE = [row for row in EVERY_ROW if not _is_impossible(*row[:4])]


def _findings(rows: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], Finding | None]:
    return {row: judge_object(ObjectFacts(*row), SweepPolicy()).finding for row in rows}


def test_what_a_sweep_can_know_is_told_from_what_it_cannot() -> None:
    for row in IMPOSSIBLE:
        with pytest.raises(ValueError, match=r"is never|found in Prefect"):
            ObjectFacts(*row)

    assert (len(EVERY_ROW), len(POSSIBLE)) == (5184, 1216)


def test_object_of_ours_is_found_to_be_what_its_table_says() -> None:
    found = _findings(
        (kind, stage, Recognition.OURS, run, False, True) for kind, stage, run in POSSIBLE_CELLS
    )

    assert list(found.values()) == list(POSSIBLE_CELLS.values())


@pytest.mark.parametrize(
    ("recognition", "finding"),
    [
        (Recognition.FOREIGN, Finding.FOREIGN),
        (Recognition.OTHER_VERSION, Finding.OTHER_VERSION),
    ],
)
def test_object_that_is_not_ours_is_nothing_else(
    recognition: Recognition, finding: Finding
) -> None:
    found = _findings(row for row in POSSIBLE if row[2] is recognition)

    assert set(found.values()) == {finding}


def test_object_of_ours_under_a_fresh_lease_is_owned_whatever_else() -> None:
    found = _findings(row for row in POSSIBLE if row[2] is Recognition.OURS and row[4])

    assert set(found.values()) == {Finding.OWNED}


def test_object_that_is_too_young_is_judged_only_where_nothing_would_be_done() -> None:
    old = [row for row in POSSIBLE if row[2] is Recognition.OURS and not row[4] and row[5]]
    young = _findings((*row[:5], False) for row in old)
    pairs = set(zip(_findings(old).values(), young.values(), strict=True))

    others = {finding for finding in POSSIBLE_CELLS.values() if finding not in KEPT_WHEN_YOUNG}
    assert pairs == {(each, each) for each in KEPT_WHEN_YOUNG} | {
        (each, Finding.YOUNG) for each in others
    }


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


@given(_facts().filter(lambda facts: facts.kind is not ObjectKind.FLOW_RUN), _POLICIES)
def test_nothing_is_done_while_prefect_cannot_be_read(
    facts: ObjectFacts, policy: SweepPolicy
) -> None:
    unreadable = replace(facts, run=RunStanding.UNREADABLE)

    assert judge_object(unreadable, policy).action in UNCHANGING


@given(_facts().filter(lambda facts: facts.recognition is not Recognition.OURS), _POLICIES)
def test_nothing_is_done_to_what_is_not_ours(facts: ObjectFacts, policy: SweepPolicy) -> None:
    assert judge_object(facts, policy).action is SweepAction.NONE


WILL_GO_ON = (
    RunStanding.WAITING,
    RunStanding.RUNNING,
    RunStanding.SILENT,
    RunStanding.UNREADABLE,
)


@given(_facts(), st.sampled_from(WILL_GO_ON), _POLICIES)
def test_live_agent_is_ended_only_where_its_run_will_not_go_on(
    facts: ObjectFacts, run: RunStanding, policy: SweepPolicy
) -> None:
    live = replace(facts, kind=ObjectKind.JOB, state=ObjectState.LIVE, run=run)

    assert judge_object(live, policy).action in UNCHANGING


@given(_facts(), _POLICIES)
def test_policy_that_only_reports_changes_nothing(facts: ObjectFacts, policy: SweepPolicy) -> None:
    reports = SweepPolicy.model_validate(dict.fromkeys(SweepPolicy.model_fields, "report"))

    action = judge_object(facts, reports).action

    assert action in UNCHANGING
    assert (action is SweepAction.NONE) == (judge_object(facts, policy).action is SweepAction.NONE)
