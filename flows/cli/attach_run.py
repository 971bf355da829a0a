"""Takes over a Job that has no owner, by continuing its flow run in this process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow_async
from prefect.states import Pending

from flows.run.verdicts import await_verdict
from flows.run_agent import run_agent
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.cluster_look import open_cluster, watch_lease
from tasks.operators.operator_decisions import check_attachable
from tasks.operators.operator_errors import NotPossible, require_target
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.orphans import owner_of
from tasks.run.run_controls import CONTROLS, RunControls
from tasks.vocabulary.names import AgentId


@dataclass(frozen=True)
class AttachRequest:
    """The Job to take over.

    Attributes:
        name: Name of the agent, the flow run or the Job.
    """

    name: str
    namespace: str | None
    kubeconfig: Path | None


async def attach_in_this_process(request: AttachRequest, controls: RunControls) -> AgentRunResult:
    """Continue the flow run that owns a Job in this process, with `controls`.

    First waits until it is known whether the owner is alive, at most for the duration of its Lease.
    The guard of the run decides again and takes the Lease.

    Raises:
        CommandRefused: The Job cannot be taken over; nothing was changed.
        ClusterError: The cluster could not be read.
        RunCrashed: The run ended without a verdict.
        asyncio.CancelledError: The run was left; its Job continues.
    """
    flow_run = await _prepare(request)
    CONTROLS.set(controls)
    running: Any = run_flow_async(
        flow=cast("Any", run_agent),
        flow_run=flow_run,
        parameters=flow_run.parameters,
        return_type="state",
    )
    return await await_verdict(running, controls)


async def _prepare(request: AttachRequest) -> FlowRun:
    async with open_cluster(request.kubeconfig, request.namespace) as access:
        job = _require_job(require_target(await access.look(), request.name).job, request.name)
        verdict = await watch_lease(access, AgentId(job.agent_id or ""))
        # Somebody may have taken it over or stopped it in the meantime.
        job = _require_job(require_target(await access.look(), request.name).job, request.name)
    async with get_client() as client:
        owner, found = owner_of(job), None
        try:
            found = await client.read_flow_run(UUID(owner)) if owner is not None else None
        except (ObjectNotFound, ValueError):
            found = None
        state = found.state_type.value if found is not None and found.state_type else None
        flow_run_id = check_attachable(job, verdict, state, str(client.api_url))
        # Not Scheduled, because then a worker of its work pool would start it.
        await client.set_flow_run_state(
            UUID(flow_run_id),
            Pending(name="Reattaching", message="Taken over by `claude-jobs attach`."),
            force=True,
        )
        return await client.read_flow_run(UUID(flow_run_id))


def _require_job(job: JobSnapshot | None, name: str) -> JobSnapshot:
    if job is None:
        raise NotPossible(
            f"Agent {name} has no Job; there is nothing to attach to.",
            "Run its request with `claude-jobs run`, or its deployment.",
        )
    return job
