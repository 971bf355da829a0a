"""Checks an agent's daily budget against the spending recorded in the result storage."""

from datetime import UTC

from tasks.run.agent_run import AgentRun
from tasks.usage.day_budget import check_day_budget, sum_spending
from tasks.usage.usage_records import UsageUnreadable, read_usage_day


async def check_budget_of_today(run: AgentRun) -> None:
    """Refuse to start an agent that has spent its daily budget, by the API server's clock.

    Raises:
        DayBudgetSpent: The budget is spent.
        UsageUnreadable: The spending cannot be read; no agent is started then either.
    """
    limit_usd = run.prepared.agent.daily_budget_usd
    if limit_usd is None:
        return
    agent_id, now = run.prepared.agent_id, run.outside.server_now().astimezone(UTC)
    try:
        recorded = await read_usage_day(run.outside.storage, run.storage_owner, now.date())
        spending = sum_spending(recorded)
    except UsageUnreadable as error:
        run.outside.say(f"{error.message} Spending is unknown, so no agent is started.")
        raise
    if spending.unknown:
        run.outside.say(
            f"{spending.unknown} Jobs of agent {agent_id} reported no cost today; "
            "they do not count towards its daily budget."
        )
    check_day_budget(agent_id, limit_usd, spending, now)
    run.outside.say(f"Daily budget: ${spending.usd:.4f} of ${limit_usd:.4f} spent (UTC day).")
