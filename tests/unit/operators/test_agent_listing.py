"""What operators are told of agents, from one look at the cluster."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
    ContainerWaiting,
)
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.operators.agent_listing import (
    ClusterLook,
    OwnerState,
    Target,
    agents_of,
    describe_job,
    find_target,
)
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, PodUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
AGENT, OTHER = AgentId("agent-1"), AgentId("agent-2")
JOB = JobSnapshot(
    JobName("job-1"),
    JobUid("uid-1"),
    agent_id=AGENT,
    flow_run_id=FlowRunId("run-1"),
    owner_flow_run_id=FlowRunId("run-2"),
    created_at=NOON - timedelta(seconds=90),
)
ENDED = replace(JOB, conditions=(Condition("Failed", "True"),))
LEASE = LeaseSnapshot(
    "lease-1", holder="run-2/n", duration_seconds=60, renewed_at=NOON, agent_id=AGENT
)
RESULT = AgentRunResult(
    agent_id=AGENT,
    flow_run_id="run-2",
    error_code=ErrorCode.CLAUDE_MAX_TURNS,
    message="Out of turns.",
    cost_usd=0.5,
    timings=Timings(started_at=NOON, ended_at=NOON),
    kubernetes=KubernetesNames(namespace="agents"),
)
WAITING = ContainerSnapshot("agent", waiting=ContainerWaiting("ContainerCreating"))
RUNNING = ContainerSnapshot("agent", running=ContainerRunning(NOON))
TERMINATED = ContainerSnapshot("agent", terminated=ContainerTerminated(0))


def pod(container: ContainerSnapshot | None, phase: str = "Running") -> PodSnapshot:
    return PodSnapshot(
        "pod-1",
        PodUid("pod-1"),
        phase=phase,
        job_uid=JOB.uid,
        agent_id=AGENT,
        containers=(container,) if container else (),
    )


MESH = ContainerSnapshot("mesh", running=ContainerRunning(NOON))
HELD_OPEN = replace(pod(TERMINATED), containers=(MESH, TERMINATED))


def look(*jobs: JobSnapshot, **fields: Any) -> ClusterLook:
    built = ClusterLook("agents", jobs, (), (LEASE,), NOON)
    return replace(built, **fields)


@pytest.mark.parametrize(
    ("job", "pods", "leases", "result", "expected"),
    [
        pytest.param(JOB, (), (LEASE,), None, "waiting for its pod", id="no pod"),
        pytest.param(JOB, (pod(None, "Pending"),), (LEASE,), None, "starting", id="pending"),
        pytest.param(JOB, (pod(WAITING),), (LEASE,), None, "starting", id="waiting"),
        pytest.param(JOB, (pod(RUNNING),), (LEASE,), None, "working", id="running"),
        pytest.param(JOB, (pod(TERMINATED),), (LEASE,), None, "ending", id="terminated"),
        pytest.param(JOB, (pod(None, "Failed"),), (LEASE,), None, "ending", id="pod failed"),
        pytest.param(
            JOB,
            (replace(pod(RUNNING), containers=(MESH, RUNNING)),),
            (LEASE,),
            None,
            "working",
            id="running beside another container",
        ),
        pytest.param(
            JOB,
            (HELD_OPEN,),
            (LEASE,),
            None,
            "agent ended, result not stored, container mesh still runs",
            id="held open, unread",
        ),
        pytest.param(
            replace(JOB, harvested_at=NOON),
            (HELD_OPEN,),
            (),
            RESULT,
            "agent ended: Max turns reached, container mesh still runs",
            id="held open, result here",
        ),
        pytest.param(JOB, (pod(RUNNING),), (), None, "working, no owner", id="no Lease"),
        pytest.param(
            JOB,
            (pod(RUNNING),),
            (replace(LEASE, holder=""),),
            None,
            "working, no owner",
            id="released",
        ),
        pytest.param(
            JOB,
            (pod(RUNNING),),
            (replace(LEASE, renewed_at=NOON - timedelta(seconds=61)),),
            None,
            "working, no owner",
            id="expired",
        ),
        pytest.param(
            replace(JOB, deletion_at=NOON), (), (LEASE,), None, "being deleted", id="deleting"
        ),
        pytest.param(ENDED, (), (), None, "finished, result not stored", id="ended, unread"),
        pytest.param(
            replace(ENDED, harvested_at=NOON), (), (), None, "finished", id="ended, result not here"
        ),
        pytest.param(ENDED, (), (), RESULT, "finished: Max turns reached", id="ended, result here"),
    ],
)
def test_state_of_a_job_says_no_more_than_is_known(
    job: JobSnapshot,
    pods: tuple[PodSnapshot, ...],
    leases: tuple[LeaseSnapshot, ...],
    result: AgentRunResult | None,
    expected: str,
) -> None:
    assert describe_job(look(job, pods=pods, leases=leases), job, result) == expected


OLDER = replace(ENDED, name=JobName("job-0"), uid=JobUid("uid-0"))


@pytest.mark.parametrize(
    ("name", "jobs", "expected"),
    [
        pytest.param("agent-1", (ENDED, replace(OLDER, conditions=())), "job-0", id="live first"),
        pytest.param("agent-1", (ENDED, OLDER), "job-1", id="else the newest"),
        pytest.param("run-1", (JOB,), "job-1", id="who created it"),
        pytest.param("run-2", (JOB,), "job-1", id="who owns it"),
        pytest.param("job-0", (JOB, OLDER), "job-0", id="its own name"),
        pytest.param("job-9", (JOB, OLDER), None, id="nothing"),
    ],
)
def test_name_means_a_job(name: str, jobs: tuple[JobSnapshot, ...], expected: str | None) -> None:
    found = find_target(look(*jobs), name)

    assert (found.job.name if found and found.job else None) == expected


def test_name_of_an_agent_without_a_job_is_known_by_its_lease() -> None:
    assert find_target(look(), "agent-1") == Target(AGENT, None, None)
    assert agents_of(look(replace(JOB, agent_id=OTHER))) == [AGENT, OTHER]


def test_owner_is_alive_while_its_lease_is_fresh() -> None:
    assert look().owner_state(AGENT) is OwnerState.ALIVE
    assert look().owner_state(OTHER) is OwnerState.GONE
    assert look().pause_of(OTHER) is None
