"""A Job put to work: observed, abandoned if its agent cannot start, its last output drained."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flows.run.agents_shown import show_agents_beside
from flows.run.beside import TasksBeside
from flows.run.naming import name_attempt
from tasks.agent_job.publish_settings import read_plan
from tasks.cluster.watching.job_observer import JobObserver
from tasks.collection import leave_work
from tasks.log_following.log_follower import FollowedLog
from tasks.observation.snapshots import JobSnapshot
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, SecretFate
from tasks.run.ended_attempt import CollectedWork, EndedAttempt
from tasks.run.lease_keeper import LeaseLost
from tasks.secret import abandon_unstarted
from tasks.vocabulary.errors import AgentRunError

# Added to the Job's own deadline, which is later than the agent's.
_FLOW_MARGIN_SECONDS = 60.0
# After the agent's end the last lines come within seconds, but the API may be away for a while.
_DRAIN_SECONDS = 300.0
# Of a cancelled run: its pod goes when its grace is over.
_COLLECT_CANCELLED_SECONDS = 20.0


def put_to_work(
    run: AgentRun,
    job: JobSnapshot,
    beside: TasksBeside,
    *,
    secret_fate: SecretFate = SecretFate.UNKNOWN,
) -> AttemptAtWork:
    """Start to observe a Job, and note it as the one at work in this process.

    Args:
        run: In whose name the Job is at work.
        job: Created here, or taken over.
        beside: Runs the observer.
        secret_fate: `WITHHELD` only for a Job that this attempt has created.
    """
    fleet, outside = run.outside.controls.fleet, run.outside
    flow_run_id = run.prepared.flow_run_id
    observer = JobObserver(
        outside.client,
        namespace=outside.namespace,
        job_name=job.name,
        job_uid=job.uid,
        feed=fleet.clusters.feed(outside.client, outside.namespace) if fleet else None,
    )
    beside.start(observer.run())
    beside.start(name_attempt(run, job))
    is_own = job.flow_run_id in {None, flow_run_id}
    work = AttemptAtWork(
        run=run,
        job_name=job.name,
        job_uid=job.uid,
        namespace=outside.namespace,
        flow_run_id=job.flow_run_id or flow_run_id,
        number=job.attempt or 1,
        observer=observer,
        spool=outside.folder_path / f"{job.uid}.jsonl",
        storage_folder=run.storage_owner.attempt_of(flow_run_id, job).path,
        resumed=job.session_id is not None,
        records=outside.log.new_buffer(),
        created_at=job.created_at or datetime.now(UTC),
        deadline_at=_deadline_at(run, job),
        secret_fate=secret_fate,
        check_timeout_seconds=job.check_timeout_seconds,
        keeps_work=job.keeps_work,
        publish_plan=read_plan(job.publish),
    )
    outside.controls.at_work = work
    beside.start(show_agents_beside(run, work))
    if not is_own:
        outside.say(
            f"Took over Job {job.name} of flow run {job.flow_run_id}: its agent works on the "
            "prompt of that run, not of this one."
        )
    return work


def _deadline_at(run: AgentRun, job: JobSnapshot) -> float:
    """Return when the run itself gives up, after the Job's deadline; on the monotonic clock."""
    deadline_seconds = job.deadline_seconds or run.job_spec(job.attempt or 1).deadline_seconds
    # The time in a queue does not count.
    began_at = None if job.suspended else job.started_at or job.created_at
    age = run.outside.server_now() - began_at if began_at else timedelta()
    left = max(0.0, deadline_seconds - age.total_seconds())
    return time.monotonic() + left + _FLOW_MARGIN_SECONDS


@asynccontextmanager
async def abandoned_on_failure(run: AgentRun, work: AttemptAtWork) -> AsyncGenerator[None, None]:
    """Delete a Job whose agent could not be started, unless another run now owns it.

    Raises:
        AgentRunError: As it was raised; its sentence also says where the Job remains.
    """
    try:
        yield
    except LeaseLost:
        raise
    except AgentRunError as failure:
        if work.stopped is not None:
            raise
        remains = await abandon_unstarted(run, work)
        if remains is None:
            raise
        raise failure.with_more(remains) from failure


async def drain(ended: EndedAttempt, streaming: asyncio.Task[FollowedLog]) -> None:
    """Wait for the last lines while any come; the verdict does not wait forever."""
    work = ended.work
    if work is None or ended.api_lost_seconds is not None:
        return
    delivered = -1
    while not streaming.done() and work.delivered_lines > delivered:
        delivered = work.delivered_lines
        await asyncio.wait({streaming}, timeout=_DRAIN_SECONDS)
    if not streaming.done():
        ended.run.outside.say(
            f"No more output for {_DRAIN_SECONDS:.0f} s; missing lines are named."
        )
        return
    try:
        streaming.result()
    except Exception as error:
        # For example, the disk is full: the run is judged by everything else that is known.
        ended.run.outside.say(f"Reading the output failed: {error!r}")


async def with_work(
    ended: EndedAttempt, collecting: asyncio.Task[CollectedWork | None] | None
) -> EndedAttempt:
    """Return the end of an attempt with what was collected of its work; null where nobody asked."""
    work, controls = ended.work, ended.run.outside.controls
    if collecting is None or work is None:
        return ended
    if not work.agent_is_over:
        # Nobody saw its end, so what it has made by now may be half of it.
        return replace(
            ended, collected=await leave_work(ended.run, work, "Nobody saw how the agent ended.")
        )
    cancelled = asyncio.ensure_future(controls.cancel_requested.wait())
    try:
        await asyncio.wait({collecting, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({collecting}, timeout=controls.bounded(_COLLECT_CANCELLED_SECONDS))
    finally:
        cancelled.cancel()
    if not collecting.done():
        problem = "The run was cancelled before all of it was there."
        return replace(ended, collected=await leave_work(ended.run, work, problem))
    return replace(ended, collected=await collecting)
