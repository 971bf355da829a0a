"""Owning an agent: its Lease is renewed during the run, and released however the run ends."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from uuid import UUID

import anyio

from flows.run.beside import TasksBeside
from flows.run.putting_to_work import drain, with_work
from flows.run.run_process import SECONDS_TO_CONCLUDE, SECONDS_TO_END_AGENT, cancelled_by_sigterm
from tasks.collection import collect_work
from tasks.completion import await_completion
from tasks.log_stream import stream_logs
from tasks.orchestrator.flow_run_states import CancellationReader
from tasks.result import conclude_run
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.ended_attempt import EndedAttempt
from tasks.run.lease_keeper import LeaseKeeper, LeaseLost
from tasks.run.run_controls import Cancellation
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError


class Ownership:
    """What a run does as the owner of its agent when its process is told to stop."""

    def __init__(self, cancellation: Cancellation, signals: ExitStack) -> None:
        self._cancellation = cancellation
        self._signals = signals

    async def end_agent_if_cancelled(self, run: AgentRun) -> EndedAttempt | None:
        """End the agent if Prefect says that its run is being cancelled; `None` if not.

        Prefect's SIGTERM cancels all tasks of the event loop, so none that followed the Job is
        left. Its arrival also tells when the process will be killed; all must be done before.
        """
        told_at = time.monotonic()
        self._signals.close()
        controls = run.outside.controls
        work = controls.at_work
        if not await self._cancellation.is_cancelled():
            left = f"Job {controls.job_reference} remains for the next run"
            run.outside.say(
                "This process was told to stop without a cancellation of the run: "
                f"{left if work else 'no agent was working'}."
            )
            return None
        controls.cancel_requested.set()
        controls.conclude_by = run.outside.log.send_by = told_at + SECONDS_TO_CONCLUDE
        own = work if work is not None and work.is_of(run) else None
        try:
            left_seconds = told_at + SECONDS_TO_END_AGENT - time.monotonic()
            async with renewing(run), asyncio.timeout(left_seconds):
                if own is not None:
                    return await _end_agent(own)
                if work is not None:
                    # Kept under the run that it belongs to, as if it had been concluded in peace.
                    await conclude_run(await _end_agent(work))
        except AgentRunError as error:
            lost = isinstance(error, LeaseLost)
            return EndedAttempt.of(run, own, error, lease_lost=lost)
        except TimeoutError:
            run.outside.say("The agent has not ended yet; any further output is lost.")
            if own is not None:
                return EndedAttempt.of(own.run, own)
        agent = "an agent" if work is None else "its own agent"
        never_started = AgentRunError(
            ErrorCode.CANCELLED, f"The run was cancelled before {agent} was started."
        )
        return EndedAttempt.of(run, None, never_started)


async def _end_agent(work: AttemptAtWork) -> EndedAttempt:
    """Delete the Job at work and follow it to its end, after its stages were broken off.

    Raises:
        AgentRunError: It is no longer ours.
    """
    async with TasksBeside() as beside:
        beside.start(work.observer.run())
        streaming = beside.start(stream_logs(work.run, work))
        collecting = beside.start(collect_work(work.run, work)) if work.keeps_work else None
        ended = await await_completion(work.run, work, streaming)
        await drain(ended, streaming)
        return await with_work(ended, collecting)


@asynccontextmanager
async def own_agent(run: AgentRun) -> AsyncGenerator[Ownership, None]:
    """Listen for cancellations and signals in the block, and release the agent's Lease after it.

    The guard takes the Lease; work under the Lease is done in `while_owner` or `renewing`.
    """
    controls = run.outside.controls
    fleet = controls.fleet
    cancellation = fleet.cancellation if fleet else CancellationReader(UUID(run.flow_run_id))
    with ExitStack() as signals:
        if fleet is None:
            # In a fleet's process, the fleet listens for signals.
            signals.enter_context(cancelled_by_sigterm())
        asking = asyncio.create_task(_cancel_when_asked(run, cancellation))
        try:
            yield Ownership(cancellation, signals)
        finally:
            asking.cancel()
            with anyio.CancelScope(shield=True):
                await run.outside.lease.release()


async def _cancel_when_asked(run: AgentRun, cancellation: Cancellation) -> None:
    """Request the agent's end once Prefect says that the run is being cancelled.

    A runner that watches the process signals it sooner; without one this is the only way.
    """
    await cancellation.wait_until_cancelled()
    run.outside.controls.cancel_requested.set()


@asynccontextmanager
async def renewing(run: AgentRun) -> AsyncGenerator[None, None]:
    """Renew the Lease during the block; each write in it checks first that it is still allowed."""
    async with TasksBeside() as beside:
        beside.start(run.outside.lease.keep())
        yield


@asynccontextmanager
async def while_owner(run: AgentRun) -> AsyncGenerator[None, None]:
    """Renew the Lease during the block, and stop the block when another process takes the agent.

    How the block ended counts only if the Lease is still ours: a process that was suspended for
    longer than the Lease lasts may see what its successor did, or a call that timed out, before its
    next renewal is refused.

    Raises:
        LeaseLost: Another process has taken the agent, however the block has ended.
    """
    keeper = _LeaseWatch(run.outside.lease)
    try:
        yield
        keeper.check()
        if run.outside.lease.is_doubtful:
            await run.outside.lease.confirm()
    except asyncio.CancelledError:
        keeper.check()
        raise
    except AgentRunError:
        keeper.check()
        await run.outside.lease.confirm()
        raise
    finally:
        await keeper.end()


class _LeaseWatch:
    """Renews a Lease beside the current task, which it cancels once when the Lease is lost."""

    def __init__(self, lease: LeaseKeeper) -> None:
        self._owner = asyncio.current_task()
        self._has_cancelled = False
        self._keeping = asyncio.create_task(lease.keep())
        self._keeping.add_done_callback(self._stop_owner)

    def _stop_owner(self, keeping: "asyncio.Task[None]") -> None:
        if self._owner is not None and not keeping.cancelled():
            self._has_cancelled = True
            self._owner.cancel()

    def check(self) -> None:
        """Raise the error that ended the renewing, if any, and take our own cancellation back.

        Raises:
            LeaseLost: The Lease is lost.
        """
        if not self._has_cancelled:
            return
        self._has_cancelled = False
        if self._owner is not None and self._owner.uncancel() > 0:
            # Somebody else has cancelled the task too; that takes precedence.
            return
        self._keeping.result()

    async def end(self) -> None:
        """Stop renewing."""
        self._keeping.remove_done_callback(self._stop_owner)
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
