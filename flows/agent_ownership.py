"""Owning an agent: what a run does while it holds the Lease, and when it is told to stop."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

import anyio
from prefect.exceptions import TerminationSignal

from flows.agent_attempt import end_attempt, harvest, start_attempt, take_over
from flows.flow_run_state import is_cancelled, wait_until_cancelled
from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.errors import AgentRunError
from tasks.agent_job.guard_verdicts import Harvest, Reattach, ReturnStored, StartNew
from tasks.agent_job.names import JobUid
from tasks.agent_job.run_result import AgentRunResult
from tasks.agent_job.whole_run_retry import NoMoreAttempts, plan_next_attempt
from tasks.cleanup import clean_up
from tasks.guard import guard_agent
from tasks.lease_keeper import LeaseLost
from tasks.report import publish_report
from tasks.result import conclude_run
from tasks.run_context import RunContext
from tasks.secret import has_same_prompt

T = TypeVar("T")

# Prefect kills the process 30 s after it asked the run to stop; the report needs some of them.
_CANCEL_SECONDS = 23.0


async def own_and_run(context: RunContext) -> AgentRunResult:
    """Hold the agent's Lease while the stages run; let it go however they end.

    Exceptions do not tell a cancellation from a crash, a redeployment or an eviction; only the
    state in the API does. Where it says nothing of a cancellation, the Job is left alone.
    """
    asking = asyncio.create_task(_cancel_when_asked(context))
    try:
        results = [await _run_stages(context)]
        while (following := _next_attempt(context, results)) is not None:
            delay_seconds, context = following
            await _while_owner(context, _pause(context, delay_seconds))
            results.append(await _run_stages(context))
        return results[-1]
    except (asyncio.CancelledError, TerminationSignal):
        result = await _end_if_cancelled(context)
        if result is None:
            raise
        return result
    finally:
        asking.cancel()
        with anyio.CancelScope(shield=True):
            await context.lease.release()


def _next_attempt(
    context: RunContext, results: list[AgentRunResult]
) -> tuple[int, RunContext] | None:
    """Return how long to wait and what to work with, where the runtime wants another attempt."""
    if not context.lease.held or context.controls.cancel_requested.is_set():
        return None
    planned = plan_next_attempt(context.prepared.runtime.retry, results, context.asked_budget_usd)
    if planned.reason is not None:
        context.say(planned.reason)
    if isinstance(planned, NoMoreAttempts):
        return None
    return planned.delay_seconds, context.for_next_attempt(planned)


async def _pause(context: RunContext, seconds: int) -> None:
    """Wait, but not for a run that is being cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await context.controls.cancel_requested.wait()


async def _run_stages(context: RunContext) -> AgentRunResult:
    try:
        stored = await _while_owner(context, _guard_and_run(context))
        if stored is not None:
            return stored
    except AgentRunError as error:
        context.failure = error
        context.lease_lost = isinstance(error, LeaseLost)
    return await _conclude(context)


async def _conclude(context: RunContext) -> AgentRunResult:
    async with _renewing(context):
        result = await conclude_run(context)
        await publish_report(context, result)
        await clean_up(context, result)
    return result


async def _end_if_cancelled(context: RunContext) -> AgentRunResult | None:
    with anyio.CancelScope(shield=True):
        if await is_cancelled(UUID(context.flow_run_id)):
            return await _end_cancelled(context)
        job = context.controls.job_reference
        left = f"Job {job} is left to the next run" if job else "no Job was created"
        context.say(f"This process was told to stop, and the run was not cancelled: {left}.")
    return None


async def _end_cancelled(context: RunContext) -> AgentRunResult:
    """End the agent and conclude, after everything at work was stopped at once.

    Prefect's SIGTERM cancels all tasks of the event loop, wherever they are, so nothing of what
    followed the Job is left.
    """
    context.controls.cancel_requested.set()
    try:
        async with _renewing(context), asyncio.timeout(_CANCEL_SECONDS):
            await end_attempt(context)
    except AgentRunError as error:
        context.failure = error
        context.lease_lost = isinstance(error, LeaseLost)
    except TimeoutError:
        context.say("The agent has not ended yet; what it still prints is not collected.")
    return await _conclude(context)


async def _guard_and_run(context: RunContext) -> AgentRunResult | None:
    """Do what the guard says; return a result only where one was stored before."""
    verdict = await guard_agent(context)
    concluded: set[JobUid] = set()
    while isinstance(verdict, Reattach | Harvest) and await _is_for_other(context, verdict):
        if verdict.job.uid in concluded:
            raise AgentRunError(
                ErrorCode.JOB_STATE_MISMATCH,
                f"Job {verdict.job.name} of an earlier run could not be concluded, so this run's "
                "agent was not started.",
                advice="Look into this run's log; make the result storage writable and run again.",
            )
        concluded.add(verdict.job.uid)
        await _conclude_other(context, verdict)
        verdict = await guard_agent(context)
    match verdict:
        case StartNew():
            await start_attempt(context, verdict.attempt)
        case Reattach():
            await take_over(context, verdict)
        case Harvest():
            await harvest(context, verdict)
        case ReturnStored():
            return context.stored_results[verdict.job_uid]
    return None


async def _is_for_other(context: RunContext, verdict: Reattach | Harvest) -> bool:
    """Tell whether a Job is to be brought to its end before ours is started."""
    if isinstance(verdict, Harvest):
        return verdict.then_start
    if verdict.job.flow_run_id == context.flow_run_id:
        return False
    return not await has_same_prompt(context, verdict.job)


async def _conclude_other(context: RunContext, verdict: Reattach | Harvest) -> None:
    """Bring another run's Job to its end, keep its result under that run, and go on from it.

    Where that fails the guard looks again, and decides on what there is then.
    """
    job = verdict.job
    theirs = context.for_flow_run(job.owner_flow_run_id or job.flow_run_id)
    may_resume = context.prepared.resume_session is None
    try:
        if isinstance(verdict, Reattach):
            context.say(f"Job {job.name} works on another prompt; this run's own comes after it.")
            await take_over(theirs, verdict)
        else:
            may_resume = verdict.resume_session
            await harvest(theirs, verdict)
    except LeaseLost:
        raise
    except AgentRunError as error:
        context.say(f"Job {job.name} could not be brought to its end: {error.message}")
        return
    finally:
        context.attempt = None
    result = await conclude_run(theirs)
    await clean_up(theirs, result)
    context.say(
        f"Kept the result of flow run {result.flow_run_id}, whose process was gone "
        f"({result.error_code or 'success'}: {result.message})"
    )
    if may_resume and result.session_id and not result.clear_session:
        context.resume(result.session_id)


@asynccontextmanager
async def _renewing(context: RunContext) -> AsyncGenerator[None, None]:
    """Renew the Lease meanwhile; whether a write is still allowed is asked before each."""
    keeping = asyncio.create_task(context.lease.keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _while_owner(context: RunContext, body: Coroutine[Any, Any, T]) -> T:
    """Run `body` while the Lease is renewed; stop it when somebody else has taken the agent."""
    keeping = asyncio.create_task(context.lease.keep())
    working = asyncio.create_task(body)
    try:
        await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await keeping
        return await working
    finally:
        for task in (keeping, working):
            task.cancel()
        await asyncio.gather(keeping, working, return_exceptions=True)


async def _cancel_when_asked(context: RunContext) -> None:
    """Have the agent ended once Prefect says that the run is being cancelled.

    Where a runner watches the process it is told sooner; where none does, this is the only way.
    """
    await wait_until_cancelled(UUID(context.flow_run_id))
    context.controls.cancel_requested.set()
