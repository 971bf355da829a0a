"""Stops an agent: by cancelling its run if that is alive, else as its new owner."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound as FlowRunNotFound
from prefect.states import Cancelled, Cancelling

from tasks.cluster.kinds.api_objects import Propagation
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import ClusterLook, OwnerState, Target
from tasks.operators.cluster_look import ClusterAccess
from tasks.operators.operator_decisions import (
    CancelRun,
    DeleteJobs,
    NothingToStop,
    decide_stop,
    describe_open_job,
)
from tasks.operators.operator_errors import NotDone, NotPossible
from tasks.orchestrator.prefect_api import check_prefect, explain_prefect_failure
from tasks.ownership.lease import LeaseVerdict
from tasks.ownership.orphans import owner_of
from tasks.run.job_deletion import Deletion, delete_job_when
from tasks.run.lease_keeper import LeaseKeeper
from tasks.vocabulary.names import AgentId, FlowRunId

# A run notices its cancellation within 12 s, its agent has a grace period of 20 s, and kubelets on
# busy machines have taken a minute to remove a terminated pod.
_END_SECONDS = 180.0
_LOOK_AGAIN_SECONDS = 1.0
# Holder of the Lease if no Job names a flow run.
_NO_FLOW_RUN = FlowRunId("claude-jobs-stop")

Say = Callable[[str], None]


@dataclass
class StopReport:
    """What was stopped, and how.

    Attributes:
        how: `cancelled` through Prefect, `deleted` as the new owner, or `nothing`.
        jobs: Names of the Jobs that are gone.
        pods: Names of the pods that are gone.
    """

    agent_id: AgentId
    how: str = "nothing"
    flow_run_id: FlowRunId | None = None
    flow_run_state: str | None = None
    jobs: list[str] = field(default_factory=list[str])
    pods: list[str] = field(default_factory=list[str])


async def stop_agent(
    access: ClusterAccess, before: ClusterLook, target: Target, say: Say
) -> StopReport:
    """Stop an agent with its grace period and wait until it is gone.

    Raises:
        CommandRefused: It could not be stopped, or was not seen to end.
        PrefectUnusable: Its run is alive, and could not be cancelled in Prefect.
        ClusterError: The cluster could not be read.
    """
    agent_id = target.agent_id or AgentId("")
    report = StopReport(agent_id, flow_run_id=target.flow_run_id)
    is_owned = before.owner_state(agent_id) is OwnerState.ALIVE
    if target.job is not None and before.is_over(target.job) and not is_owned:
        say(f"The agent of Job {target.job.name} has already ended; there was nothing to stop.")
        if remains := describe_open_job(before, target.job):
            say(remains)
        return report
    keeper = LeaseKeeper(
        access.client, access.namespace, agent_id, target.flow_run_id or _NO_FLOW_RUN
    )

    def say_who_is_awaited(verdict: LeaseVerdict) -> None:
        say(f"Checking whether flow run {verdict.holder_flow_run_id} is alive ...")

    async with _keeping(keeper):
        verdict = await keeper.take(asyncio.Event(), say_who_is_awaited)
        look = await access.look()
        match decide_stop(agent_id, look, verdict, held=keeper.held):
            case NothingToStop(reason):
                say(reason)
            case CancelRun(flow_run_id):
                report.how, report.flow_run_id = "cancelled", flow_run_id
                await _cancel(access, look, report, say)
            case DeleteJobs(live):
                report.how, report.flow_run_id = "deleted", owner_of(live[0])
                for job in live:
                    await _delete(access, keeper, job, say)
                await _await_end(access, look, report, say)
                await _close_flow_run(report, say)
    return report


@asynccontextmanager
async def _keeping(keeper: LeaseKeeper) -> AsyncGenerator[None, None]:
    """Renew the Lease once it is taken, and release it at the end."""
    keeping = asyncio.create_task(keeper.keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await keeper.release()


async def _delete(access: ClusterAccess, keeper: LeaseKeeper, job: JobSnapshot, say: Say) -> None:
    """Delete a Job in the foreground, which is its agent's SIGTERM."""
    deletion = await delete_job_when(
        access.client,
        access.namespace,
        job.name,
        uid=job.uid,
        # The Lease is ours: nobody else may take the Job over.
        is_right=lambda _: True,
        may_write=keeper.check_may_write,
        propagation=Propagation.FOREGROUND,
    )
    if deletion is Deletion.CHANGED:
        raise NotDone(
            f"Job {job.name} was changed each time before it could be deleted.",
            f"Run `claude-jobs stop {job.agent_id}` again.",
        )
    if deletion is Deletion.DELETED:
        say(f"No owner: deleting Job {job.name}; the agent has its grace period to end.")


