"""One Job of a run, from its creation or takeover to its end: the sequence of the stages."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from tasks.agent_job.completion import ApiLost
from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.errors import AgentRunError
from tasks.agent_job.guard_verdicts import Harvest, Reattach
from tasks.agent_job.manifest import JobSpec
from tasks.agent_job.snapshots import JobSnapshot
from tasks.cluster.job_observer import JobObserver
from tasks.completion import await_completion
from tasks.job import adopt_agent_job, commit_agent_job, create_agent_job
from tasks.lease_keeper import LeaseLost
from tasks.log_stream import stream_logs
from tasks.pod import wait_for_pod
from tasks.run_context import AttemptInProgress, RunContext
from tasks.secret import abandon_unstarted, create_run_secret, read_bound_pod

# Around the Job's own deadline, which is around the agent's.
_FLOW_MARGIN_SECONDS = 60.0
# After the agent's end the last lines are read in seconds, unless the API is away.
_DRAIN_SECONDS = 120.0


async def start_attempt(context: RunContext, number: int) -> None:
    """Create the Job, commit it, give it its Secret, and follow it to its end."""
    spec = _spec(context, number)
    _say_what_starts(context, spec)
    job = await create_agent_job(context, spec)
    await commit_agent_job(context, job, number)
    async with _at_work(context, job, resumed=context.prepared.resume_session is not None):
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
            await create_run_secret(context, _spec(context, job.attempt or 1))
        else:
            context.attempt_at_work.pod_uid = await read_bound_pod(context, job)
        await _wait_unless_cancelled(context, reattaching=True)
        await _follow(context)


async def harvest(context: RunContext, verdict: Harvest) -> None:
    """Read what an ended Job has printed, as if it had been followed."""
    job = await adopt_agent_job(context, verdict.job)
    async with _at_work(context, job, resumed=job.session_id is not None):
        context.attempt_at_work.pod_uid = await read_bound_pod(context, job)
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


@asynccontextmanager
async def _at_work(
    context: RunContext, job: JobSnapshot, *, resumed: bool
) -> AsyncGenerator[None, None]:
    """Observe the Job while its stages run."""
    observer = JobObserver(
        context.client, namespace=context.namespace, job_name=job.name, job_uid=job.uid
    )
    spec = _spec(context, job.attempt or 1)
    context.deadline_at = time.monotonic() + spec.deadline_seconds + _FLOW_MARGIN_SECONDS
    context.controls.job_reference = f"{context.namespace}/{job.name}"
    context.attempt = AttemptInProgress(
        job_name=job.name,
        job_uid=job.uid,
        flow_run_id=job.flow_run_id or context.prepared.flow_run_id,
        number=job.attempt or 1,
        observer=observer,
        spool=context.folder_path / f"{job.uid}.jsonl",
        resumed=resumed,
        created_at=job.created_at or datetime.now(UTC),
    )
    observing = asyncio.create_task(observer.run())
    try:
        yield
    finally:
        observing.cancel()


async def _follow(context: RunContext) -> None:
    """Follow output and end side by side until both are known."""
    stream = asyncio.create_task(stream_logs(context))
    try:
        verdict = await await_completion(context, stream)
        if isinstance(verdict, ApiLost):
            context.api_lost_seconds = verdict.seconds
            return
        done, _ = await asyncio.wait({stream}, timeout=_DRAIN_SECONDS)
        for finished in done:
            finished.result()
    finally:
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
