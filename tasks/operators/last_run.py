"""Which run of an agent was its last one, from what the cluster and Prefect have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import ClusterLook, Target
from tasks.ownership.lease import holder_flow_run, is_held
from tasks.ownership.orphans import owner_of
from tasks.vocabulary.names import AgentId, FlowRunId

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PrefectRun:
    """A flow run of an agent, as Prefect has it; `None` if unknown.

    Attributes:
        state_name: Name of its state.
        has_ended: Whether Prefect says that it will not go on by itself.
        ended_at: When it reached that state.
    """

    flow_run_id: FlowRunId
    state_name: str | None = None
    has_ended: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None


def choose_last_run(
    look: ClusterLook, agent_id: AgentId, prefect_runs: Sequence[PrefectRun]
) -> Target:
    """Return an agent's run at work, else the run that holds its Lease, else the last to end.

    A run that Prefect never saw ending counts from its start, and a Job whose run is unknown to
    Prefect from its creation.

    Args:
        look: The cluster.
        agent_id: The agent.
        prefect_runs: Those of its runs that Prefect knows, also those whose Jobs are here.
    """
    jobs = [job for job in look.jobs if job.agent_id == agent_id]
    live = next((job for job in jobs if not look.is_over(job)), None)
    if live is not None:
        return Target(agent_id, owner_of(live), live)
    lease = look.lease_of(agent_id)
    if lease is not None and is_held(lease, look.now):
        holder = holder_flow_run(lease)
        if holder is not None:
            return Target(agent_id, holder, _job_of(jobs, holder))
    known = {run.flow_run_id: run for run in prefect_runs}
    candidates = [
        (_at(known.get(owner_of(job) or FlowRunId("")), job.created_at), owner_of(job), job)
        for job in jobs
    ]
    owners = {owner for _, owner, _ in candidates}
    candidates += [
        (_at(run), run.flow_run_id, None) for run in prefect_runs if run.flow_run_id not in owners
    ]
    if not candidates:
        return Target(agent_id, None, None)
    # The first of several: a run's newest Job.
    _, flow_run_id, job = max(candidates, key=lambda candidate: candidate[0])
    return Target(agent_id, flow_run_id, job)


def order_runs(runs: Iterable[PrefectRun]) -> list[PrefectRun]:
    """Return the runs, last to end first; a run that has not ended counts from its start."""
    return sorted(runs, key=_at, reverse=True)


def _job_of(jobs: Sequence[JobSnapshot], flow_run_id: FlowRunId) -> JobSnapshot | None:
    return next((job for job in jobs if owner_of(job) == flow_run_id), None)


def _at(run: PrefectRun | None, otherwise: datetime | None = None) -> datetime:
    told = (run.ended_at or run.started_at) if run is not None else None
    return told or otherwise or _LONG_AGO
