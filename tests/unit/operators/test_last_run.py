"""Which of an agent's runs its operators are shown, and in which words its row says how it is."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot
from tasks.operators.agent_listing import Target
from tasks.operators.agent_rows import (
    AgentRow,
    RunRecord,
    find_changes,
    job_row,
    run_row,
    sort_rows,
)
from tasks.operators.last_run import PrefectRun, choose_last_run
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid
from tests.unit.operators.test_agent_listing import (
    AGENT,
    ENDED,
    HELD_OPEN,
    JOB,
    LEASE,
    NOON,
    OTHER,
    RESULT,
    RUNNING,
    TERMINATED,
    look,
    pod,
)

R1, R2, R3 = FlowRunId("run-1"), FlowRunId("run-2"), FlowRunId("run-3")
FREE = replace(LEASE, holder="")
PAUSED = replace(FREE, annotations={"claude-jobs.dev/paused-at": "soon"})
DONE = replace(ENDED, harvested_at=NOON)


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def run(name: FlowRunId, started: int | None, ended: int | None = None) -> PrefectRun:
    state = "Cancelled" if ended is not None else "Running"
    start = at(started) if started is not None else None
    end = at(ended) if ended is not None else None
    return PrefectRun(name, state, end is not None, start, end)


@pytest.mark.parametrize(
    ("jobs", "lease", "runs", "expected"),
    [
        pytest.param((JOB,), FREE, (run(R3, 5, 6),), (R2, JOB), id="live Job first"),
        pytest.param((DONE,), FREE, (), (R2, DONE), id="only a Job"),
        pytest.param((), FREE, (run(R3, 5, 6),), (R3, None), id="only a run"),
        pytest.param((), FREE, (), (None, None), id="nothing"),
        pytest.param((DONE,), FREE, (run(R3, 5, 6),), (R3, None), id="newer run without a Job"),
        pytest.param((DONE,), FREE, (run(R3, -9, -8),), (R2, DONE), id="older run"),
        pytest.param(
            (DONE,), FREE, (run(R2, -3, 7), run(R3, 5, 6)), (R2, DONE), id="refused while it worked"
        ),
        pytest.param((DONE,), FREE, (run(R3, 9),), (R3, None), id="never seen to end"),
        pytest.param((DONE,), FREE, (run(R3, None),), (R2, DONE), id="never begun"),
        pytest.param(
            (replace(DONE, owner_flow_run_id=R3), replace(DONE, name=JobName("job-0"))),
            FREE,
            (run(R2, 1, 2), run(R3, 3, 4)),
            (R3, replace(DONE, owner_flow_run_id=R3)),
            id="several Jobs",
        ),
        pytest.param(
            (DONE,), replace(LEASE, holder="run-3/n"), (run(R1, 5, 6),), (R3, None), id="holder"
        ),
        pytest.param(
            (DONE,), LEASE, (run(R3, 5, 6),), (R2, DONE), id="holder that concludes its Job"
        ),
        pytest.param(
            (DONE,),
            replace(LEASE, holder="run-3/n", renewed_at=at(-9)),
            (),
            (R2, DONE),
            id="holder that is gone",
        ),
    ],
)
def test_last_run_of_an_agent(
    jobs: tuple[JobSnapshot, ...],
    lease: LeaseSnapshot,
    runs: tuple[PrefectRun, ...],
    expected: tuple[FlowRunId | None, JobSnapshot | None],
) -> None:
    other = replace(JOB, name=JobName("job-9"), uid=JobUid("uid-9"), agent_id=OTHER)

    found = choose_last_run(look(other, *jobs, leases=(lease,)), AGENT, runs)

    assert found == Target(AGENT, *expected)


@pytest.mark.parametrize(
    ("job", "pods", "lease", "record", "known", "expected"),
    [
        pytest.param(JOB, (), LEASE, RunRecord(), None, "Waiting", id="no pod"),
        pytest.param(
            replace(JOB, suspended=True), (), LEASE, RunRecord(), None, "Queued", id="queue"
        ),
        pytest.param(JOB, (pod(None, "Pending"),), LEASE, RunRecord(), None, "Starting", id="pod"),
        pytest.param(JOB, (pod(RUNNING),), LEASE, RunRecord(), None, "Working", id="works"),
        pytest.param(JOB, (pod(TERMINATED),), LEASE, RunRecord(), None, "Ending", id="agent ended"),
        pytest.param(JOB, (pod(RUNNING),), FREE, RunRecord(), None, "No owner", id="no owner"),
        pytest.param(
            replace(JOB, deletion_at=NOON), (), LEASE, RunRecord(), None, "Deleting", id="deleted"
        ),
        pytest.param(ENDED, (), LEASE, RunRecord(), None, "Ending", id="being concluded"),
        pytest.param(ENDED, (), FREE, RunRecord(), None, "No verdict", id="nobody concludes it"),
        pytest.param(ENDED, (), FREE, RunRecord(), run(R2, 1), "No verdict", id="run goes on"),
        pytest.param(ENDED, (), FREE, RunRecord(), run(R2, 1, 2), "Cancelled", id="Prefect"),
        pytest.param(DONE, (), FREE, RunRecord(), None, "Finished", id="result elsewhere"),
        pytest.param(
            DONE, (), FREE, RunRecord(RESULT), run(R2, 1, 2), "Max turns reached", id="result"
        ),
        pytest.param(
            JOB, (HELD_OPEN,), FREE, RunRecord(RESULT), None, "Max turns reached", id="open"
        ),
    ],
)
def test_state_of_a_row_has_one_to_three_words(
    job: JobSnapshot,
    pods: tuple[object, ...],
    lease: LeaseSnapshot,
    record: RunRecord,
    known: PrefectRun | None,
    expected: str,
) -> None:
    row = job_row(look(job, pods=pods, leases=(lease,)), job, record, known)

    assert row.state_name == expected


def test_row_of_a_run_without_a_job_is_told_by_prefect() -> None:
    refused = run(R3, -2, -1)
    target = Target(AGENT, R3, None)

    assert run_row(look(leases=(FREE,)), target, RunRecord(), refused) == AgentRow(
        AGENT, "Cancelled", "Cancelled", R3, age_seconds=120
    )
    held = replace(LEASE, holder="run-3/n")
    assert run_row(look(leases=(held,)), target, RunRecord(), run(R3, -2)) == AgentRow(
        AGENT, "Starting", "Starting", R3, live=True, age_seconds=120
    )
    told = run_row(look(leases=(FREE,)), target, RunRecord(RESULT), refused)
    assert (told.state_name, told.cost_usd, told.last_line) == (
        "Max turns reached",
        0.5,
        "Out of turns.",
    )


def test_agent_of_whose_runs_nothing_is_known_is_listed() -> None:
    nothing = Target(AGENT, None, None)

    assert run_row(look(leases=(FREE,)), nothing, RunRecord(), None) == AgentRow(AGENT, "unknown")
    assert run_row(look(leases=(PAUSED,)), nothing, RunRecord(), None) == AgentRow(
        AGENT, "paused", paused="paused"
    )


def test_rows_begin_with_what_is_live_and_end_with_what_is_unknown() -> None:
    rows = [
        AgentRow(AgentId("d"), "unknown"),
        AgentRow(AgentId("c"), "finished", age_seconds=20),
        AgentRow(AgentId("b"), "finished", age_seconds=10),
        AgentRow(AgentId("a"), "working", live=True, age_seconds=99),
    ]

    assert "".join(row.agent_id for row in sort_rows(rows)) == "abcd"


def test_row_has_changed_if_more_than_its_age_has() -> None:
    before = [AgentRow(AGENT, "working", "Working", R1, age_seconds=1), AgentRow(OTHER, "unknown")]
    older = replace(before[0], age_seconds=3)
    ended = replace(older, state_name="Succeeded")

    assert find_changes(before, [older, before[1]]) == []
    assert find_changes(before, [ended, before[1]]) == [ended]
    assert find_changes(before[:1], [older, before[1]]) == [before[1]]
