"""`sweep_orphans`: finds what runs have left without an owner, and removes it by policy."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.run.inputs import load_runtime_block
from tasks.agent_job.run_request import parse_parameter
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.connection import ClusterConnection
from tasks.operators.agents_page import update_agents_page
from tasks.operators.cluster_look import ClusterAccess
from tasks.orchestrator.artifacts import publish_table
from tasks.ownership.lease import is_held
from tasks.run.check_request import find_cluster, read_run_script
from tasks.sweep.flow_run_records import ask_for_heartbeats, read_flow_run_records
from tasks.sweep.sweep_actions import Sweeper
from tasks.sweep.sweep_config import SweepConfig
from tasks.sweep.sweep_lists import list_namespace
from tasks.sweep.sweep_objects import (
    NamespaceContents,
    SweepAges,
    SweptObject,
    find_swept_objects,
    named_flow_runs,
)
from tasks.sweep.sweep_report import (
    Outcome,
    SweepReport,
    SweptRow,
    build_sweep_event,
    build_sweep_report,
    build_sweep_table,
)
from tasks.sweep.sweep_rules import Finding, SweepAction, SweepVerdict, judge_object
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import FlowRunId

ARTIFACT_KEY = "sweep-orphans"
_PUBLISH_SECONDS = 15.0
_DEFAULTS = SweepConfig()


@dataclass
class Sweep:
    """The findings of a sweep.

    Attributes:
        problems: What could not be checked, as sentences.
        requests: Number of requests to Kubernetes, by verb and resource.
    """

    rows: list[SweptRow] = field(default_factory=list[SweptRow])
    problems: list[str] = field(default_factory=list[str])
    namespaces: list[str] = field(default_factory=list[str])
    requests: Counter[str] = field(default_factory=Counter[str])


@flow(
    name="sweep-orphans",
    description="Finds agents, Secrets and Leases that no longer belong to a run.",
    # The body parses them, so that it can say what is wrong.
    validate_parameters=False,
)
async def sweep_orphans(config: SweepConfig = _DEFAULTS) -> State[dict[str, object]]:
    """Check everything that runs have left, and handle it as the policy says.

    Args:
        config: Namespaces to check, and what may be changed; by default nothing.

    Returns:
        Completed, or Failed if something needs a person; its data is the `SweepReport`.
    """
    logger = get_run_logger()
    try:
        config = parse_parameter(SweepConfig, config, "sweep configuration")
        connection, namespaces = await _load_cluster(config)
    except InputInvalid as error:
        return Failed(name="Invalid input", message=error.message)
    sweep = await sweep_cluster(
        config, connection, namespaces, FlowRunId(str(flow_run.id)), logger.info
    )
    report = build_sweep_report(
        sweep.rows,
        namespaces=sweep.namespaces,
        dry_run=config.dry_run,
        problems=sweep.problems,
        kubernetes_requests=sweep.requests.total(),
    )
    await _publish(sweep.rows, report, logger.warning)
    await _show_agents(connection, sweep.namespaces)
    return _to_state(report)


async def sweep_cluster(
    config: SweepConfig,
    connection: ClusterConnection,
    namespaces: tuple[str | None, ...],
    flow_run_id: FlowRunId,
    say: Callable[[str], None],
) -> Sweep:
    """Sweep namespaces one by one; a namespace that cannot be listed does not stop the others.

    Args:
        config: What may be changed.
        connection: The cluster.
        namespaces: Namespaces to check; `None` is the connection's own.
        flow_run_id: The flow run that becomes the holder of Leases.
        say: Receives one sentence for each change.
    """
    ages = SweepAges(
        timedelta(seconds=config.minimum_age_seconds), timedelta(days=config.idle_lease_days)
    )
    sweep = Sweep()
    async with ClusterClient(connection) as client:
        sweeper = Sweeper(client, flow_run_id, config.policy, ages, read_run_script())
        for given in namespaces:
            namespace = client.resolve_namespace(given).name
            sweep.namespaces.append(namespace)
            try:
                contents = await list_namespace(client, namespace)
            except ClusterError as error:
                sweep.problems.append(f"Namespace {namespace} was not swept: {error.message}")
                continue
            for swept, verdict in await _judge(contents, config, ages):
                row = await _answer(swept, verdict, sweeper, config, sweep.rows)
                sweep.rows.append(row)
                if row.outcome is not Outcome.NONE:
                    say(_sentence(row))
        sweep.requests = client.requests
    return sweep


async def _show_agents(connection: ClusterConnection, namespaces: list[str]) -> None:
    """Bring the tables of all agents up to date; a namespace that cannot be read keeps its own."""
    async with ClusterClient(connection) as client:
        for namespace in namespaces:
            await update_agents_page(ClusterAccess(client, namespace), seconds=_PUBLISH_SECONDS)


async def _load_cluster(config: SweepConfig) -> tuple[ClusterConnection, tuple[str | None, ...]]:
    if config.runtime is None:
        return find_cluster(None), config.namespaces or (None,)
    inputs = await load_runtime_block(config.runtime, None)
    return inputs.connection, config.namespaces or (inputs.spec.namespace,)


async def _judge(
    contents: NamespaceContents, config: SweepConfig, ages: SweepAges
) -> list[tuple[SweptObject, SweepVerdict]]:
    named = named_flow_runs(contents)
    now = contents.server_now
    held = {lease.agent_id for lease in contents.leases if is_held(lease, now)}
    unowned = [run for run, agent_id in named.items() if agent_id not in held]
    records = await ask_for_heartbeats(await read_flow_run_records(named), unowned)
    judged = [
        (swept, judge_object(swept.facts, config.policy))
        for swept in find_swept_objects(contents, records, ages)
    ]
    findings = list(Finding)
    # Agents at work come first, and flow runs after their Jobs.
    return sorted(judged, key=lambda one: (findings.index(one[1].finding), one[0].name))


async def _answer(
    swept: SweptObject,
    verdict: SweepVerdict,
    sweeper: Sweeper,
    config: SweepConfig,
    before: list[SweptRow],
) -> SweptRow:
    if verdict.action is SweepAction.NONE:
        return SweptRow(swept, verdict, Outcome.NONE)
    if verdict.action is SweepAction.REPORT:
        return SweptRow(swept, verdict, Outcome.REPORTED)
    if config.dry_run:
        return SweptRow(swept, verdict, Outcome.DRY_RUN)
    used = sum(row.outcome in {Outcome.DONE, Outcome.FAILED} for row in before)
    if used >= config.max_actions:
        return SweptRow(swept, verdict, Outcome.OVER_LIMIT)
    return await sweeper.carry_out(swept, verdict)


def _sentence(row: SweptRow) -> str:
    swept = row.swept
    note = f" {row.note}" if row.note else ""
    action = row.verdict.action.replace("_", " ")
    return (
        f"{swept.kind} {swept.namespace}/{swept.name}: {row.reason} – {action}, "
        f"{row.outcome}.{note}"
    )


async def _publish(rows: list[SweptRow], report: SweepReport, warn: Callable[[str], None]) -> None:
    table, left_out = build_sweep_table(rows)
    more = f" {left_out} more rows are left out." if left_out else ""
    try:
        await publish_table(
            ARTIFACT_KEY, table, f"{report.summary}{more}", seconds=_PUBLISH_SECONDS
        )
        for event in filter(None, map(build_sweep_event, rows)):
            emit_event(event.name, resource=event.resource, payload=event.payload)
    except Exception as error:
        warn(f"The sweep's table or events could not be published ({type(error).__name__}).")


def _to_state(report: SweepReport) -> State[dict[str, object]]:
    data = report.model_dump(mode="json")
    if report.problems:
        return Failed(name="Sweep incomplete", message=report.summary, data=data)
    if report.needs_person:
        return Failed(name="Orphans found", message=report.summary, data=data)
    return Completed(message=report.summary, data=data)
