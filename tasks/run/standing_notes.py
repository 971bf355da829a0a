"""Notes on an agent's Lease how it stands once a run of it has ended."""

import asyncio
from datetime import UTC, date, timedelta

from tasks.outcome.report_page import outcome_name
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.agent_standing import AgentStanding, Spending, standing_note
from tasks.run.agent_run import AgentRun
from tasks.usage.day_budget import sum_spending
from tasks.usage.usage_records import read_usage_day

_NOTE_SECONDS = 10.0
# Time that a process about to be killed reserves for the result, the report and the Job.
_AFTERWARDS_SECONDS = 6.0


async def note_standing(run: AgentRun, result: AgentRunResult) -> None:
    """Keep outcome and spending on the agent's Lease, if it is ours; raises nothing.

    It reads the agent's own records of this month, and writes the Lease once.
    """
    lease = run.outside.lease
    if not lease.held:
        return
    seconds = run.outside.controls.bounded(_NOTE_SECONDS, leaving_seconds=_AFTERWARDS_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            day = run.outside.server_now().astimezone(UTC).date()
            on_day, in_month = await _read_spending(run, day)
            standing = AgentStanding(
                outcome=outcome_name(result),
                ended_at=result.timings.ended_at,
                day=day,
                on_day=on_day,
                in_month=in_month,
            )
            await lease.note(standing_note(standing))
    except Exception:
        # It is for a table; the run's own page tells all of it.
        return


async def _read_spending(run: AgentRun, day: date) -> tuple[Spending | None, Spending | None]:
    """Return what the agent has spent on a day and in its month until then, where it is known."""
    days = [day - timedelta(days=past) for past in range(day.day)]
    try:
        recorded = await asyncio.gather(
            *(read_usage_day(run.outside.storage, run.storage_owner, one) for one in days)
        )
    except Exception:
        # A block may raise any exception of its library.
        return None, None
    return sum_spending(recorded[0]), sum_spending(*recorded)
