"""The agents of a namespace: their Jobs, the state of each, and whether it has an owner.

It is based on what the cluster reports now and what was stored. The Lease shows whether an owner is
alive; an owner that has just died counts as alive until its Lease has expired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.observation.beside_agent import describe_running, find_agent_end, is_over
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.outcome.report_page import outcome_name
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.lease import is_held
from tasks.ownership.orphans import owner_of
from tasks.ownership.pause import AgentPause, find_pause
from tasks.vocabulary.names import AgentId, FlowRunId


class OwnerState(StrEnum):
    """Whether a process holds the agent's Lease."""

    ALIVE = "alive"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ClusterLook:
    """The objects of all agents in a namespace, read at one time.

    Attributes:
        jobs: Newest first, without Jobs that lack an exact agent id.
        now: The API server's time.
    """

    namespace: str
    jobs: tuple[JobSnapshot, ...]
    pods: tuple[PodSnapshot, ...]
    leases: tuple[LeaseSnapshot, ...]
    now: datetime

    def lease_of(self, agent_id: AgentId) -> LeaseSnapshot | None:
        """Return an agent's Lease."""
        return next((lease for lease in self.leases if lease.agent_id == agent_id), None)

    def pods_of(self, job: JobSnapshot) -> tuple[PodSnapshot, ...]:
        """Return the pods of a Job, newest first."""
        return tuple(pod for pod in self.pods if pod.job_uid == job.uid)

    def is_over(self, job: JobSnapshot) -> bool:
        """Return whether no agent works in a Job, or will."""
        return is_over(job, self.pods_of(job))

    def still_running(self, job: JobSnapshot) -> tuple[str, ...]:
        """Return the containers that keep a Job from finishing although its agent has ended."""
        end = find_agent_end(job, self.pods_of(job))
        return end.still_running if end is not None else ()

    def owner_state(self, agent_id: AgentId) -> OwnerState:
        """Return whether a process holds the agent's Lease."""
        held = is_held(self.lease_of(agent_id), self.now)
        return OwnerState.ALIVE if held else OwnerState.GONE

    def pause_of(self, agent_id: AgentId) -> AgentPause | None:
        """Return the agent's pause, if it is paused."""
        lease = self.lease_of(agent_id)
        return find_pause(lease.annotations) if lease is not None else None


def describe_job(look: ClusterLook, job: JobSnapshot, result: AgentRunResult | None) -> str:
    """Return the state of a Job in a few words, and whether it has no owner."""
    beside = look.still_running(job)
    if job.over or beside:
        over = _describe_over(job, result, "agent ended" if beside else "finished")
        return over + (f", {describe_running(beside)}" if beside else "")
    words = "being deleted" if job.deleting else describe_live_job(job, look.pods_of(job))
    if look.owner_state(job.agent_id or AgentId("")) is OwnerState.GONE:
        return f"{words}, no owner"
    return words


@dataclass(frozen=True, slots=True)
class Target:
    """The agent, flow run or Job that a command refers to; at least one is known.

    Attributes:
        job: The Job, if it still exists in the cluster.
    """

    agent_id: AgentId | None
    flow_run_id: FlowRunId | None
    job: JobSnapshot | None


def find_target(look: ClusterLook, text: str) -> Target | None:
    """Return what a name refers to: an agent's id, a flow run's id, or a Job's name.

    For an agent, its live Job, else its newest one; for a flow run, its newest attempt. `None` if
    nothing in the cluster has that name.
    """
    named = [job for job in look.jobs if text in {job.name, job.flow_run_id, owner_of(job)}]
    of_agent = [job for job in look.jobs if job.agent_id == text]
    found = named or of_agent
    if found:
        job = next((job for job in found if not look.is_over(job)), found[0])
        return Target(job.agent_id, owner_of(job), job)
    if look.lease_of(AgentId(text)) is not None:
        return Target(AgentId(text), None, None)
    return None


def agents_of(look: ClusterLook) -> Sequence[AgentId]:
    """Return the ids of all agents in the namespace, sorted."""
    of_jobs = {job.agent_id for job in look.jobs}
    of_leases = {lease.agent_id for lease in look.leases}
    return sorted(agent_id for agent_id in of_jobs | of_leases if agent_id is not None)


def _describe_over(job: JobSnapshot, result: AgentRunResult | None, how: str) -> str:
    if result is not None:
        return f"{how}: {outcome_name(result)}"
    if job.harvested_at is None:
        return f"{how}, result not stored"
    return how


def describe_live_job(job: JobSnapshot, pods: Sequence[PodSnapshot]) -> str:
    """Return the state of a live Job in a few words, whoever owns it."""
    pod = next(iter(pods), None)
    if pod is None:
        return "suspended by its queue" if job.suspended else "waiting for its pod"
    if pod.agent is not None and pod.agent.running is not None:
        return "working"
    if pod.ended or (pod.agent is not None and pod.agent.terminated is not None):
        return "ending"
    return "starting"
