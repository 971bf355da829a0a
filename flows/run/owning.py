"""Owning an agent: what a run does while it holds the Lease, and when it is told to stop."""

import asyncio
import time
from contextlib import nullcontext
from uuid import UUID

import anyio
from prefect.exceptions import TerminationSignal

from flows.run.agent_attempt import end_attempt
from flows.run.guarded_stages import conclude, renewing, run_stages
from flows.run.sigterm import SECONDS_TO_CONCLUDE, SECONDS_TO_END_AGENT, cancelled_by_sigterm
from tasks.orchestrator.flow_run_states import CancellationReader
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.whole_run_retry import NoMoreAttempts, plan_next_attempt
from tasks.run.lease_keeper import LeaseLost
from tasks.run.run_context import RunContext
from tasks.run.run_controls import Cancellation
from tasks.run.task_sessions import resume_remembered_session
from tasks.storage.storage_keys import StorageOwner
from tasks.storage.stored_results import read_earlier_results
from tasks.vocabulary.errors import AgentRunError


async def own_and_run(context: RunContext) -> AgentRunResult:
    """Hold the agent's Lease while the stages run; let it go however they end.

    Exceptions do not tell a cancellation from a crash, a redeployment or an eviction; only the
    state in the API does. Where it says nothing of a cancellation, the Job is left alone.
    """
    fleet = context.controls.fleet
    cancellation = fleet.cancellation if fleet else CancellationReader(UUID(context.flow_run_id))
    asking = asyncio.create_task(_cancel_when_asked(context, cancellation))
    try:
        # Signals of a fleet's process are the fleet's to listen for.
        with cancelled_by_sigterm() if fleet is None else nullcontext():
            # Before the guard: whether a Job has the same prompt depends on it. Once for all
            # attempts: the plan says in which session another one goes on.
            await resume_remembered_session(context)
            results = [await run_stages(context)]
            while (following := await _next_attempt(context, results)) is not None:
                delay_seconds, context = following
                results.append(await run_stages(context, delay_seconds=delay_seconds))
            return results[-1]
    except (asyncio.CancelledError, TerminationSignal):
        result = await _end_if_cancelled(context, cancellation)
        if result is None:
            raise
        return result
    finally:
        asking.cancel()
        with anyio.CancelScope(shield=True):
            await context.lease.release()


async def _next_attempt(
    context: RunContext, results: list[AgentRunResult]
) -> tuple[int, RunContext] | None:
    """Return how long to wait and what to work with, where another attempt is due."""
    if context.lease_lost or not context.lease.held:
        return None
    if context.controls.cancel_requested.is_set():
        return None
    rules = context.prepared.runtime.retry
    planned = plan_next_attempt(
        rules, [*await _earlier_results(context, results), *results], context.asked_budget_usd
    )
    if planned.reason is not None:
        context.say(planned.reason)
    if isinstance(planned, NoMoreAttempts):
        return None
    return planned.delay_seconds, context.for_next_attempt(planned)


async def _earlier_results(
    context: RunContext, results: list[AgentRunResult]
) -> list[AgentRunResult]:
    """Return the results of the attempts that an earlier process of this flow run has made."""
    first = results[0]
    if first.succeeded or first.reattached_from is not None:
        return []
    try:
        owner = StorageOwner(context.namespace, context.prepared.agent_id)
        return await read_earlier_results(
            context.storage, owner, context.flow_run_id, first.attempt or 1
        )
    except AgentRunError as error:
        # What they have cost is then unknown, which the plan finds out by their numbers.
        context.say(error.message)
        return []


async def _end_if_cancelled(
    context: RunContext, cancellation: Cancellation
) -> AgentRunResult | None:
    told_at = time.monotonic()
    with anyio.CancelScope(shield=True):
        if await cancellation.is_cancelled():
            return await _end_cancelled(context, told_at)
        job = context.controls.job_reference
        left = f"Job {job} is left to the next run" if job else "no agent was at work"
        context.say(f"This process was told to stop, and the run was not cancelled: {left}.")
    return None


async def _end_cancelled(context: RunContext, told_at: float) -> AgentRunResult:
    """End the agent and conclude, after everything at work was stopped at once.

    Prefect's SIGTERM cancels all tasks of the event loop, wherever they are, so nothing of what
    followed the Job is left. It also says when the process will be killed: all ends before that.
    """
    context.controls.cancel_requested.set()
    context.conclude_by = context.log.send_by = told_at + SECONDS_TO_CONCLUDE
    try:
        left_seconds = told_at + SECONDS_TO_END_AGENT - time.monotonic()
        async with renewing(context), asyncio.timeout(left_seconds):
            await end_attempt(context)
    except AgentRunError as error:
        context.failure = error
        context.lease_lost = isinstance(error, LeaseLost)
    except TimeoutError:
        context.say("The agent has not ended yet; what it still prints is not collected.")
    return await conclude(context)


async def _cancel_when_asked(context: RunContext, cancellation: Cancellation) -> None:
    """Have the agent ended once Prefect says that the run is being cancelled.

    Where a runner watches the process it is told sooner; where none does, this is the only way.
    """
    await cancellation.wait_until_cancelled()
    context.controls.cancel_requested.set()
