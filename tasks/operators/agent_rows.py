"""The list of agents: one row for each agent's last run, or one for each of its Jobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import (
    ClusterLook,
    OwnerState,
    Target,
    describe_job,
    describe_live_job,
)
from tasks.operators.last_run import PrefectRun
from tasks.outcome.report_page import outcome_name
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.lease import holder_flow_run, is_held
from tasks.ownership.orphans import owner_of
from tasks.vocabulary.names import AgentId, FlowRunId


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known about a run from outside the cluster; `None` if unknown.

    Attributes:
        cost_usd: The cost so far, if the agent is working.
        last_line: The last line of its output, made safe.
    """

    result: AgentRunResult | None = None
    cost_usd: float | None = None
    last_line: str | None = None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One run or Job of an agent, or an agent of whose runs nothing is known.

    Attributes:
        state: The state in words.
        state_name: The state in one to three words; `None` if unknown.
        live: Whether an agent works, or may yet.
        age_seconds: Time since the Job was created, or since the run began.
        paused: Since when and why the agent is paused; `None` if it is not.
    """

    agent_id: AgentId
    state: str
    state_name: str | None = None
    flow_run_id: FlowRunId | None = None
    task_id: str | None = None
    job_name: str | None = None
    live: bool = False
    age_seconds: int | None = None
    cost_usd: float | None = None
    last_line: str | None = None
    paused: str | None = None


def job_row(
    look: ClusterLook, job: JobSnapshot, record: RunRecord, run: PrefectRun | None = None
) -> AgentRow:
    """Return the row of a Job.

    Args:
        look: The cluster.
        job: The Job.
        record: What is known about its attempt.
        run: The flow run, if the Job is that of its last attempt.
    """
    agent_id, result = job.agent_id or AgentId(""), record.result
    return AgentRow(
        agent_id=agent_id,
        state=describe_job(look, job, result),
        state_name=_state_name(look, job, result, run),
        flow_run_id=owner_of(job),
        task_id=job.task_id,
        job_name=job.name,
        live=not look.is_over(job),
        age_seconds=_age(look, job.created_at),
        cost_usd=result.cost_usd if result is not None else record.cost_usd,
        last_line=result.message if result is not None else record.last_line,
        paused=_paused(look, agent_id),
    )


def run_row(
    look: ClusterLook, target: Target, record: RunRecord, run: PrefectRun | None
) -> AgentRow:
    """Return the row of an agent whose last run has no Job, or of whose runs nothing is known."""
    agent_id, result = target.agent_id or AgentId(""), record.result
    paused, live = _paused(look, agent_id), _is_owner(look, agent_id, target.flow_run_id)
    name = outcome_name(result) if result is not None else run.state_name if run else None
    if live:
        name = "Starting"
    unknown = "paused" if paused else "unknown"
    return AgentRow(
        agent_id=agent_id,
        state=name or unknown,
        state_name=name,
        flow_run_id=target.flow_run_id,
        task_id=result.task_id if result is not None else None,
        live=live,
        age_seconds=_age(look, run.started_at if run is not None else None),
        cost_usd=result.cost_usd if result is not None else record.cost_usd,
        last_line=result.message if result is not None else record.last_line,
        paused=paused,
    )


def sort_rows(rows: Iterable[AgentRow]) -> list[AgentRow]:
    """Return the rows in the order of the list: live ones, then the newest, unknown ages last."""
    return sorted(
        rows,
        key=lambda row: (
            not row.live,
            row.age_seconds is None,
            row.age_seconds or 0,
            row.agent_id,
        ),
    )


def find_changes(before: Sequence[AgentRow], now: Sequence[AgentRow]) -> list[AgentRow]:
    """Return the rows that are new or changed, but for their age."""
    known: Mapping[tuple[str, str | None, str | None], AgentRow] = {_key(r): r for r in before}

    def has_changed(row: AgentRow) -> bool:
        old = known.get(_key(row))
        return old is None or replace(old, age_seconds=row.age_seconds) != row

    return [row for row in now if has_changed(row)]


def _key(row: AgentRow) -> tuple[str, str | None, str | None]:
    return row.agent_id, row.flow_run_id, row.job_name


def _state_name(
    look: ClusterLook, job: JobSnapshot, result: AgentRunResult | None, run: PrefectRun | None
) -> str:
    if not job.over and not look.still_running(job):
        return _live_state_name(look, job)
    if result is not None:
        return outcome_name(result)
    if job.harvested_at is None and _is_owner(look, job.agent_id, owner_of(job)):
        return "Ending"
    if run is not None and run.has_ended and run.state_name is not None:
        return run.state_name
    return "No verdict" if job.harvested_at is None else "Finished"


def _live_state_name(look: ClusterLook, job: JobSnapshot) -> str:
    if job.deleting:
        return "Deleting"
    if look.owner_state(job.agent_id or AgentId("")) is OwnerState.GONE:
        return "No owner"
    return _SHORT[describe_live_job(job, look.pods_of(job))]


_SHORT = {
    "suspended by its queue": "Queued",
    "waiting for its pod": "Waiting",
    "starting": "Starting",
    "working": "Working",
    "ending": "Ending",
}


def _is_owner(look: ClusterLook, agent_id: AgentId | None, flow_run_id: FlowRunId | None) -> bool:
    lease = look.lease_of(agent_id) if agent_id is not None else None
    if lease is None or flow_run_id is None or not is_held(lease, look.now):
        return False
    return holder_flow_run(lease) == flow_run_id


def _paused(look: ClusterLook, agent_id: AgentId) -> str | None:
    pause = look.pause_of(agent_id)
    return pause.describe() if pause is not None else None


def _age(look: ClusterLook, since: datetime | None) -> int | None:
    return max(0, round((look.now - since).total_seconds())) if since is not None else None
