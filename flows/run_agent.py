"""`run_agent`: one wake-up of one agent as one flow run that owns one Kubernetes Job."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from flows.agent_attempt import end_attempt, harvest, start_attempt, take_over
from flows.check_request import read_run_script
from flows.flow_run_state import is_cancelled, to_state, wait_until_cancelled
from flows.load_inputs import RuntimeInputs, load_agent, load_prompt, load_runtime
from flows.state_hooks import delete_jobs_of_cancelled_run
from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.errors import AgentRunError
from tasks.agent_job.guard_verdicts import Harvest, Reattach, ReturnStored, StartNew
from tasks.agent_job.names import FlowRunId, JobUid
from tasks.agent_job.prepared_run import PreparedRun, prepare_run
from tasks.agent_job.redaction import Redactor
from tasks.agent_job.result_building import build_refusal
from tasks.agent_job.run_request import AgentRunRequest
from tasks.agent_job.run_result import AgentRunResult
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.agent_job.whole_run_retry import NoMoreAttempts, plan_next_attempt
from tasks.claude_code.agent_spec import AgentSpec
from tasks.cleanup import clean_up
from tasks.cluster.client import ClusterClient
from tasks.cluster.errors import KubeconfigInvalid
from tasks.guard import guard_agent
from tasks.lease_keeper import LeaseLost
from tasks.report import publish_report
from tasks.result import conclude_run
from tasks.result_storage import open_result_storage
from tasks.run_context import RunContext
from tasks.run_controls import CONTROLS, RunControls, RunCrashed, current_controls
from tasks.secret import has_same_prompt

T = TypeVar("T")

# Prefect kills the process 30 s after it asked the run to stop; the report needs some of them.
_CANCEL_SECONDS = 23.0


@flow(
    name="run-agent",
    description="Run one Claude Code agent as one Kubernetes Job.",
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
    on_cancellation=[delete_jobs_of_cancelled_run],
)
async def run_agent(request: AgentRunRequest) -> State[dict[str, object]]:
    """Run one agent as one Kubernetes Job and return its result.

    Args:
        request: Who runs, where, and what the agent is told.

    Returns:
        Completed, or a Failed or Cancelled state named after the ending; its data is the
        `AgentRunResult` as JSON.
    """
    return to_state(await _carry_out(request, current_controls()))


async def run_in_this_process(request: AgentRunRequest, controls: RunControls) -> AgentRunResult:
    """Run the flow here, surrounded by `controls`; for the command line.

    Raises:
        RunCrashed: The run ended without a verdict.
        asyncio.CancelledError: The run was left; its Job goes on.
    """
    CONTROLS.set(controls)
    state = cast("State[Any]", await cast("Any", run_agent)(request, return_state=True))
    if controls.result is None:
        raise RunCrashed(
            f"The run broke off without a verdict ({state.name}: {state.message}); its log in "
            "Prefect has the details, and a Job that was created is left for the next run."
        )
    return controls.result


async def _carry_out(request: AgentRunRequest, controls: RunControls) -> AgentRunResult:
    started_at = datetime.now(UTC)
    try:
        runtime = await load_runtime(request, controls.kubeconfig)
        prepared = await _prepare(request, runtime)
        storage = await open_result_storage(prepared.runtime.result_storage)
        with tempfile.TemporaryDirectory(prefix="claude-jobs-") as folder:
            async with ClusterClient(runtime.connection) as client:
                namespace = client.resolve_namespace(prepared.runtime.namespace)
                context = RunContext(
                    prepared=prepared,
                    client=client,
                    namespace=namespace.name,
                    storage=storage,
                    controls=controls,
                    logger=get_run_logger(),
                    secrets=runtime.secrets,
                    folder_path=Path(folder),
                )
                context.say(f"Namespace {namespace.name} ({namespace.source}).")
                result = await _own_and_run(context)
    except KubeconfigInvalid as error:
        result = _refuse(request, AgentRunError(ErrorCode.INPUT_INVALID, error.message), started_at)
    except AgentRunError as error:
        result = _refuse(request, error, started_at)
    controls.result = result
    return result


async def _prepare(request: AgentRunRequest, runtime: RuntimeInputs) -> PreparedRun:
    return prepare_run(
        request,
        await load_agent(request),
        runtime.spec,
        flow_run_id=_flow_run_id(),
        run_script=read_run_script(),
        confidential_prompt=await load_prompt(request, runtime),
    )


async def _own_and_run(context: RunContext) -> AgentRunResult:
    """Hold the agent's Lease while the stages run; let it go however they end.

    Exceptions do not tell a cancellation from a crash, a redeployment or an eviction; only the
    state in the API does. Where it says nothing of a cancellation, the Job is left alone.
    """
    asking = asyncio.create_task(_cancel_when_asked(context.controls))
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
        if await is_cancelled(_flow_run_uuid()):
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


async def _cancel_when_asked(controls: RunControls) -> None:
    """Have the agent ended once Prefect says that the run is being cancelled.

    Where a runner watches the process it is told sooner; where none does, this is the only way.
    """
    await wait_until_cancelled(_flow_run_uuid())
    controls.cancel_requested.set()


def _flow_run_uuid() -> UUID:
    return UUID(flow_run.id)


def _flow_run_id() -> FlowRunId:
    return FlowRunId(str(flow_run.id))


def _refuse(request: AgentRunRequest, error: AgentRunError, started_at: datetime) -> AgentRunResult:
    agent = request.agent
    runtime = request.runtime
    return build_refusal(
        error,
        agent_id=agent.agent_id if isinstance(agent, AgentSpec) else agent,
        flow_run_id=_flow_run_id(),
        task_id=request.task_id,
        namespace=runtime.namespace if isinstance(runtime, RuntimeSpec) else None,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        redactor=Redactor(),
    )
