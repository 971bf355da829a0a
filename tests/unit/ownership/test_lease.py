from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.observation.snapshots import LeaseSnapshot
from tasks.ownership.lease import (
    LeaseSighting,
    LeaseState,
    LeaseVerdict,
    Tenure,
    build_commit,
    build_lease,
    build_release,
    build_renewal,
    holder_flow_run,
    is_held,
    judge_lease,
    judge_tenure,
    lease_holder,
    may_write,
)
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
ME = lease_holder(FlowRunId("run-1"), "aaaa")
SAME_RUN = lease_holder(FlowRunId("run-1"), "bbbb")
OTHER = lease_holder(FlowRunId("run-2"), "aaaa")


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def lease(
    holder: str = OTHER, renewed: float | None = 0, epoch: int = 4, duration: int | None = 60
) -> LeaseSnapshot:
    return LeaseSnapshot(
        "lease-1",
        uid="lease-uid",
        resource_version="9",
        holder=holder,
        epoch=epoch,
        duration_seconds=duration,
        acquired_at=after(-500),
        renewed_at=None if renewed is None else after(renewed),
        labels={"kept": "label"},
        annotations={"kept": "note", "claude-jobs.dev/committed-job-uid": "old"},
    )


RUN_2 = FlowRunId("run-2")


@pytest.mark.parametrize(
    ("found", "now", "expected"),
    [
        pytest.param(None, 0, LeaseVerdict(LeaseState.FREE), id="no Lease"),
        pytest.param(lease(""), 0, LeaseVerdict(LeaseState.RELEASED), id="released"),
        pytest.param(lease(ME), 0, LeaseVerdict(LeaseState.MINE, FlowRunId("run-1")), id="mine"),
        pytest.param(
            lease(ME), 900, LeaseVerdict(LeaseState.MINE, FlowRunId("run-1")), id="mine, not taken"
        ),
        pytest.param(lease(), 5, LeaseVerdict(LeaseState.FRESH, RUN_2, 55.0), id="renewed 5 s ago"),
        pytest.param(
            lease(), 59.5, LeaseVerdict(LeaseState.FRESH, RUN_2, 0.5), id="about to expire"
        ),
        pytest.param(lease(), 60, LeaseVerdict(LeaseState.EXPIRED, RUN_2), id="expired"),
        pytest.param(lease(), 6000, LeaseVerdict(LeaseState.EXPIRED, RUN_2), id="long expired"),
        pytest.param(
            lease(renewed=None), 0, LeaseVerdict(LeaseState.EXPIRED, RUN_2), id="never renewed"
        ),
        pytest.param(
            lease(duration=10),
            4,
            LeaseVerdict(LeaseState.FRESH, RUN_2, 6.0),
            id="its own duration counts",
        ),
        pytest.param(
            lease(duration=None),
            4,
            LeaseVerdict(LeaseState.FRESH, RUN_2, 56.0),
            id="duration not written",
        ),
        pytest.param(
            lease(renewed=3600),
            0,
            LeaseVerdict(LeaseState.FRESH, RUN_2, 60.0),
            id="renewed in the future",
        ),
        pytest.param(
            lease(SAME_RUN),
            5,
            LeaseVerdict(LeaseState.FRESH, FlowRunId("run-1"), 55.0),
            id="same flow run, another process",
        ),
        pytest.param(
            lease("somebody"),
            60,
            LeaseVerdict(LeaseState.EXPIRED, FlowRunId("somebody")),
            id="holder of another form",
        ),
    ],
)
def test_lease_is_judged_by_its_holder_and_the_servers_time(
    found: LeaseSnapshot | None, now: float, expected: LeaseVerdict
) -> None:
    assert judge_lease(found, after(now), ME) == expected


@pytest.mark.parametrize(
    ("found", "now", "expected"),
    [
        pytest.param(
            lease(), 30, LeaseVerdict(LeaseState.FRESH, RUN_2, 30.0), id="unchanged, not expired"
        ),
        pytest.param(lease(), 60, LeaseVerdict(LeaseState.EXPIRED, RUN_2), id="unchanged, expired"),
        pytest.param(lease(renewed=15), 16, LeaseVerdict(LeaseState.RENEWED, RUN_2), id="renewed"),
        pytest.param(
            lease(renewed=15, epoch=5), 16, LeaseVerdict(LeaseState.RENEWED, RUN_2), id="retaken"
        ),
        pytest.param(
            lease(SAME_RUN, renewed=0),
            16,
            LeaseVerdict(LeaseState.RENEWED, FlowRunId("run-1")),
            id="taken by yet another process",
        ),
        pytest.param(lease(""), 16, LeaseVerdict(LeaseState.RELEASED), id="released meanwhile"),
        pytest.param(
            lease(renewed=15), 75, LeaseVerdict(LeaseState.EXPIRED, RUN_2), id="renewed, then died"
        ),
    ],
)
def test_lease_that_is_waited_for_shows_whether_its_owner_lives(
    found: LeaseSnapshot, now: float, expected: LeaseVerdict
) -> None:
    first = LeaseSighting(lease(), after(2))

    assert judge_lease(found, after(now), ME, first) == expected


