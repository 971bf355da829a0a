"""The table of all agents in a namespace, as the cluster shows them at one look.

Everything in it comes from Leases, Jobs and pods; never from an earlier table, which somebody else
may have written at the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot
from tasks.operators.agent_listing import ClusterLook, agents_of, describe_job
from tasks.ownership.agent_standing import AgentStanding, Spending, find_standing
from tasks.ownership.lease import is_held
from tasks.vocabulary.names import AgentId

UNKNOWN = "–"
IDLE = "idle"
# Nobody reads a longer page to its end; `claude-jobs ls` has all.
ROWS_LIMIT = 300


@dataclass(frozen=True, slots=True)
class AgentsTable:
    """The table.

    Attributes:
        rows: At work first, then paused ones, then those whose last run ended last.
        description: What it shows, for people.
    """

    rows: tuple[dict[str, str], ...]
    description: str


@dataclass(frozen=True, slots=True)
class _Entry:
    agent_id: AgentId
    state: str
    since: datetime | None
    standing: AgentStanding | None
    paused: str | None

    @property
    def rank(self) -> tuple[bool, bool, float, str]:
        ended = self.standing.ended_at.timestamp() if self.standing else 0.0
        return self.state == IDLE, self.paused is None, -ended, self.agent_id


def build_agents_table(look: ClusterLook) -> AgentsTable:
    """Return the table of all agents that the cluster knows."""
    entries = sorted((_entry(look, one) for one in agents_of(look)), key=lambda one: one.rank)
    today = look.now.astimezone(UTC).date()
    rows = tuple(_columns(entry, today) for entry in entries[:ROWS_LIMIT])
    busy = sum(entry.state != IDLE for entry in entries)
    paused = sum(entry.paused is not None for entry in entries)
    agents = "1 agent" if len(entries) == 1 else f"{len(entries)} agents"
    description = (
        f"{agents} in namespace {look.namespace}: {busy} at work or waiting, {paused} paused. "
        "Costs are in US dollars, of days and months in UTC, and without runs at work."
    )
    more = len(entries) - len(rows)
    return AgentsTable(rows, f"{description} {more} more are left out." if more else description)


def _entry(look: ClusterLook, agent_id: AgentId) -> _Entry:
    lease, pause = look.lease_of(agent_id), look.pause_of(agent_id)
    standing = find_standing(lease.annotations) if lease is not None else None
    live = [job for job in look.jobs if job.agent_id == agent_id and not look.is_over(job)]
    if live:
        state, since = describe_job(look, live[0], None), _since(look, live[0])
    elif lease is not None and _is_starting(lease, standing, look.now):
        state, since = "starting", lease.acquired_at
    else:
        state, since = IDLE, None
    return _Entry(agent_id, state, since, standing, pause.describe() if pause else None)


def _since(look: ClusterLook, job: JobSnapshot) -> datetime | None:
    """Return since when an agent works, or its Job waits."""
    agents = (pod.agent for pod in look.pods_of(job))
    started = (agent.started_at for agent in agents if agent is not None and agent.started_at)
    return next(started, job.created_at)


def _is_starting(lease: LeaseSnapshot, standing: AgentStanding | None, now: datetime) -> bool:
    """Tell whether a run owns the agent and has no Job yet; it may also be ending."""
    if not is_held(lease, now):
        return False
    taken = lease.acquired_at
    return standing is None or taken is None or standing.ended_at < taken


def _columns(entry: _Entry, today: date) -> dict[str, str]:
    standing = entry.standing
    return {
        "agent": entry.agent_id,
        "state": f"{entry.state} since {_time(entry.since)}" if entry.since else entry.state,
        "last outcome": standing.outcome if standing else UNKNOWN,
        "ended": _time(standing.ended_at) if standing else UNKNOWN,
        "cost today": _cost(standing.spent_on(today) if standing else None),
        "cost this month": _cost(standing.spent_in_month_of(today) if standing else None),
        "paused": entry.paused or "",
    }


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _cost(spending: Spending | None) -> str:
    if spending is None:
        return UNKNOWN
    unknown = f", {spending.unknown} unknown" if spending.unknown else ""
    return f"${spending.usd:.4f}{unknown}"


def table_key(namespace: str) -> str:
    """Return the key of a namespace's table: lowercase letters, digits and dashes."""
    return f"agents-{namespace}"


def as_text_rows(table: AgentsTable) -> Sequence[dict[str, str]]:
    """Return the rows; one that says so where there is no agent, since Prefect shows no columns."""
    return table.rows or ({"agent": UNKNOWN, "state": "no agent has run here"},)
