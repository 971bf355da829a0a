"""Opens a run: checks its request, reads its blocks and makes its connections."""

import logging
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from logging import LoggerAdapter
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError
from prefect.runtime import flow_run
from prefect.telemetry.run_telemetry import LABELS_TRACEPARENT_KEY

from flows.run.inputs import load_agent, load_prompt, load_runtime
from flows.run.naming import name_run
from tasks.agent_job.prepared_run import prepare_run
from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tasks.orchestrator.run_log import open_run_log
from tasks.run.agent_run import AgentRun, Connections, RunDiary
from tasks.run.check_request import read_keeper_script, read_run_script
from tasks.run.lease_keeper import LeaseKeeper
from tasks.run.run_controls import RunControls
from tasks.storage.result_storage import open_result_storage
from tasks.text.redaction import Redactor
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId, FlowRunId
from tasks.work.restricted_git import GitMissing, find_git


@asynccontextmanager
async def open_run(asked: object, controls: RunControls) -> AsyncGenerator[AgentRun, None]:
    """Check the request, and connect to the cluster, the result storage and the run's log.

    Nothing is created. If this raises, `controls` has what was learned until then.

    Raises:
        InputInvalid: The request, a block or a Secret is wrong.
        KubeconfigInvalid: The cluster's kubeconfig is wrong.
    """
    flow_run_id = controls.flow_run_id = FlowRunId(str(flow_run.id))
    if controls.on_begin is not None:
        controls.on_begin()
    request = asked if isinstance(asked, AgentRunRequest) else parse_request(asked)
    agent = await load_agent(request)
    controls.agent_id = AgentId(agent.agent_id)
    runtime = await load_runtime(request, controls.kubeconfig)
    controls.redactor = Redactor(runtime.secrets)
    await name_run(request, agent, controls)
    prepared = prepare_run(
        request,
        agent,
        runtime.spec,
        flow_run_id=flow_run_id,
        run_script=read_run_script(),
        keeper_script=read_keeper_script(),
        confidential_prompt=await load_prompt(request, runtime),
        traceparent=_traceparent(),
    )
    if prepared.collects_work:
        _require_git()
    storage = await open_result_storage(prepared.runtime.result_storage)
    with tempfile.TemporaryDirectory(prefix="claude-jobs-") as folder:
        spool = Path(folder) / "log.jsonl"
        async with (
            open_run_log(run_logger(), UUID(flow_run_id), spool) as log,
            _connect(runtime.connection, controls) as client,
        ):
            namespace = client.resolve_namespace(prepared.runtime.namespace)
            of_check = prepared.check.env.values() if prepared.check else ()
            diary = RunDiary(log, controls, (*runtime.secrets, *of_check))
            diary.say(f"Namespace {namespace.name} ({namespace.source}).")
            outside = Connections(
                client=client,
                namespace=namespace.name,
                storage=storage,
                lease=LeaseKeeper(client, namespace.name, prepared.agent_id, flow_run_id),
                controls=controls,
                diary=diary,
                log=log,
                folder_path=Path(folder),
            )
            yield AgentRun.begin(prepared, outside)


def _require_git() -> None:
    """Refuse a run whose work could not be checked once it has been paid for."""
    try:
        find_git()
    except GitMissing as error:
        raise InputInvalid(
            f"The agent's work cannot be collected: {error} Install it there, or set deliver to "
            "none."
        ) from error


@asynccontextmanager
async def _connect(
    connection: ClusterConnection, controls: RunControls
) -> AsyncGenerator[ClusterClient, None]:
    """Yield the fleet's client for a connection, or a new one for a run that is in no fleet."""
    if controls.fleet is not None:
        yield await controls.fleet.clusters.client(connection)
        return
    async with ClusterClient(connection) as client:
        yield client


def run_logger() -> "logging.Logger | LoggerAdapter[logging.Logger]":
    """Return the flow run's logger; Python's own if the flow's function runs without Prefect."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("claude-jobs")


def _traceparent() -> str | None:
    """Return the trace context that Prefect keeps for this flow run, if it traces runs."""
    context = FlowRunContext.get()
    labels = context.flow_run.labels if context is not None and context.flow_run else {}
    found = labels.get(LABELS_TRACEPARENT_KEY)
    return found if isinstance(found, str) else None