def test_lease_renewed_in_the_future_expires_one_duration_after_the_first_look() -> None:
    found = lease(renewed=3600)
    first = LeaseSighting(found, NOON)

    assert judge_lease(found, after(59), ME, first).state is LeaseState.FRESH
    assert judge_lease(found, after(60), ME, first).state is LeaseState.EXPIRED


@given(
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
    st.one_of(st.none(), st.integers(1, 600)),
)
def test_wait_for_an_unchanged_lease_never_exceeds_its_duration(
    renewed: float | None, duration: int | None
) -> None:
    found = lease(renewed=renewed, duration=duration)
    verdict = judge_lease(found, NOON, ME)

    assert verdict.expires_in_seconds <= (duration or 60)
    ended = judge_lease(found, after(duration or 60), ME, LeaseSighting(found, NOON))
    assert ended.state is LeaseState.EXPIRED


@pytest.mark.parametrize("state", LeaseState)
def test_lease_may_be_taken_from_nobody_who_may_live(state: LeaseState) -> None:
    takeable = {LeaseState.FREE, LeaseState.RELEASED, LeaseState.EXPIRED}

    assert LeaseVerdict(state).may_be_taken is (state in takeable)


@pytest.mark.parametrize(
    ("elapsed", "expected"), [(0, True), (39.9, True), (40, False), (60, False)]
)
def test_writes_stop_after_two_thirds_of_the_duration(elapsed: float, expected: bool) -> None:
    assert may_write(1000.0, 1000.0 + elapsed) is expected


def body(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "lease-1",
            "uid": "lease-uid",
            "resourceVersion": "9",
            "labels": {"kept": "label"},
            "annotations": {"kept": "note", "claude-jobs.dev/committed-job-uid": "old"},
        },
        "spec": {
            "holderIdentity": ME,
            "leaseDurationSeconds": 60,
            "acquireTime": "2024-05-01T11:51:40.000000Z",
            "renewTime": "2024-05-01T12:00:00.250000Z",
            "leaseTransitions": 4,
            **spec,
        },
    }


NOW = NOON + timedelta(milliseconds=250)


def test_new_lease_starts_the_first_epoch() -> None:
    built = build_lease(AgentId("agent/1"), ME, NOW, None)

    assert built == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "claude-jobs-agent-1-2e073d7f794efede",
            "labels": {
                "app.kubernetes.io/managed-by": "claude-jobs",
                "claude-jobs.dev/agent-id": "agent1-d6b4fd5780",
                "claude-jobs.dev/version": "1",
            },
            "annotations": {"claude-jobs.dev/agent-id": "agent/1"},
        },
        "spec": {
            "holderIdentity": "run-1/aaaa",
            "leaseDurationSeconds": 60,
            "acquireTime": "2024-05-01T12:00:00.250000Z",
            "renewTime": "2024-05-01T12:00:00.250000Z",
            "leaseTransitions": 1,
        },
    }


def test_taken_lease_raises_the_epoch_and_keeps_what_is_noted() -> None:
    built = build_lease(AgentId("agent-1"), ME, NOW, lease(OTHER))

    expected = body(acquireTime="2024-05-01T12:00:00.250000Z", leaseTransitions=5)
    expected["metadata"]["labels"] |= {
        "app.kubernetes.io/managed-by": "claude-jobs",
        "claude-jobs.dev/agent-id": "agent-1",
        "claude-jobs.dev/version": "1",
    }
    expected["metadata"]["annotations"] |= {"claude-jobs.dev/agent-id": "agent-1"}
    assert built == expected


def test_renewal_changes_the_renewal_time_only() -> None:
    assert build_renewal(lease(ME), ME, NOW) == body()


