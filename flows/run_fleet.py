"""`run_fleet`: many agents from one process, each as its own flow run."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_RETRY_EXTRA_CODES, temporary_settings
from prefect.states import Cancelled, Completed, Failed

from flows.run.agents_shown import keep_fleet_shown, show_fleet
from flows.run.beside import TasksBeside
from flows.run.inputs import RuntimeInputs, load_agent, load_runtime
from flows.run.run_process import cancelled_by_sigterm, outlive_console
from flows.run_agent import run_in_this_process
from tasks.agent_job.run_request import AgentRunRequest, parse_parameter
from tasks.cluster.cluster_errors import KubeconfigInvalid
from tasks.cluster.connection import ClusterAddress
from tasks.cluster.watching.shared_clusters import SharedClusters, SharedJobFeed
from tasks.fleet.fleet_request import (
    FleetMember,
    FleetReport,
    FleetRequest,
    build_fleet_report,
    build_fleet_table,
    check_members,
)
from tasks.fleet.fleet_runs import FleetRuns, PlannedRun
from tasks.orchestrator.artifacts import publish_table
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import MANAGED_SELECTOR, FlowRunId

ARTIFACT_KEY = "run-fleet"
_PUBLISH_SECONDS = 15.0
# Answers of the API when its database, or a proxy in front of it, is overloaded.
_BUSY_CODES = frozenset({500, 504})


@flow(
    name="run-fleet",
    description="Runs many Claude Code agents from one process, each as its own flow run.",
    persist_result=True,
    result_serializer="json",
    # The body parses them, so that it can say what is wrong.
    validate_parameters=False,
)
async def run_fleet(request: FleetRequest) -> State[dict[str, object]]:
    """Run many agents, a limited number at a time; the failure of one does not stop the others.

    Args:
        request: The runs, and how many may work at the same time.

    Returns:
        Completed if all runs succeeded, Cancelled, or Failed. Its data is the `FleetReport`.

    Raises:
        asyncio.CancelledError: The process was told to stop, but the fleet was not cancelled. Jobs
            at work are left to the next runs of their agents.
    """
    outlive_console()
    async with SharedClusters(MANAGED_SELECTOR) as clusters:
        try:
            request = parse_parameter(FleetRequest, request, "fleet request")
            planned = await plan_fleet(request, clusters)
        except InputInvalid as error:
            return Failed(name="Invalid input", message=error.message)
        runs = FleetRuns(
            planned,
            clusters,
            FlowRunId(str(flow_run.id)),
            run_in_this_process,
            max_concurrent=request.max_concurrent,
        )
        try:
            with cancelled_by_sigterm(), _patient_with_prefect():
                async with TasksBeside() as beside:
                    beside.start(keep_fleet_shown(clusters))
                    await runs.run()
                await show_fleet(clusters)
        except (asyncio.CancelledError, TerminationSignal):
            await runs.end()
            if not runs.cancelled:
                raise
    members = [run.member for run in planned]
    report = build_fleet_report(members)
    await _publish(members, report)
    return _to_state(report, cancelled=runs.cancelled)


@contextmanager
def _patient_with_prefect() -> Generator[None, None, None]:
    """Let Prefect's client also retry after 500 and 504, as often as its settings say.

    By itself it retries after 429, 502 and 503. A request answered with 500 or 504 was normally not
    carried out; if it was, a flow run may exist twice, and one of the two never starts.
    """
    codes = PREFECT_CLIENT_RETRY_EXTRA_CODES.value() | _BUSY_CODES
    with temporary_settings({PREFECT_CLIENT_RETRY_EXTRA_CODES: codes}):
        yield


@dataclass(frozen=True)
class _Place:
    cluster: ClusterAddress
    namespace: str
    feed: SharedJobFeed


async def plan_fleet(request: FleetRequest, clusters: SharedClusters) -> list[PlannedRun]:
    """Resolve the agent, cluster and namespace of each run. Each runtime is read once.

    Raises:
        InputInvalid: A block is missing or invalid, or an agent occurs twice.
    """
    places: dict[str, _Place] = {}
    planned: list[PlannedRun] = []
    keys: list[tuple[ClusterAddress, str, str]] = []
    for asked in request.requests:
        agent_id = (await load_agent(asked)).agent_id
        name = asked.runtime if isinstance(asked.runtime, str) else asked.runtime.model_dump_json()
        if name not in places:
            places[name] = await _find_place(asked, clusters)
        place = places[name]
        keys.append((place.cluster, place.namespace, agent_id))
        planned.append(PlannedRun(asked, FleetMember(agent_id, place.namespace), place.feed))
    check_members(keys)
    return planned


async def _find_place(asked: AgentRunRequest, clusters: SharedClusters) -> _Place:
    runtime: RuntimeInputs = await load_runtime(asked, None)
    try:
        client = await clusters.client(runtime.connection)
        cluster = client.address
    except KubeconfigInvalid as error:
        raise InputInvalid(error.message) from error
    namespace = client.resolve_namespace(runtime.spec.namespace).name
    return _Place(cluster, namespace, clusters.feed(client, namespace))


async def _publish(members: list[FleetMember], report: FleetReport) -> None:
    try:
        await publish_table(
            ARTIFACT_KEY, build_fleet_table(members), report.summary, seconds=_PUBLISH_SECONDS
        )
    except Exception as error:
        get_run_logger().warning(f"The table could not be published ({type(error).__name__}).")


def _to_state(report: FleetReport, *, cancelled: bool) -> State[dict[str, object]]:
    data = report.model_dump(mode="json")
    if cancelled:
        return Cancelled(message=report.summary, data=data)
    if report.all_succeeded:
        return Completed(message=report.summary, data=data)
    return Failed(name="Runs failed", message=report.summary, data=data)
