"""The next attempt of the same flow run: whether there is one, and what it waits for."""

import asyncio
from contextlib import suppress

from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.whole_run_retry import NoMoreAttempts
from tasks.ownership.whole_run_retry import plan_next_attempt as plan
from tasks.run.agent_run import AgentRun
from tasks.run.ended_attempt import EndedAttempt
from tasks.storage.stored_results import read_earlier_results
from tasks.vocabulary.errors import AgentRunError


async def plan_next_attempt(ended: EndedAttempt, results: list[AgentRunResult]) -> AgentRun | None:
    """Return the run as its next attempt makes it; `None` if none is due.

    Args:
        ended: The attempt that was concluded last.
        results: Of all attempts that this process has made, in order.
    """
    run = ended.run
    controls, lease = run.outside.controls, run.outside.lease
    if ended.lease_lost or not lease.held or controls.cancel_requested.is_set():
        return None
    rules = run.prepared.runtime.retry
    made = [*await _earlier_results(run, results), *results]
    planned = plan(rules, made, run.asked_budget_usd)
    if planned.reason is not None:
        run.outside.say(planned.reason)
    if isinstance(planned, NoMoreAttempts):
        return None
    controls.at_work = None
    return run.for_next_attempt(planned)


async def _earlier_results(run: AgentRun, results: list[AgentRunResult]) -> list[AgentRunResult]:
    """Return the results of the attempts that an earlier process of this flow run has made."""
    first = results[0]
    if first.succeeded or first.reattached_from is not None:
        return []
    try:
        return await read_earlier_results(
            run.outside.storage, run.prepared.agent_id, run.flow_run_id, first.attempt or 1
        )
    except AgentRunError as error:
        # What they have cost is then unknown, which the plan finds out by their numbers.
        run.outside.say(error.message)
        return []


async def pause_before_attempt(run: AgentRun) -> None:
    """Wait as long as the plan says, but not for a run that is being cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(run.delay_seconds):
            await run.outside.controls.cancel_requested.wait()
