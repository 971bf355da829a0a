"""What a command may do about an agent."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
)
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.operators.agent_listing import ClusterLook
from tasks.operators.operator_decisions import (
    CancelRun,
    DeleteJobs,
    NothingToStop,
    StopDecision,
    check_attachable,
    decide_stop,
)
from tasks.operators.operator_errors import NotPossible
from tasks.ownership.lease import LeaseState, LeaseVerdict
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, PodUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
AGENT, RUN = AgentId("agent-1"), FlowRunId("run-1")
JOB = JobSnapshot(JobName("job-1"), JobUid("uid-1"), agent_id=AGENT, flow_run_id=RUN)
ENDED = replace(JOB, conditions=(Condition("Complete", "True"),))
RELEASED = LeaseVerdict(LeaseState.RELEASED)
RENEWED = LeaseVerdict(LeaseState.RENEWED, FlowRunId("run-2"))


def look(*jobs: JobSnapshot) -> ClusterLook:
    return ClusterLook("agents", jobs, (), (), NOON)


@pytest.mark.parametrize(
    ("jobs", "verdict", "held", "expected"),
    [
        pytest.param((JOB, ENDED), RELEASED, True, DeleteJobs((JOB,)), id="orphan"),
        pytest.param(
            (ENDED,),
            RELEASED,
            True,
            NothingToStop("Agent agent-1 is not working; there was nothing to stop."),
            id="ended",
        ),
        pytest.param((JOB,), RENEWED, False, CancelRun(FlowRunId("run-2")), id="owner lives"),
        pytest.param((), RENEWED, False, CancelRun(FlowRunId("run-2")), id="no Job yet"),
    ],
)
def test_agent_is_stopped_by_its_run_or_by_who_holds_the_lease(
    jobs: tuple[JobSnapshot, ...], verdict: LeaseVerdict, held: bool, expected: StopDecision
) -> None:
    assert decide_stop(AGENT, look(*jobs), verdict, held=held) == expected


def test_agent_that_has_ended_is_not_stopped_and_what_still_runs_is_named() -> None:
    ended = ContainerSnapshot("agent", terminated=ContainerTerminated(0))
    mesh = ContainerSnapshot("mesh", running=ContainerRunning(NOON))
    pod = PodSnapshot("pod-1", PodUid("p"), job_uid=JOB.uid, containers=(mesh, ended))

    decided = decide_stop(AGENT, replace(look(JOB), pods=(pod,)), RELEASED, held=True)

    assert decided == NothingToStop(
        "Agent agent-1 is not working; there was nothing to stop. In its Job job-1, container mesh "
        "still runs: a sweep deletes the Job once its TTL, counted from the agent's end, has "
        "passed; so does `kubectl delete job` before that."
    )


def test_agent_whose_owner_may_live_is_not_touched() -> None:
    with pytest.raises(NotPossible, match="It is unknown whether"):
        decide_stop(AGENT, look(JOB), LeaseVerdict(LeaseState.FRESH, RUN, 30), held=False)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "CRASHED", "FAILED"])
@pytest.mark.parametrize("job", [JOB, ENDED], ids=["live", "ended, not read"])
def test_job_without_an_owner_is_attached_as_its_own_flow_run(job: JobSnapshot, state: str) -> None:
    adopted = replace(job, owner_flow_run_id=FlowRunId("run-2"))

    assert check_attachable(job, RELEASED, state, "api") == "run-1"
    assert check_attachable(adopted, RELEASED, state, "api") == "run-2"


@pytest.mark.parametrize(
    ("job", "verdict", "state", "why", "advice"),
    [
        pytest.param(JOB, RENEWED, "RUNNING", "has an owner: flow run run-2", "logs -f"),
        pytest.param(
            replace(JOB, harvested_at=NOON), RELEASED, "RUNNING", "result is stored", "show job-1"
        ),
        pytest.param(
            replace(JOB, deletion_at=NOON), RELEASED, "RUNNING", "being deleted", "is gone"
        ),
        pytest.param(JOB, RELEASED, None, r"in use \(api\) does not know", "PREFECT_API_URL"),
        pytest.param(
            replace(JOB, flow_run_id=None), RELEASED, None, "does not know", "PREFECT_API_URL"
        ),
        pytest.param(JOB, RELEASED, "CANCELLING", "was cancelled", "stop job-1"),
        pytest.param(JOB, RELEASED, "COMPLETED", "has completed", "show job-1"),
    ],
)
def test_job_that_cannot_be_attached_is_refused_with_what_to_do(
    job: JobSnapshot, verdict: LeaseVerdict, state: str | None, why: str, advice: str
) -> None:
    with pytest.raises(NotPossible, match=why) as refused:
        check_attachable(job, verdict, state, "api")

    assert advice in refused.value.advice
