"""What a command may do about an agent, decided before anything is done."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.observation.snapshots import JobSnapshot
from tasks.operators.operator_errors import NotPossible
from tasks.ownership.lease import LeaseState, LeaseVerdict
from tasks.vocabulary.names import AgentId, FlowRunId

_CANCELLED = frozenset({"CANCELLING", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Its owner lives: cancelling its flow run ends the agent, and keeps what it did."""

    flow_run_id: FlowRunId


@dataclass(frozen=True, slots=True)
class DeleteJobs:
    """Nobody owns the agent any more: its Jobs are deleted by whoever holds the Lease now."""

    jobs: tuple[JobSnapshot, ...]


@dataclass(frozen=True, slots=True)
class NothingToStop:
    """No agent is at work, and no run that would start one."""

    reason: str


StopDecision = CancelRun | DeleteJobs | NothingToStop


def decide_stop(
    agent_id: AgentId, jobs: Sequence[JobSnapshot], verdict: LeaseVerdict, *, held: bool
) -> StopDecision:
    """Tell how an agent is to be stopped.

    Args:
        agent_id: Of the agent.
        jobs: The agent's Jobs, as seen after the Lease was asked for.
        verdict: On the Lease, as it was before.
        held: Whether the Lease is ours, so that nobody else owns the agent.

    Raises:
        NotPossible: Whether its owner lives is not known.
    """
    if held:
        live = tuple(job for job in jobs if not job.over)
        if live:
            return DeleteJobs(live)
        return NothingToStop(f"Agent {agent_id} is not at work; there was nothing to stop.")
    if verdict.state is LeaseState.RENEWED and verdict.holder_flow_run_id is not None:
        return CancelRun(verdict.holder_flow_run_id)
    raise NotPossible(
        f"Whether the run that holds the Lease of agent {agent_id} is alive could not be seen.",
        "Try again in a minute.",
    )


def check_attachable(
    job: JobSnapshot, verdict: LeaseVerdict, flow_run_state: str | None, api_url: str
) -> FlowRunId:
    """Return the flow run that is to be run again in this process, to take up its Job.

    Args:
        job: What is to be taken up.
        verdict: On its agent's Lease, after its owner was waited for.
        flow_run_state: Type of the state of the run that owns it; null where Prefect has no such
            run.
        api_url: Of the Prefect API in use, for the sentence.

    Raises:
        NotPossible: It has an owner, its result is stored, or its run cannot be run again.
    """
    owner = job.owner_flow_run_id or job.flow_run_id
    if not verdict.may_be_taken:
        raise NotPossible(
            f"Agent {job.agent_id} has an owner that lives: flow run {verdict.holder_flow_run_id}.",
            f"`claude-jobs logs -f {job.name}` reads along; `claude-jobs stop` ends it.",
        )
    if job.harvested_at is not None:
        raise NotPossible(
            f"Job {job.name} has ended and its result is stored; there is nothing to attach to.",
            f"`claude-jobs show {job.name}` tells how it ended.",
        )
    if job.deleting:
        raise NotPossible(
            f"Job {job.name} is being deleted; there is nothing to attach to.",
            "Wait until it has gone, then run its request again.",
        )
    if owner is None or flow_run_state is None:
        raise NotPossible(
            f"The Prefect API in use ({api_url}) does not know flow run {owner}, so what the agent "
            "was asked to do is not known here.",
            "Set PREFECT_API_URL to the API that the run was started with; or run the same request "
            "again with `claude-jobs run`, which takes the Job over by its task_id; or end the "
            "agent with `claude-jobs stop`.",
        )
    if flow_run_state in _CANCELLED:
        raise NotPossible(
            f"Flow run {owner} was cancelled, so its agent is not taken up again.",
            f"`claude-jobs stop {job.name}` ends what is left of it.",
        )
    if flow_run_state == "COMPLETED":
        raise NotPossible(
            f"Flow run {owner} is completed; there is nothing to attach to.",
            f"`claude-jobs show {job.name}` tells how it ended.",
        )
    return owner
