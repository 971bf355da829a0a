"""The daily budget of an agent (UTC), compared with the cost of its runs on that day."""

from datetime import UTC, datetime, time, timedelta

from tasks.ownership.agent_standing import Spending
from tasks.usage.usage_ledger import UsageDay
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId


def sum_spending(*days: UsageDay | None) -> Spending:
    """Sum up the records of an agent's days; no record means nothing spent."""
    costs = [job.cost_usd for day in days if day is not None for job in day.jobs.values()]
    return Spending(sum(cost for cost in costs if cost is not None), costs.count(None))


class DayBudgetSpent(AgentRunError):
    """The agent has spent its daily budget; nothing was created.

    Attributes:
        spent_usd: US dollars spent today.
        limit_usd: The budget.
        opens_at: When the agent may start again, UTC.
    """

    def __init__(
        self, agent_id: AgentId, spent_usd: float, limit_usd: float, opens_at: datetime
    ) -> None:
        super().__init__(
            ErrorCode.CLAUDE_MAX_BUDGET,
            f"Agent {agent_id} has spent ${spent_usd:.4f} of its daily budget of "
            f"${limit_usd:.4f} today (UTC), so it was not started.",
            advice=f"Run it again after {opens_at:%Y-%m-%d %H:%M} UTC, or raise its "
            "`daily_budget_usd`.",
        )
        self.spent_usd = spent_usd
        self.limit_usd = limit_usd
        self.opens_at = opens_at


def check_day_budget(
    agent_id: AgentId, limit_usd: float, spending: Spending, now: datetime
) -> None:
    """Refuse to start an agent whose daily budget is spent.

    The cost of a run is not known in advance, so the last run of a day may exceed the limit by up
    to its own `max_budget_usd`.

    Args:
        agent_id: Id of the agent, for the message.
        limit_usd: US dollars per day.
        spending: What was spent on the day of `now`.
        now: In UTC.

    Raises:
        DayBudgetSpent: At least `limit_usd` was spent.
    """
    if spending.usd >= limit_usd:
        raise DayBudgetSpent(agent_id, spending.usd, limit_usd, next_midnight(now))


def next_midnight(now: datetime) -> datetime:
    """Return the start of the next day, UTC."""
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC)