async def _cancel(access: ClusterAccess, look: ClusterLook, report: StopReport, say: Say) -> None:
    flow_run_id = UUID(report.flow_run_id) if report.flow_run_id else UUID(int=0)
    await check_prefect()
    async with get_client() as client:
        try:
            await client.read_flow_run(flow_run_id)
        except FlowRunNotFound:
            raise NotPossible(
                f"Flow run {flow_run_id} owns the agent and is alive, but the Prefect API in use "
                f"({client.api_url}) does not know it.",
                "Set PREFECT_API_URL to the API that it was started with, or end its process.",
            ) from None
        await client.set_flow_run_state(
            flow_run_id, Cancelling(message="Cancelled by `claude-jobs stop`.")
        )
        say(f"Flow run {flow_run_id} is being cancelled; its agent has its grace period to end.")
        await _await_end(access, look, report, say)
        async with _bounded(f"Flow run {flow_run_id} has not ended yet."):
            report.flow_run_state = await _await_final_state(client, flow_run_id)
        say(f"Flow run {flow_run_id} has ended: {report.flow_run_state}.")


async def _await_final_state(client: PrefectClient, flow_run_id: UUID) -> str | None:
    while True:
        found = await client.read_flow_run(flow_run_id)
        if found.state is not None and found.state.is_final():
            return found.state_name
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _await_end(
    access: ClusterAccess, before: ClusterLook, report: StopReport, say: Say
) -> None:
    """Wait until the agent's Jobs and pods are gone, or have ended and are kept."""
    jobs = [
        job for job in before.jobs if job.agent_id == report.agent_id and not before.is_over(job)
    ]
    pods = [pod for job in jobs for pod in before.pods_of(job)]
    names = ", ".join(job.name for job in jobs)
    async with _bounded(f"Job {names} still exists."):
        while jobs or pods:
            look = await access.look()
            jobs_there = {job.uid: job for job in look.jobs}
            pods_there = {pod.uid: pod for pod in look.pods}
            for pod in [pod for pod in pods if pod.uid not in pods_there]:
                pods.remove(pod)
                report.pods.append(pod.name)
                say(f"Pod {pod.name} is gone.")
            for job in [job for job in jobs if job.uid not in jobs_there]:
                jobs.remove(job)
                report.jobs.append(job.name)
                say(f"Job {job.name} is gone.")
            # If the agent ended before its cancellation, the keep policy decides about both.
            jobs = [job for job in jobs if not _is_kept(look, jobs_there[job.uid])]
            pods = [pod for pod in pods if jobs or not pods_there[pod.uid].agent_ended]
            if jobs or pods:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _is_kept(look: ClusterLook, job: JobSnapshot) -> bool:
    return look.is_over(job) and not job.deleting


@asynccontextmanager
async def _bounded(what: str) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(_END_SECONDS):
            yield
    except TimeoutError:
        raise NotDone(
            f"{what} This was requested {_END_SECONDS:.0f} s ago.",
            "`claude-jobs ls` shows its state; a node that does not answer keeps its pods.",
        ) from None


async def _close_flow_run(report: StopReport, say: Say) -> None:
    """Mark the run as cancelled in Prefect, since its process no longer exists."""
    try:
        flow_run_id = UUID(report.flow_run_id or "")
        await check_prefect()
        async with get_client() as client:
            found = await client.read_flow_run(flow_run_id)
            if found.state is None or not found.state.is_final():
                message = "Stopped by `claude-jobs stop`; the run had no process any more."
                await client.set_flow_run_state(flow_run_id, Cancelled(message=message), force=True)
                say(f"Flow run {flow_run_id} is now marked as cancelled.")
            report.flow_run_state = (await client.read_flow_run(flow_run_id)).state_name
    except (FlowRunNotFound, ValueError):
        say("The Prefect API in use does not know the flow run; nothing was changed there.")
    except Exception as error:
        # The agent is gone, which is what was asked for.
        unusable = explain_prefect_failure(error)
        if unusable is None:
            raise
        say(f"The flow run was not marked as cancelled: {unusable.message}")
