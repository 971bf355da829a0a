"""`run_agent`: one wake-up of one agent as one flow run that owns one Kubernetes Job."""

import tempfile
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.runtime import flow_run
from prefect.telemetry.run_telemetry import LABELS_TRACEPARENT_KEY

from flows.run.cancellation_hook import delete_jobs_of_cancelled_run
from flows.run.inputs import RuntimeInputs, load_agent, load_prompt, load_runtime
from flows.run.owning import own_and_run
from flows.run.run_process import outlive_console
from flows.run.unexpected_failure import unexpected_failure, where_it_failed
from tasks.agent_job.prepared_run import PreparedRun, prepare_run
from tasks.agent_job.run_request import AgentRunRequest
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection
from tasks.orchestrator.flow_run_states import to_state
from tasks.orchestrator.run_events import emit_run_event
from tasks.orchestrator.run_log import open_run_log
from tasks.outcome.result_building import build_refusal
from tasks.outcome.run_result import AgentRunResult
from tasks.report import publish_refusal
from tasks.run.check_request import read_run_script
from tasks.run.run_context import RunContext
from tasks.run.run_controls import CONTROLS, RunControls, RunCrashed, current_controls
from tasks.storage.result_storage import open_result_storage
from tasks.text.redaction import Redactor
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import FlowRunId


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

    Raises:
        Abort: Another process of this flow run is at work on it (Kubernetes replaces a deleted pod,
            and Prefect reschedules the run); that one will tell how it ended.
    """
    outlive_console()
    controls = current_controls()
    result = await _carry_out(request, controls)
    if controls.stepped_back:
        # The one way to end a process of a flow run without a word on the run's state.
        raise Abort(result.message)
    return to_state(result)


async def run_in_this_process(request: AgentRunRequest, controls: RunControls) -> AgentRunResult:
    """Run the flow here, surrounded by `controls`; for the command line.

    Raises:
        RunCrashed: The run ended without a verdict.
        asyncio.CancelledError: The run was left; its Job goes on.
    """
    CONTROLS.set(controls)
    return await await_verdict(cast("Any", run_agent)(request, return_state=True), controls)


async def await_verdict(running: Awaitable[State[Any]], controls: RunControls) -> AgentRunResult:
    """Return the result of a run of the flow in this process, once it has ended.

    Raises:
        RunCrashed: It ended without one.
    """
    try:
        state = await running
        told = f"{state.name}: {state.message}"
    except Abort as aborted:
        # It has stepped back, with a result that says so.
        told = str(aborted)
    if controls.result is None:
        raise RunCrashed(
            f"The run broke off without a verdict ({told}); its log in Prefect has the details, "
            "and a Job that was created is left for the next run."
        )
    return controls.result


async def _carry_out(request: AgentRunRequest, controls: RunControls) -> AgentRunResult:
    started_at = datetime.now(UTC)
    controls.flow_run_id = _flow_run_id()
    if controls.on_begin is not None:
        controls.on_begin()
    secrets: tuple[str, ...] = ()
    try:
        runtime = await load_runtime(request, controls.kubeconfig)
        secrets = runtime.secrets
        prepared = await _prepare(request, runtime)
        storage = await open_result_storage(prepared.runtime.result_storage)
        with tempfile.TemporaryDirectory(prefix="claude-jobs-") as folder:
            spool = Path(folder) / "log.jsonl"
            async with (
                open_run_log(get_run_logger(), UUID(_flow_run_id()), spool) as log,
                _connect(runtime.connection, controls) as client,
            ):
                namespace = client.resolve_namespace(prepared.runtime.namespace)
                context = RunContext(
                    prepared=prepared,
                    client=client,
                    namespace=namespace.name,
                    storage=storage,
                    controls=controls,
                    log=log,
                    secrets=runtime.secrets,
                    folder_path=Path(folder),
                )
                context.say(f"Namespace {namespace.name} ({namespace.source}).")
                result = await own_and_run(context)
    except KubeconfigInvalid as error:
        refused = AgentRunError(ErrorCode.INPUT_INVALID, error.message)
        result = await _refuse(request, refused, started_at)
    except AgentRunError as error:
        result = await _refuse(request, error, started_at)
    except ClusterError as error:
        unclear = AgentRunError(ErrorCode.JOB_STATE_MISMATCH, error.message)
        result = await _refuse(request, unclear, started_at, secrets)
    except Exception as error:
        get_run_logger().error(where_it_failed(error))
        unexpected = unexpected_failure(error, controls.job_reference)
        result = await _refuse(request, unexpected, started_at, secrets)
    if not controls.stepped_back:
        emit_run_event(result)
    controls.result = result
    return result


@asynccontextmanager
async def _connect(
    connection: ClusterConnection, controls: RunControls
) -> AsyncGenerator[ClusterClient, None]:
    """Give the fleet's client of a connection; one of its own to a run on its own."""
    if controls.fleet is not None:
        yield await controls.fleet.clusters.client(connection)
        return
    async with ClusterClient(connection) as client:
        yield client


async def _prepare(request: AgentRunRequest, runtime: RuntimeInputs) -> PreparedRun:
    return prepare_run(
        request,
        await load_agent(request),
        runtime.spec,
        flow_run_id=_flow_run_id(),
        run_script=read_run_script(),
        confidential_prompt=await load_prompt(request, runtime),
        traceparent=_traceparent(),
    )


def _traceparent() -> str | None:
    """Return the trace context that Prefect keeps for this flow run, where it traces runs."""
    context = FlowRunContext.get()
    labels = context.flow_run.labels if context is not None and context.flow_run else {}
    found = labels.get(LABELS_TRACEPARENT_KEY)
    return found if isinstance(found, str) else None


def _flow_run_id() -> FlowRunId:
    return FlowRunId(str(flow_run.id))


async def _refuse(
    request: AgentRunRequest,
    error: AgentRunError,
    started_at: datetime,
    secrets: tuple[str, ...] = (),
) -> AgentRunResult:
    agent = request.agent
    runtime = request.runtime
    result = build_refusal(
        error,
        agent_id=agent.agent_id if isinstance(agent, AgentSpec) else agent,
        flow_run_id=_flow_run_id(),
        task_id=request.task_id,
        namespace=runtime.namespace if isinstance(runtime, RuntimeSpec) else None,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        redactor=Redactor(secrets),
    )
    await publish_refusal(result)
    return result
