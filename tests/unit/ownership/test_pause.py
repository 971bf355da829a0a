"""The pause switch: what is written on a Lease, and what the guard makes of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot
from tasks.ownership.guard_decision import GuardObservation, decide_ownership
from tasks.ownership.guard_verdicts import Blocked, GuardVerdict, Harvest, Reattach, StartNew
from tasks.ownership.lease import (
    LeaseHolder,
    LeaseState,
    LeaseVerdict,
    build_commit,
    build_lease,
    build_release,
    build_renewal,
    lease_holder,
)
from tasks.ownership.orphans import RunIdentity
from tasks.ownership.pause import AgentPause, build_paused, build_resumed, find_pause
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, TaskId

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
AGENT = AgentId("agent-1")
ME = lease_holder(FlowRunId("run-1"), "aaaa")
AT, WHY = "claude-jobs.dev/paused-at", "claude-jobs.dev/paused-reason"
PAUSED = {AT: "2024-05-01T12:00:00Z", WHY: "The budget of May is spent."}


def held_lease() -> dict[str, Any]:
    body = build_lease(AGENT, ME, NOON, None)
    return {**body, "metadata": {**body["metadata"], "uid": "u", "resourceVersion": "7"}}


def test_pause_changes_nothing_on_a_lease_but_its_notes() -> None:
    raw = held_lease()

    paused = build_paused(raw, AGENT, "Spent.", NOON)

    notes = {**raw["metadata"]["annotations"], AT: "2024-05-01T12:00:00Z", WHY: "Spent."}
    assert paused == {**raw, "metadata": {**raw["metadata"], "annotations": notes}}
    assert build_resumed(paused) == raw


def test_pause_without_a_reason_forgets_the_one_before() -> None:
    paused = build_paused(build_paused(held_lease(), AGENT, "Spent.", NOON), AGENT, None, NOON)

    assert find_pause(paused["metadata"]["annotations"]) == AgentPause(NOON, None)


def test_pause_of_an_agent_that_never_ran_makes_a_lease_that_anybody_may_take() -> None:
    paused = build_paused(None, AGENT, "Not yet.", NOON)

    assert paused["spec"]["holderIdentity"] == ""
    assert find_pause(paused["metadata"]["annotations"]) == AgentPause(NOON, "Not yet.")
    assert paused["metadata"]["annotations"]["claude-jobs.dev/agent-id"] == AGENT


def taken(lease: LeaseSnapshot) -> dict[str, Any]:
    return build_lease(AGENT, ME, NOON, lease)


def renewed(lease: LeaseSnapshot) -> dict[str, Any]:
    return build_renewal(lease, ME, NOON)


def released(lease: LeaseSnapshot) -> dict[str, Any]:
    return build_release(lease, ME, NOON)


def committed(lease: LeaseSnapshot) -> dict[str, Any]:
    return build_commit(
        lease,
        ME,
        NOON,
        job_name=JobName("job"),
        job_uid=JobUid("uid"),
        flow_run_id=FlowRunId("run-1"),
        attempt=1,
    )


@pytest.mark.parametrize("write", [taken, renewed, released, committed])
def test_pause_outlives_every_write_of_a_run(
    write: Callable[[LeaseSnapshot], dict[str, Any]],
) -> None:
    lease = LeaseSnapshot.from_api(build_paused(held_lease(), AGENT, "Spent.", NOON))

    written = write(lease)

    assert find_pause(written["metadata"]["annotations"]) == AgentPause(NOON, "Spent.")


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({WHY: "left over"}, None, id="a reason alone is no pause"),
        pytest.param({AT: "yesterday"}, "paused", id="an instant that is none still pauses"),
        pytest.param(
            PAUSED, "paused since 2024-05-01 12:00 UTC: The budget of May is spent.", id="whole"
        ),
        pytest.param(
            {AT: "2024-05-01T12:00:00Z", WHY: "a\x1b[2Jb\nc"},
            "paused since 2024-05-01 12:00 UTC: a\\x1b[2Jb c",
            id="a reason that steers terminals",
        ),
    ],
)
def test_pause_is_told_by_the_instant_on_the_lease(
    notes: dict[str, str], expected: str | None
) -> None:
    pause = find_pause(notes)

    assert (pause.describe() if pause else None) == expected


def test_reason_that_nobody_would_read_is_refused() -> None:
    with pytest.raises(InputInvalid, match="501 characters, more than 500"):
        build_paused(None, AGENT, "x" * 501, NOON)


OTHERS_JOB = JobSnapshot(
    JobName("job-1"),
    JobUid("job-1"),
    version="1",
    agent_id=AGENT,
    task_id=TaskId("task"),
    flow_run_id=FlowRunId("run-2"),
    owner_flow_run_id=FlowRunId("run-2"),
    attempt=1,
    created_at=NOON,
)


def decide(*jobs: JobSnapshot, notes: dict[str, str]) -> GuardVerdict:
    lease = LeaseSnapshot(
        "lease", holder=LeaseHolder(ME), committed_job_uid=JobUid("job-1"), annotations=notes
    )
    observed = GuardObservation(LeaseVerdict(LeaseState.MINE), NOON, NOON, lease=lease, jobs=jobs)
    me = RunIdentity(AGENT, FlowRunId("run-1"), TaskId("task"), None)
    return decide_ownership(observed, me, reattach_enabled=True)


def test_paused_agent_is_not_started() -> None:
    assert decide(notes=PAUSED) == Blocked(
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        "Agent agent-1 is paused since 2024-05-01 12:00 UTC: The budget of May is spent. "
        "No agent was started.",
        "Allow new runs with `claude-jobs resume agent-1`, then start this run again.",
    )
    assert isinstance(decide(notes={}), StartNew)


def test_live_job_of_a_paused_agent_is_still_taken_over() -> None:
    assert isinstance(decide(OTHERS_JOB, notes=PAUSED), Reattach)


def test_result_of_a_paused_agent_is_still_kept() -> None:
    ended = replace(OTHERS_JOB, conditions=(Condition("Complete", "True"),))

    assert isinstance(decide(ended, notes=PAUSED), Harvest)
