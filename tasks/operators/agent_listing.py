"""What operators see of agents at one look: which Job is meant, how it is, who owns it.

Told from what the cluster says now and what was stored; nothing is guessed. Whether an owner lives
is told by its Lease as it stands at this one look, so that one that has just died counts as alive
until its Lease has run out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.outcome.report_page import outcome_name
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.lease import is_held
from tasks.ownership.orphans import owner_of
from tasks.ownership.pause import AgentPause, find_pause
from tasks.vocabulary.names import AgentId, FlowRunId, JobUid


class OwnerState(StrEnum):
    """Who owns an agent now: a process that keeps its Lease, or nobody."""

    ALIVE = "alive"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ClusterLook:
    """The objects of all agents of a namespace at one instant.

    Attributes:
        jobs: Newest first; those without an exact agent id are not among them.
        now: By the API server's clock.
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

    def owner_state(self, agent_id: AgentId) -> OwnerState:
        """Tell whether somebody keeps the agent's Lease."""
        held = is_held(self.lease_of(agent_id), self.now)
        return OwnerState.ALIVE if held else OwnerState.GONE

    def pause_of(self, agent_id: AgentId) -> AgentPause | None:
        """Return the agent's pause, if it is paused."""
        lease = self.lease_of(agent_id)
        return find_pause(lease.annotations) if lease is not None else None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known of a Job's run besides the cluster; null where nothing is.

    Attributes:
        cost_usd: So far, for one at work.
        last_line: What it printed last, as one safe line.
    """

    result: AgentRunResult | None = None
    cost_usd: float | None = None
    last_line: str | None = None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One Job of an agent, or an agent that is paused and has none.

    Attributes:
        state: In words.
        age_seconds: Since its Job was created.
        live: Whether its Job has not ended.
    """

    agent_id: AgentId
    state: str
    flow_run_id: FlowRunId | None = None
    task_id: str | None = None
    job_name: str | None = None
    live: bool = False
    age_seconds: int | None = None
    cost_usd: float | None = None
    last_line: str | None = None
    paused: str | None = None


def list_rows(look: ClusterLook, records: Mapping[JobUid, RunRecord]) -> list[AgentRow]:
    """Return every Job and every paused agent: live ones first, then the newest."""
    rows = [_row(look, job, records.get(job.uid, RunRecord())) for job in look.jobs]
    with_jobs = {job.agent_id for job in look.jobs}
    paused = [
        AgentRow(lease.agent_id, "paused", paused=pause.describe())
        for lease in look.leases
        if lease.agent_id is not None and lease.agent_id not in with_jobs
        if (pause := find_pause(lease.annotations)) is not None
    ]
    return [*(row for row in rows if row.live), *paused, *(row for row in rows if not row.live)]


def describe_job(look: ClusterLook, job: JobSnapshot, result: AgentRunResult | None) -> str:
    """Say in a few words how a Job is, and where its owner has gone, that too."""
    if job.over:
        return _describe_ended(job, result)
    words = "being deleted" if job.deleting else _describe_pods(look.pods_of(job))
    if look.owner_state(job.agent_id or AgentId("")) is OwnerState.GONE:
        return f"{words}, owner gone"
    return words


@dataclass(frozen=True, slots=True)
class Target:
    """What a command is about; every field may be unknown, but one never is.

    Attributes:
        job: The Job that is meant, where the cluster still has it.
    """

    agent_id: AgentId | None
    flow_run_id: FlowRunId | None
    job: JobSnapshot | None


def find_target(look: ClusterLook, text: str) -> Target | None:
    """Return what a name means: an agent's id, a flow run's id, or the name of a Job.

    Of an agent its live Job, else its newest one; of a flow run its newest attempt. `None` where
    the cluster has nothing of that name.
    """
    named = [job for job in look.jobs if text in {job.name, job.flow_run_id, owner_of(job)}]
    of_agent = [job for job in look.jobs if job.agent_id == text]
    found = named or of_agent
    if found:
        job = next((job for job in found if not job.over), found[0])
        return Target(job.agent_id, owner_of(job), job)
    if look.lease_of(AgentId(text)) is not None:
        return Target(AgentId(text), None, None)
    return None


def agents_of(look: ClusterLook) -> Sequence[AgentId]:
    """Return the ids of all agents that the namespace knows, in order."""
    of_jobs = {job.agent_id for job in look.jobs}
    of_leases = {lease.agent_id for lease in look.leases}
    return sorted(agent_id for agent_id in of_jobs | of_leases if agent_id is not None)


def _row(look: ClusterLook, job: JobSnapshot, record: RunRecord) -> AgentRow:
    agent_id, result = job.agent_id or AgentId(""), record.result
    pause = look.pause_of(agent_id)
    age = look.now - job.created_at if job.created_at else None
    return AgentRow(
        agent_id=agent_id,
        state=describe_job(look, job, result),
        flow_run_id=owner_of(job),
        task_id=job.task_id,
        job_name=job.name,
        live=not job.over,
        age_seconds=max(0, round(age.total_seconds())) if age is not None else None,
        cost_usd=result.cost_usd if result is not None else record.cost_usd,
        last_line=result.message if result is not None else record.last_line,
        paused=pause.describe() if pause is not None else None,
    )


def _describe_ended(job: JobSnapshot, result: AgentRunResult | None) -> str:
    if result is not None:
        return f"ended: {outcome_name(result)}"
    if job.harvested_at is None:
        return "ended, not read yet"
    return "ended"


def _describe_pods(pods: Sequence[PodSnapshot]) -> str:
    pod = next(iter(pods), None)
    if pod is None:
        return "waiting for its pod"
    if pod.agent is not None and pod.agent.running is not None:
        return "working"
    if pod.ended or (pod.agent is not None and pod.agent.terminated is not None):
        return "ending"
    return "starting"
