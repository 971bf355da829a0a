"""What a sweep tells people and automations."""

from dataclasses import replace

import pytest

from tasks.sweep.sweep_config import SweepPolicy
from tasks.sweep.sweep_facts import ObjectFacts, ObjectKind, ObjectState, Recognition, RunStanding
from tasks.sweep.sweep_objects import SweptObject
from tasks.sweep.sweep_report import (
    ACTED_EVENT,
    FOUND_EVENT,
    Outcome,
    SweptRow,
    build_sweep_event,
    build_sweep_report,
    build_sweep_table,
)
from tasks.sweep.sweep_rules import judge_object
from tasks.vocabulary.names import AgentId, FlowRunId


def _row(
    outcome: Outcome,
    run: RunStanding = RunStanding.OVER,
    *,
    kind: ObjectKind = ObjectKind.JOB,
    state: ObjectState = ObjectState.LIVE,
    name: str = "job",
    note: str = "",
    agent_id: str | None = "a-1",
) -> SweptRow:
    facts = ObjectFacts(kind, state, Recognition.OURS, run, lease_fresh=False, old_enough=True)
    swept = SweptObject(
        kind,
        "agents",
        name,
        AgentId(agent_id) if agent_id else None,
        FlowRunId("run-1"),
        facts,
        uid="" if kind is ObjectKind.FLOW_RUN else "uid",
    )
    return SweptRow(swept, judge_object(facts, SweepPolicy()), outcome, note)


ORPHAN = _row(Outcome.REPORTED)
WAITING = _row(Outcome.NONE, RunStanding.WAITING, name="waiting")
SETTLED = _row(
    Outcome.NONE,
    RunStanding.WAITING,
    kind=ObjectKind.FLOW_RUN,
    state=ObjectState.RECORDED,
    name="run-1",
)
LITTER = _row(Outcome.DONE, kind=ObjectKind.SECRET, state=ObjectState.UNPAIRED, name="secret")


@pytest.mark.parametrize(
    ("row", "needs_person"),
    [
        (ORPHAN, True),
        (WAITING, False),
        (LITTER, False),
        (_row(Outcome.DRY_RUN, RunStanding.CANCELLED), True),
        (_row(Outcome.OVER_LIMIT, RunStanding.CANCELLED), True),
        (_row(Outcome.DONE, RunStanding.CANCELLED), False),
        (_row(Outcome.SKIPPED, RunStanding.CANCELLED), False),
        (_row(Outcome.FAILED, kind=ObjectKind.SECRET, state=ObjectState.UNPAIRED), True),
        (_row(Outcome.DRY_RUN, kind=ObjectKind.SECRET, state=ObjectState.UNPAIRED), False),
        (_row(Outcome.REPORTED, state=ObjectState.FINISHED), False),
        (_row(Outcome.REPORTED, RunStanding.UNREADABLE), True),
    ],
)
def test_person_is_asked_for_what_goes_on_until_somebody_acts(
    row: SweptRow, needs_person: bool
) -> None:
    assert row.needs_person is needs_person


def test_summary_counts_what_was_found_and_done() -> None:
    report = build_sweep_report(
        [ORPHAN, WAITING, SETTLED, LITTER],
        namespaces=["agents"],
        dry_run=False,
        problems=["Namespace b was not swept."],
        kubernetes_requests=7,
    )

    assert (report.objects, report.changed, report.kubernetes_requests) == (3, 1, 7)
    assert report.findings == {"orphaned": 1, "unpaired": 1}
    assert report.summary == (
        "3 objects in agents: 1 orphaned, 1 unpaired; 1 changed. 1 need a person. "
        "Namespace b was not swept."
    )


def test_summary_of_a_dry_run_without_findings_says_so() -> None:
    report = build_sweep_report(
        [WAITING], namespaces=["agents"], dry_run=True, problems=[], kubernetes_requests=4
    )

    assert report.summary == "1 objects in agents: no findings; dry run, nothing changed."


def test_table_begins_with_what_needs_a_person_and_leaves_settled_flow_runs_out() -> None:
    rows, left_out = build_sweep_table([WAITING, SETTLED, LITTER, ORPHAN])

    assert [row["name"] for row in rows] == ["job", "secret", "waiting"]
    assert left_out == 0
    assert rows[0] == {
        "namespace": "agents",
        "kind": "Job",
        "name": "job",
        "agent": "a-1",
        "flow run": "run-1",
        "finding": "orphaned",
        "reason": "its flow run has ended, and its agent may be working",
        "action": "report",
        "outcome": "reported",
    }
    assert rows[2]["action"] == "-"


def test_table_is_cut_at_its_end() -> None:
    rows, left_out = build_sweep_table([WAITING] * 520 + [ORPHAN])

    assert (len(rows), left_out, rows[0]["name"]) == (500, 21, "job")


def test_event_tells_of_what_was_found_or_done() -> None:
    found = build_sweep_event(ORPHAN)
    acted = build_sweep_event(_row(Outcome.DONE, note="It was easy.", agent_id=None))

    assert found is not None
    assert found.name == FOUND_EVENT
    assert found.resource["prefect.resource.id"] == "claude-jobs.agent.a-1"
    assert found.resource["claude-jobs.finding"] == "orphaned"
    assert acted is not None
    assert acted.name == ACTED_EVENT
    assert acted.resource["prefect.resource.id"] == "claude-jobs.agent.-"
    assert acted.payload["note"] == "It was easy."
    assert build_sweep_event(WAITING) is None


def test_containers_that_keep_a_job_open_are_named_in_table_and_event() -> None:
    row = _row(Outcome.DONE, state=ObjectState.TTL_PASSED)
    row = replace(row, swept=replace(row.swept, still_running=("mesh", "logs")))

    rows, _ = build_sweep_table([row])
    event = build_sweep_event(row)

    reason = (
        "its agent has ended, and it still exists after its TTL; containers mesh, logs still run"
    )
    assert rows[0]["reason"] == reason
    assert event is not None
    assert event.payload["reason"] == reason
