"""One Job of a run, from its creation or takeover to its end: the sequence of the stages."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.agent_job.manifest import JobSpec
from tasks.cluster.watching.job_observer import JobObserver
from tasks.completion import await_completion
from tasks.job import adopt_agent_job, commit_agent_job, create_agent_job
from tasks.log_following.log_follower import FollowedLog
from tasks.log_stream import stream_logs
from tasks.observation.completion_rules import ApiLost
from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.guard_verdicts import Harvest, Reattach
from tasks.pod import wait_for_pod
from tasks.run.lease_keeper import LeaseLost
from tasks.run.run_context import AttemptInProgress, RunContext
from tasks.secret import abandon_unstarted, create_run_secret, find_bound_pod
from tasks.storage.storage_keys import StorageOwner
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError

# Around the Job's own deadline, which is around the agent's.
_FLOW_MARGIN_SECONDS = 60.0
# After the agent's end the last lines come in seconds; the API may be away for a while.
_DRAIN_SECONDS = 300.0


async def start_attempt(context: RunContext, number: int, *, exec_permitted: bool) -> None:
    """Create the Job, commit it, give it its Secret, and follow it to its end.

    Args:
        context: The run.
        number: Of the attempt within its flow run.
        exec_permitted: Whether the copy of the agent's output in its pod can be read.
    """
    spec = replace(_spec(context, number), exec_permitted=exec_permitted)
    _say_what_starts(context, spec)
    context.uncommitted = spec
    job = await create_agent_job(context, spec)
    # Beside the commit, since the Secret is to name the pod.
    async with _observing(context, job) as observer:
        await commit_agent_job(context, job, number)
        context.uncommitted = None
        resumed = context.prepared.resume_session is not None
        _put_to_work(context, job, observer, resumed=resumed)
        try:
            await create_run_secret(context, spec)
            await _wait_unless_cancelled(context, reattaching=False)
        except LeaseLost:
            raise
        except AgentRunError:
            await abandon_unstarted(context, job)
            raise
        await _follow(context)


async def take_over(context: RunContext, verdict: Reattach) -> None:
    """Make a live Job ours and follow it to its end; a failure leaves it as it is."""
    job = await adopt_agent_job(context, verdict.job)
    if job.flow_run_id != context.prepared.flow_run_id:
        context.say(
            f"Took over Job {job.name} of flow run {job.flow_run_id}: the agent works on that "
            "run's prompt, not on this one's."
        )
    async with _at_work(context, job, resumed=job.session_id is not None):
        if verdict.secret_missing:
            try:
                await create_run_secret(context, _spec(context, job.attempt or 1))
            except LeaseLost:
                raise
            except AgentRunError:
                await abandon_unstarted(context, job)
                raise
        else:
            await find_bound_pod(context, job)
        await _wait_unless_cancelled(context, reattaching=True)
        await _follow(context)


async def harvest(context: RunContext, verdict: Harvest) -> None:
    """Read what an ended Job has printed, as if it had been followed."""
    job = await adopt_agent_job(context, verdict.job)
    async with _at_work(context, job, resumed=job.session_id is not None):
        if await find_bound_pod(context, job) is not None:
            await _follow(context)


async def end_attempt(context: RunContext) -> None:
    """Delete the Job at work and follow it to its end, after its stages were broken off.

    Raises:
        AgentRunError: There is no Job, or it is no longer ours.
    """
    if context.attempt is None:
        raise AgentRunError(
            ErrorCode.CANCELLED, "The run was cancelled before an agent was started."
        )
    observing = asyncio.create_task(context.attempt.observer.run())
    try:
        await _follow(context)
    finally:
        observing.cancel()


async def _wait_unless_cancelled(context: RunContext, *, reattaching: bool) -> None:
    """Wait for the pod; a cancelled run goes on at once to what ends its agent."""
    try:
        await wait_for_pod(context, reattaching=reattaching)
    except AgentRunError as error:
        if error.code is not ErrorCode.CANCELLED:
            raise
        # The prompt is out, so the agent may start any moment: it is ended as one that runs.
        pod = context.attempt_at_work.pod
        if pod is not None:
            context.attempt_at_work.bind(pod)


def _spec(context: RunContext, number: int) -> JobSpec:
    return JobSpec(
        run=context.prepared,
        namespace=context.namespace,
        attempt=number,
        owner_epoch=context.lease.lease.epoch,
    )


def _say_what_starts(context: RunContext, spec: JobSpec) -> None:
    prepared = context.prepared
    resumed = prepared.resume_session
    skills = ", ".join(skill.name for skill in prepared.agent.skills) or "none"
    context.say(
        f"Agent {prepared.agent_id}: Job {context.namespace}/{spec.name}, "
        f"image {prepared.runtime.image}, model {prepared.agent.model or 'by default'}, "
        f"timeout {prepared.timeout_seconds:,} s, "
        f"{f'resuming session {resumed}' if resumed else 'fresh session'}, "
        f"skills: {skills}, prompt {prepared.prompt.size_bytes:,} bytes."
    )
    if prepared.session_note:
        context.say(prepared.session_note)
    if not spec.exec_permitted:
        context.say(
            "This run may not run commands in pods (get and create of pods/exec): lines that the "
            "node's log has dropped cannot be read from the pod's own copy; they will be named."
        )


@asynccontextmanager
async def _at_work(
    context: RunContext, job: JobSnapshot, *, resumed: bool
) -> AsyncGenerator[None, None]:
    """Observe a committed Job while its stages run."""
    async with _observing(context, job) as observer:
        _put_to_work(context, job, observer, resumed=resumed)
        yield


@asynccontextmanager
async def _observing(context: RunContext, job: JobSnapshot) -> AsyncGenerator[JobObserver, None]:
    fleet = context.controls.fleet
    observer = JobObserver(
        context.client,
        namespace=context.namespace,
        job_name=job.name,
        job_uid=job.uid,
        feed=fleet.clusters.feed(context.client, context.namespace) if fleet else None,
    )
    observing = asyncio.create_task(observer.run())
    try:
        yield observer
    finally:
        observing.cancel()
        await asyncio.gather(observing, return_exceptions=True)


def _put_to_work(
    context: RunContext, job: JobSnapshot, observer: JobObserver, *, resumed: bool
) -> None:
    context.deadline_at = _deadline_at(context, job)
    context.controls.job_reference = f"{context.namespace}/{job.name}"
    owner = StorageOwner(context.namespace, context.prepared.agent_id)
    attempt = AttemptInProgress(
        job_name=job.name,
        job_uid=job.uid,
        flow_run_id=job.flow_run_id or context.prepared.flow_run_id,
        number=job.attempt or 1,
        observer=observer,
        spool=context.folder_path / f"{job.uid}.jsonl",
        storage_folder=owner.attempt_of(context.prepared.flow_run_id, job).path,
        resumed=resumed,
        records=context.log.new_buffer(),
        created_at=job.created_at or datetime.now(UTC),
    )
    context.put_to_work(attempt)


def _deadline_at(context: RunContext, job: JobSnapshot) -> float:
    """Return the run's own bound around the Job's deadline, on the monotonic clock."""
    deadline_seconds = job.deadline_seconds or _spec(context, job.attempt or 1).deadline_seconds
    age = context.server_now() - job.created_at if job.created_at else timedelta()
    left = max(0.0, deadline_seconds - age.total_seconds())
    return time.monotonic() + left + _FLOW_MARGIN_SECONDS


async def _follow(context: RunContext) -> None:
    """Follow output and end side by side until both are known."""
    stream = asyncio.create_task(stream_logs(context))
    try:
        verdict = await await_completion(context, stream)
        if isinstance(verdict, ApiLost):
            context.api_lost_seconds = verdict.seconds
            return
        await _drain(context, stream)
    finally:
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)


async def _drain(context: RunContext, stream: asyncio.Task[FollowedLog]) -> None:
    """Wait for the last lines, as long as there are any; the verdict does not wait for ever."""
    attempt = context.attempt_at_work
    delivered = -1
    while not stream.done() and attempt.delivered_lines > delivered:
        delivered = attempt.delivered_lines
        await asyncio.wait({stream}, timeout=_DRAIN_SECONDS)
    if not stream.done():
        context.say(f"No more output came for {_DRAIN_SECONDS:.0f} s; what is missing is named.")
        return
    try:
        stream.result()
    except Exception as error:
        # Such as a full disk: what is known otherwise is judged all the same.
        context.say(f"Reading the output broke off: {error!r}")