def test_commit_names_the_job_and_the_attempt() -> None:
    built = build_commit(
        lease(ME),
        ME,
        NOW,
        job_name=JobName("job-1"),
        job_uid=JobUid("new"),
        flow_run_id=FlowRunId("run-1"),
        attempt=3,
    )

    expected = body()
    expected["metadata"]["annotations"] = {
        "kept": "note",
        "claude-jobs.dev/committed-job-name": "job-1",
        "claude-jobs.dev/committed-job-uid": "new",
        "claude-jobs.dev/attempt-flow-run-id": "run-1",
        "claude-jobs.dev/attempt": "3",
    }
    assert built == expected


def test_release_empties_the_holder_and_keeps_the_epoch() -> None:
    assert build_release(lease(ME), ME, NOW) == body(holderIdentity="")


def test_bodies_read_back_as_what_they_say() -> None:
    taken = LeaseSnapshot.from_api(build_lease(AgentId("agent-1"), ME, NOW, lease(OTHER)))
    committed = build_commit(
        taken,
        ME,
        NOW,
        job_name=JobName("job-1"),
        job_uid=JobUid("u"),
        flow_run_id=FlowRunId("run-1"),
        attempt=3,
    )
    released = LeaseSnapshot.from_api(
        build_release(LeaseSnapshot.from_api(committed), ME, after(9))
    )

    assert judge_lease(taken, NOW, ME).state is LeaseState.MINE
    assert judge_lease(released, NOW, ME).state is LeaseState.RELEASED
    assert (released.epoch, released.renewed_at, released.acquired_at) == (5, after(9), NOW)
    assert (released.committed_job_uid, released.committed_job_name) == ("u", "job-1")
    assert (released.attempt_flow_run_id, released.attempt) == ("run-1", 3)
    assert (released.agent_id, released.resource_version) == ("agent-1", "9")


@pytest.mark.parametrize("holder", ["", OTHER, SAME_RUN])
def test_lease_of_somebody_else_is_not_written(holder: str) -> None:
    theirs = lease(holder)

    for build in (build_renewal, build_release):
        with pytest.raises(ValueError, match="the Lease lease-1 is held by"):
            build(theirs, ME, NOW)
    with pytest.raises(ValueError, match="the Lease lease-1 is held by"):
        build_commit(
            theirs,
            ME,
            NOW,
            job_name=JobName("job-1"),
            job_uid=JobUid("new"),
            flow_run_id=FlowRunId("run-1"),
            attempt=1,
        )


def test_lease_without_an_acquire_time_gets_one() -> None:
    found = LeaseSnapshot("lease-1", holder=ME, epoch=1)

    assert build_renewal(found, ME, NOW)["spec"]["acquireTime"] == "2024-05-01T12:00:00.250000Z"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(lease(ME), Tenure.OURS, id="ours"),
        pytest.param(lease(ME, renewed=-900), Tenure.OURS, id="ours, not renewed for long"),
        pytest.param(lease(SAME_RUN), Tenure.TWIN, id="another process of this flow run's"),
        pytest.param(lease(OTHER), Tenure.LOST, id="another flow run's"),
        pytest.param(lease("run-1x/bbbb"), Tenure.LOST, id="a flow run's with a longer id"),
        pytest.param(lease("somebody"), Tenure.LOST, id="nobody's we know"),
        pytest.param(lease(""), Tenure.LOST, id="let go by a successor"),
        pytest.param(None, Tenure.LOST, id="gone"),
    ],
)
def test_tenure_is_read_from_who_holds_the_lease(
    found: LeaseSnapshot | None, expected: Tenure
) -> None:
    assert judge_tenure(found, ME) is expected


@pytest.mark.parametrize(
    ("found", "now", "expected"),
    [
        pytest.param(None, 0, False, id="no Lease"),
        pytest.param(lease(""), 0, False, id="released"),
        pytest.param(lease(OTHER), 0, True, id="just renewed"),
        pytest.param(lease(OTHER), 59.9, True, id="about to run out"),
        pytest.param(lease(OTHER), 60, False, id="run out"),
        pytest.param(lease(OTHER, duration=None), 59.9, True, id="without a duration"),
        pytest.param(lease(OTHER, renewed=None), 0, False, id="never renewed"),
    ],
)
def test_lease_is_held_until_it_runs_out(
    found: LeaseSnapshot | None, now: float, expected: bool
) -> None:
    assert is_held(found, after(now)) is expected


@pytest.mark.parametrize(
    ("holder", "expected"),
    [(OTHER, "run-2"), ("run-2", "run-2"), ("a/b/nonce", "a/b"), ("", None)],
)
def test_holder_names_its_flow_run(holder: str, expected: str | None) -> None:
    assert holder_flow_run(lease(holder)) == expected
