"""`preflight`: checks whether a run is possible, and what is missing, before it costs anything."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.run.inputs import RuntimeInputs, load_agent, load_prompt, load_runtime
from tasks.agent_job.needed_permissions import (
    PREFLIGHT_PERMISSIONS,
    RUN_PERMISSIONS,
    SWEEP_PERMISSIONS,
)
from tasks.agent_job.prepared_run import PreparedRun, prepare_run
from tasks.agent_job.run_request import AgentRunRequest, parse_parameter
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.orchestrator.artifacts import publish_markdown, publish_table
from tasks.orchestrator.prefect_api import check_prefect
from tasks.preflight.cluster_checks import judge_cluster
from tasks.preflight.prefect_facts import read_prefect
from tasks.preflight.preflight_facts import ClusterFacts, PreflightConfig
from tasks.preflight.preflight_reads import Wanted, read_cluster, read_storage
from tasks.preflight.preflight_results import (
    Check,
    CheckResult,
    Level,
    PreflightReport,
    build_preflight_report,
    build_preflight_table,
    build_role,
    error,
    ok,
    render_pod,
)
from tasks.preflight.surroundings_checks import judge_prefect, judge_retention, judge_storage
from tasks.publishing.publish_failures import PublishFailed
from tasks.publishing.push_trial import try_to_publish
from tasks.run.check_request import read_keeper_script, read_run_script
from tasks.run.publish_credentials import load_publish_credentials
from tasks.storage.result_storage import open_result_storage
from tasks.vocabulary.errors import InputInvalid, PrefectUnusable
from tasks.vocabulary.names import FlowRunId
from tasks.work.restricted_git import GitMissing

TABLE_KEY = "preflight"
ROLES_KEY = "preflight-roles"
POD_KEY = "preflight-pod"
_PUBLISH_SECONDS = 15.0
# Stands in for the flow run that does not exist yet; as long as any flow run id.
_NO_FLOW_RUN = FlowRunId(str(UUID(int=0)))


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _is_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


@dataclass(frozen=True)
class Surroundings:
    """What some checks need to know about this process.

    Attributes:
        kubeconfig: Kubeconfig to use instead of the runtime's cluster credentials.
        own_now: The clock of this machine.
        in_pod: Whether this process runs in a pod.
    """

    kubeconfig: Path | None = None
    own_now: Callable[[], datetime] = _utc_now
    in_pod: bool = field(default_factory=_is_pod)


@flow(
    name="preflight",
    description="Checks whether an agent can run, and reports what is missing.",
    # The body parses them, so that it can say what is wrong.
    validate_parameters=False,
)
async def preflight(config: PreflightConfig) -> State[dict[str, object]]:
    """Check everything that a run needs.

    Args:
        config: The run to check.

    Returns:
        Completed, or Failed if the run would fail; its data is the `PreflightReport`.
    """
    logger = get_run_logger()
    try:
        config = parse_parameter(PreflightConfig, config, "preflight configuration")
    except InputInvalid as failure:
        return Failed(name="Invalid input", message=failure.message)
    report, namespace = await check_surroundings(config, Surroundings())
    for result in report.results:
        if result.level is not Level.OK:
            logger.warning("%s: %s %s", result.check, result.finding, result.advice)
    try:
        table = build_preflight_table(report)
        await publish_table(TABLE_KEY, table, report.summary, seconds=_PUBLISH_SECONDS)
        await publish_markdown(
            ROLES_KEY,
            describe_roles(namespace or "claude-jobs"),
            "Roles that runs, preflights and sweeps need",
            seconds=_PUBLISH_SECONDS,
        )
        if report.pod is not None:
            await publish_markdown(
                POD_KEY,
                f"```yaml\n{render_pod(report.pod)}```\n",
                "The agent's pod, with the runtime's pod_template and the cluster's changes",
                seconds=_PUBLISH_SECONDS,
            )
    except Exception as failure:
        logger.warning("The findings could not be published (%s).", type(failure).__name__)
    data = report.model_dump(mode="json")
    if report.errors:
        return Failed(name="Not ready", message=report.summary, data=data)
    return Completed(message=report.summary, data=data)


async def check_surroundings(
    config: PreflightConfig, surroundings: Surroundings
) -> tuple[PreflightReport, str | None]:
    """Make every check, even if others fail.

    Args:
        config: The run to check.
        surroundings: What some checks need to know about this process.

    Returns:
        All findings, and the namespace of the agents if it is known.
    """
    results: list[CheckResult] = judge_prefect(await read_prefect())
    facts: ClusterFacts | None = None
    loaded = await _load(config.request, surroundings.kubeconfig)
    results += loaded.results
    if loaded.runtime is not None:
        runtime = loaded.runtime.spec
        results.append(judge_retention(runtime, config.longest_outage_seconds))
        results.append(await _check_storage(runtime, surroundings))
        results += await _check_push(loaded)
        try:
            facts = await _look(loaded.runtime, loaded, surroundings)
            results += judge_cluster(facts, loaded.agent, runtime)
        except ClusterError as failure:
            results.append(error(Check.CLUSTER, failure.message, "Correct the kubeconfig."))
    if facts is None:
        return build_preflight_report(results), None
    return build_preflight_report(results, facts.shown_pod), facts.namespace


def describe_roles(namespace: str) -> str:
    """Return a Markdown page with the Roles that grant exactly what is used."""
    roles = (
        ("flow-run", "Runs and their cancellation hook", RUN_PERMISSIONS),
        ("preflight", "Preflights, in addition to the Role of runs", PREFLIGHT_PERMISSIONS),
        ("sweep", "Sweeps", SWEEP_PERMISSIONS),
    )
    return "\n".join(
        f"## {title}\n\n```yaml\n{build_role(name, namespace, permissions)}```\n"
        for name, title, permissions in roles
    )


@dataclass(frozen=True)
class _Loaded:
    """What the request refers to; `None` for what could not be loaded."""

    runtime: RuntimeInputs | None
    agent: AgentSpec | None
    prepared: PreparedRun | None
    results: list[CheckResult]


async def _load(request: AgentRunRequest, kubeconfig: Path | None) -> _Loaded:
    runtime: RuntimeInputs | None = None
    agent: AgentSpec | None = None
    prepared: PreparedRun | None = None
    problems: list[str] = []
    if request.names_block:
        try:
            await check_prefect()
        except PrefectUnusable as failure:
            problem = f"The blocks of the request cannot be read: {failure.message}"
            return _Loaded(None, None, None, [error(Check.REQUEST, problem, failure.advice)])
    try:
        runtime = await load_runtime(request, kubeconfig)
    except (InputInvalid, ClusterError) as failure:
        problems.append(failure.message)
    try:
        agent = await load_agent(request)
        if runtime is not None:
            prepared = prepare_run(
                request,
                agent,
                runtime.spec,
                flow_run_id=_NO_FLOW_RUN,
                run_script=read_run_script(),
                keeper_script=read_keeper_script(),
                confidential_prompt=await load_prompt(request, runtime),
            )
    except (InputInvalid, ClusterError) as failure:
        problems.append(failure.message)
    if not problems:
        return _Loaded(runtime, agent, prepared, [ok(Check.REQUEST, "The request is complete.")])
    advice = "Correct the request or the block that it names."
    return _Loaded(
        runtime, agent, prepared, [error(Check.REQUEST, problem, advice) for problem in problems]
    )


async def _look(
    runtime: RuntimeInputs, loaded: _Loaded, surroundings: Surroundings
) -> ClusterFacts:
    wanted = Wanted(str(runtime.connection), runtime.spec, loaded.agent, loaded.prepared)
    async with ClusterClient(runtime.connection) as client:
        return await read_cluster(client, wanted, surroundings.own_now)


async def _check_storage(runtime: RuntimeSpec, surroundings: Surroundings) -> CheckResult:
    try:
        storage = await open_result_storage(runtime.result_storage)
    except InputInvalid as failure:
        return error(
            Check.RESULT_STORAGE, failure.message, "Correct the runtime's `result_storage`."
        )
    return judge_storage(await read_storage(storage, in_pod=surroundings.in_pod))


async def _check_push(loaded: _Loaded) -> list[CheckResult]:
    """Try to push, where the run would publish its work."""
    runtime, prepared = loaded.runtime, loaded.prepared
    plan = prepared.publish_plan if prepared is not None else None
    publish = runtime.spec.publish if runtime is not None else None
    if runtime is None or plan is None or publish is None:
        return []
    try:
        async with ClusterClient(runtime.connection) as client:
            namespace = client.resolve_namespace(runtime.spec.namespace).name
            credentials = await load_publish_credentials(client, namespace, publish)
        with TemporaryDirectory(prefix="claude-jobs-") as folder:
            await try_to_publish(plan, publish, credentials, Path(folder))
    except PublishFailed as failure:
        return [error(Check.PUSH, f"The work could not be pushed: {failure}", failure.advice)]
    except (GitMissing, ClusterError) as failure:
        return [error(Check.PUSH, str(failure), "Correct that where the flow runs.")]
    return [ok(Check.PUSH, f"Work can be pushed to branch {plan.branch} of {plan.remote}.")]
