"""Deletes the Jobs of a cancelled run if its own process could not."""

import asyncio
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.run.inputs import load_agent, load_runtime
from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.kinds.api_objects import Propagation
from tasks.cluster.kinds.jobs import list_jobs
from tasks.cluster.kinds.read_only import list_pods
from tasks.observation.beside_agent import is_over
from tasks.observation.snapshots import JobSnapshot, jobs_from_api, pods_from_api
from tasks.orchestrator.flow_run_states import read_whether_cancelled
from tasks.ownership.orphans import owner_of
from tasks.run.job_deletion import Deletion, delete_job_when
from tasks.vocabulary.names import AgentId, FlowRunId, agent_selector, job_pods_selector

# The runner sets the final state only after its hooks.
_HOOK_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 1.0


async def delete_jobs_of_cancelled_run(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> None:
    """Delete the Jobs of a cancelled run whose agent may be at work, in case the run did not.

    Prefect also calls this without a cancellation, for example when the process that serves the
    flow shuts down. So only the state in the API counts, not the state that is passed in.

    Raises:
        Exception: The API or the cluster could not be read; Prefect logs it on the run.
    """
    del state
    logger = flow_run_logger(flow_run, flow)
    async with asyncio.timeout(_HOOK_SECONDS):
        # The run's process is gone, so there is time to ask a busy API again.
        while (cancelled := await read_whether_cancelled(flow_run.id)) is None:
            logger.warning("The run's state could not be read; trying again.")
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        if not cancelled:
            return
        request = parse_request((flow_run.parameters or {})["request"])
        deleted = await _delete_jobs(request, FlowRunId(str(flow_run.id)))
    if deleted:
        logger.warning(f"The cancelled run left {', '.join(deleted)}, which is now being deleted.")


async def _delete_jobs(request: AgentRunRequest, flow_run_id: FlowRunId) -> list[str]:
    runtime = await load_runtime(request, None)
    agent = await load_agent(request)
    selector = agent_selector(AgentId(agent.agent_id))
    deleted: list[str] = []
    async with ClusterClient(runtime.connection) as client:
        namespace = client.resolve_namespace(runtime.spec.namespace).name
        found = await list_jobs(client, namespace, label_selector=selector)

        async def is_left(job: JobSnapshot) -> bool:
            # Another run may have taken it over.
            if owner_of(job) != flow_run_id or job.over or job.deleting:
                return False
            pods = await list_pods(client, namespace, label_selector=job_pods_selector(job.name))
            own = [pod for pod in pods_from_api(pods.items) if pod.job_uid == job.uid]
            return not is_over(job, own)

        for job in jobs_from_api(found.items):
            if not await is_left(job):
                continue
            deletion = await delete_job_when(
                client,
                namespace,
                job.name,
                uid=job.uid,
                is_right=is_left,
                propagation=Propagation.FOREGROUND,
            )
            if deletion is Deletion.DELETED:
                deleted.append(f"Job {namespace}/{job.name}")
    return deleted
