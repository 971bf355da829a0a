"""Decides what a command may do about an agent, before anything is changed."""

from dataclasses import dataclass

from tasks.observation.beside_agent import describe_running
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import ClusterLook
from tasks.operators.operator_errors import NotPossible
from tasks.ownership.lease import LeaseState, LeaseVerdict
from tasks.vocabulary.names import AgentId, FlowRunId

_CANCELLED = frozenset({"CANCELLING", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Its owner is alive: cancel its flow run, which stops the agent and stores its result."""

    flow_run_id: FlowRunId


@dataclass(frozen=True, slots=True)
class DeleteJobs:
    """It has no owner: delete its Jobs as the new holder of the Lease."""

    jobs: tuple[JobSnapshot, ...]


@dataclass(frozen=True, slots=True)
class NothingToStop:
    """No agent is working, and no run is about to start one."""

    reason: str


StopDecision = CancelRun | DeleteJobs | NothingToStop


def decide_stop(
    agent_id: AgentId, look: ClusterLook, verdict: LeaseVerdict, *, held: bool
) -> StopDecision:
    """Return how to stop an agent.

    Args:
        agent_id: Id of the agent.
        look: Its Jobs and pods among others, read after trying to take the Lease.
        verdict: The verdict on the Lease before that.
        held: Whether we hold the Lease now, so that nobody else owns the agent.

    Raises:
        NotPossible: It is unknown whether its owner is alive.
    """
    if held:
        jobs = [job for job in look.jobs if job.agent_id == agent_id]
        live = tuple(job for job in jobs if not look.is_over(job))
        if live:
            return DeleteJobs(live)
        return NothingToStop(
            " ".join(
                [
                    f"Agent {agent_id} is not working; there was nothing to stop.",
                    *filter(None, (describe_open_job(look, job) for job in jobs)),
                ]
            )
        )
    if verdict.state is LeaseState.RENEWED and verdict.holder_flow_run_id is not None:
        return CancelRun(verdict.holder_flow_run_id)
    raise NotPossible(
        f"It is unknown whether the run that holds the Lease of agent {agent_id} is alive.",
        "Try again in a minute.",
    )


def describe_open_job(look: ClusterLook, job: JobSnapshot) -> str | None:
    """Return which containers keep a Job from finishing after its agent, and what ends them."""
    beside = look.still_running(job)
    if not beside or job.deleting:
        return None
    return (
        f"In its Job {job.name}, {describe_running(beside)}: a sweep deletes the Job once its TTL, "
        "counted from the agent's end, has passed; so does `kubectl delete job` before that."
    )


def check_attachable(
    job: JobSnapshot, verdict: LeaseVerdict, flow_run_state: str | None, api_url: str
) -> FlowRunId:
    """Return the flow run to continue in this process, so that it takes over its Job.

    Args:
        job: The Job to take over.
        verdict: The verdict on its agent's Lease, after waiting for the owner.
        flow_run_state: Type of the state of the run that owns it; `None` if Prefect does not know
            the run.
        api_url: URL of the Prefect API in use, for the message.

    Raises:
        NotPossible: It has an owner, its result is stored, or its run cannot continue.
    """
    owner = job.owner_flow_run_id or job.flow_run_id
    if not verdict.may_be_taken:
        raise NotPossible(
            f"Agent {job.agent_id} has an owner: flow run {verdict.holder_flow_run_id} is alive.",
            f"Follow it with `claude-jobs logs -f {job.name}`, or end it with `claude-jobs stop`.",
        )
    if job.harvested_at is not None:
        raise NotPossible(
            f"Job {job.name} has finished and its result is stored; there is nothing to attach to.",
            f"`claude-jobs show {job.name}` shows how it ended.",
        )
    if job.deleting:
        raise NotPossible(
            f"Job {job.name} is being deleted; there is nothing to attach to.",
            "Wait until it is gone, then run its request again.",
        )
    if owner is None or flow_run_state is None:
        raise NotPossible(
            f"The Prefect API in use ({api_url}) does not know flow run {owner}, so its request is "
            "unknown here.",
            "Set PREFECT_API_URL to the API that the run was started with; or run the same request "
            "again with `claude-jobs run`, which takes over the Job by its task_id; or end the "
            "agent with `claude-jobs stop`.",
        )
    if flow_run_state in _CANCELLED:
        raise NotPossible(
            f"Flow run {owner} was cancelled, so its Job is not taken over.",
            f"`claude-jobs stop {job.name}` deletes what is left of it.",
        )
    if flow_run_state == "COMPLETED":
        raise NotPossible(
            f"Flow run {owner} has completed; there is nothing to attach to.",
            f"`claude-jobs show {job.name}` shows how it ended.",
        )
    return owner
