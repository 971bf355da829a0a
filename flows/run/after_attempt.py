"""What follows an attempt: its failure is judged, and the next attempt is planned."""

import asyncio
from contextlib import suppress
from uuid import UUID

from tasks.job import withdraw_job
from tasks.orchestrator.flow_run_states import has_ended
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.whole_run_retry import NoMoreAttempts
from tasks.ownership.whole_run_retry import plan_next_attempt as plan
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.ended_attempt import EndedAttempt
from tasks.run.lease_keeper import LeaseLost
from tasks.storage.stored_results import read_earlier_results
from tasks.vocabulary.errors import AgentRunError


async def judge_failure(run: AgentRun, failure: AgentRunError) -> EndedAttempt:
    """Return how the attempt ended, after a stage has failed.

    If a twin (another process of this flow run) is at work, the twin ends the run and this process
    steps back, whatever went wrong here.
    """
    if await run.outside.lease.is_with_twin():
        return await _step_back(run, failure, with_twin=True)
    return EndedAttempt.of(run, _own_work(run), failure)


async def step_back(run: AgentRun, lost: LeaseLost) -> EndedAttempt:
    """Return how the attempt ended for this process, after it has lost the Lease.

    A Job that this process was creating by then is withdrawn. If a twin is at work on this flow
    run, or has ended it, the run's state is left to it.
    """
    return await _step_back(run, lost, with_twin=await run.outside.lease.is_with_twin())


async def _step_back(run: AgentRun, failure: AgentRunError, *, with_twin: bool) -> EndedAttempt:
    controls, own = run.outside.controls, _own_work(run)
    if controls.creating is not None:
        await withdraw_job(run, controls.creating)
    left_to_twin = with_twin or await has_ended(UUID(run.flow_run_id))
    if left_to_twin:
        controls.stepped_back = True
        run.outside.say(
            "Another process of this flow run is at work on it, or has ended it; this process "
            "steps back and does not set the run's state."
        )
    return EndedAttempt.of(run, own, failure, lease_lost=True, left_to_twin=left_to_twin)


def _own_work(run: AgentRun) -> AttemptAtWork | None:
    """Return the Job at work, unless it is that of an earlier run."""
    work = run.outside.controls.at_work
    return work if work is not None and work.is_of(run) else None


async def plan_next_attempt(ended: EndedAttempt, results: list[AgentRunResult]) -> AgentRun | None:
    """Return the run as its next attempt makes it; `None` if there is no next attempt.

    Args:
        ended: The attempt that was concluded last.
        results: Results of all attempts that this process has made, in order.
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
    # What the next attempt finds of a Job that was not committed, its guard decides about.
    controls.at_work = controls.creating = None
    return run.for_next_attempt(planned)


async def _earlier_results(run: AgentRun, results: list[AgentRunResult]) -> list[AgentRunResult]:
    """Return the results of the attempts that an earlier process of this flow run has made."""
    first = results[0]
    if first.succeeded or first.reattached_from is not None:
        return []
    try:
        return await read_earlier_results(
            run.outside.storage, run.storage_owner, run.flow_run_id, first.attempt or 1
        )
    except AgentRunError as error:
        # Their cost is then unknown, which the plan recognises by the missing numbers.
        run.outside.say(error.message)
        return []


async def pause_before_attempt(run: AgentRun) -> None:
    """Wait for as long as the plan says, or until the run is being cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(run.delay_seconds):
            await run.outside.controls.cancel_requested.wait()
