"""One pass through the stages of a run, under its Lease: what the guard says is done and judged."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

from flows.run.agent_attempt import harvest, start_attempt, take_over
from tasks.cleanup import clean_up
from tasks.guard import FinalVerdict, guard_agent
from tasks.job import withdraw_job
from tasks.orchestrator.flow_run_states import has_ended
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.guard_verdicts import Harvest, Reattach, ReturnStored, StartNew
from tasks.report import publish_report
from tasks.result import conclude_run
from tasks.run.lease_keeper import LeaseLost
from tasks.run.run_context import RunContext
from tasks.run.run_permissions import may_exec
from tasks.secret import has_same_prompt
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import JobUid

T = TypeVar("T")


async def run_stages(context: RunContext, *, delay_seconds: int = 0) -> AgentRunResult:
    """Guard, make or take up an attempt, follow it to its end, and conclude.

    Args:
        context: The run.
        delay_seconds: How long to wait first; a cancellation ends the wait.
    """
    try:
        stored = await while_owner(context, _guard_and_run(context, delay_seconds))
        if stored is not None:
            return stored
    except AgentRunError as error:
        context.failure = error
        # Whatever went wrong here: where a twin is at work, how the run ends is its business.
        with_twin = await context.lease.is_with_twin()
        context.lease_lost = with_twin or isinstance(error, LeaseLost)
        if context.lease_lost and context.uncommitted is not None:
            await withdraw_job(context, context.uncommitted)
        if with_twin or (context.lease_lost and await has_ended(UUID(context.flow_run_id))):
            return await _step_back(context)
    return await conclude(context)


async def _step_back(context: RunContext) -> AgentRunResult:
    """Leave the run's state to another process of this flow run."""
    context.controls.stepped_back = True
    context.say(
        "Another process of this flow run is at work on it, or has ended it; this one steps back "
        "and leaves the run's state to it."
    )
    return await conclude_run(context)


async def conclude(context: RunContext) -> AgentRunResult:
    """Judge what was seen, report it, and leave the Job as the keep policy says."""
    async with renewing(context):
        result = await conclude_run(context)
        await publish_report(context, result)
        await clean_up(context, result)
    return result


async def _guard_and_run(context: RunContext, delay_seconds: int) -> AgentRunResult | None:
    """Do what the guard says; return a result only where one was stored before."""
    await _pause(context, delay_seconds)
    # Beside the guard, which takes longer, so that nothing waits for it.
    asking = asyncio.create_task(may_exec(context.client, context.namespace))
    try:
        verdict = await _guard_until_ours(context)
        match verdict:
            case StartNew():
                await start_attempt(context, verdict.attempt, exec_permitted=await asking)
            case Reattach():
                await take_over(context, verdict)
            case Harvest():
                await harvest(context, verdict)
            case ReturnStored():
                return context.stored_results[verdict.job_uid]
    finally:
        asking.cancel()
    return None


async def _pause(context: RunContext, seconds: int) -> None:
    """Wait, but not for a run that is being cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await context.controls.cancel_requested.wait()


async def _guard_until_ours(context: RunContext) -> FinalVerdict:
    """Bring what is there of other runs to its end; return what is to be done then."""
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
    return verdict


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
    may_resume = context.asked_session_id is None
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
    await context.lease.confirm()
    result = await conclude_run(theirs)
    await clean_up(theirs, result)
    context.say(
        f"Kept the result of flow run {result.flow_run_id}, whose process was gone "
        f"({result.error_code or 'success'}: {result.message})"
    )
    if may_resume and result.session_id and not result.clear_session:
        context.resume(result.session_id)


@asynccontextmanager
async def renewing(context: RunContext) -> AsyncGenerator[None, None]:
    """Renew the Lease meanwhile; whether a write is still allowed is asked before each."""
    keeping = asyncio.create_task(context.lease.keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def while_owner(context: RunContext, body: Coroutine[Any, Any, T]) -> T:
    """Run `body` while the Lease is renewed; stop it when somebody else has taken the agent.

    How it ended counts only while the Lease is ours. A process that was stopped for longer than
    the Lease lasts may learn of its successor's doings, or of a call that took too long, before its
    next renewal is refused.

    Raises:
        LeaseLost: Somebody else has taken the agent, however `body` has ended.
    """
    keeping = asyncio.create_task(context.lease.keep())
    working = asyncio.create_task(body)
    try:
        await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            # It ends only where the Lease was lost.
            await keeping
        if isinstance(working.exception(), AgentRunError) or context.lease.is_doubtful:
            await context.lease.confirm()
        return await working
    finally:
        for task in (keeping, working):
            task.cancel()
        await asyncio.gather(keeping, working, return_exceptions=True)
