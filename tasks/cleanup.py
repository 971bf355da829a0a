"""What happens to the Job: stopped by us, marked once its result is stored, kept or deleted."""

import asyncio
import time
from collections.abc import Callable

from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_errors import ClusterError, ObjectNotFound, PatchRefused
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import patch_job
from tasks.keeper.keeper_commands import finish_keeper
from tasks.observation.beside_agent import still_running
from tasks.orchestrator.stage import stage
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.keep_policy import (
    Delete,
    Leave,
    LowerTtl,
    decide_cleanup,
    describe_remains,
)
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, StopReason, StopRequest
from tasks.run.ended_attempt import ConcludedAttempt, EndedAttempt
from tasks.run.job_deletion import delete_owned_job
from tasks.run.lease_keeper import LeaseLost, WritesPaused
from tasks.vocabulary.names import (
    ANNOTATION_HARVESTED_AT,
    ANNOTATION_OWNER_EPOCH,
    ANNOTATION_OWNER_FLOW_RUN_ID,
)

_CLEAN_UP_SECONDS = 15.0
# For a container beside the agent's that ends when it sees that the agent has ended.
_BESIDE_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.5
# Time that a process about to be killed reserves for what it then does to the Job.
_ANSWER_SECONDS = 1.5

_REASONS: dict[StopReason, Callable[[StopRequest], str]] = {
    StopReason.CANCELLED: lambda _: "The run is being cancelled",
    StopReason.OUT_OF_TIME: lambda _: "The run's time is up",
    StopReason.STALLED: lambda why: f"The agent has been silent for {why.silent_seconds:.0f} s",
    StopReason.NEVER_STARTED: lambda _: "The agent did not start",
    StopReason.PREEMPTED: lambda _: "The Job was suspended again by its queue",
}


@stage("Stop agent")
async def stop_agent(run: AgentRun, work: AttemptAtWork, why: StopRequest) -> bool:
    """End the agent gracefully: deleting its Job in the foreground sends it SIGTERM.

    The pod stays until its container has ended, so the last lines can be followed.

    Returns:
        Whether the deletion was accepted; if not, try again at the next look.

    Raises:
        LeaseLost: Another process now owns the agent; the Job was not changed.
    """
    run.outside.say(f"{_REASONS[why.reason](why)}: deleting Job {work.job_name} gracefully.")
    # Set before the answer: if the run is interrupted meanwhile, it must not report that the Job
    # remains.
    work.stopping = why
    try:
        await delete_owned_job(run, work, Propagation.FOREGROUND)
    except LeaseLost:
        work.stopping = None
        raise
    except (ClusterError, WritesPaused) as error:
        work.stopping = None
        run.outside.say(f"Job {work.job_name} could not be deleted yet: {error.message}")
        return False
    work.stopped = why
    return True


@stage("Clean up")
async def clean_up(ended: EndedAttempt, concluded: ConcludedAttempt) -> None:
    """Mark the Job as read and apply the keep policy to it.

    This is bounded and cannot change the verdict. If it fails, the TTL deletes the Job, or a sweep
    if another container keeps it from finishing.
    """
    run, work = ended.run, ended.work
    if work is None or ended.lease_lost:
        return
    if _keeper_is_done(ended, concluded):
        await finish_keeper(run, work)
    if work.stopped is not None:
        return
    if not concluded.is_stored:
        waits = ended.collected is not None and ended.collected.keeper_waits
        why = "its keeper still holds the work" if waits else "nothing was stored"
        run.outside.say(f"Job {work.job_name} is kept until its TTL, because {why}.")
        if beside := _others(work):
            run.outside.say(describe_remains(work.job_name, beside))
        return
    try:
        async with asyncio.timeout(run.outside.controls.bounded(_CLEAN_UP_SECONDS)):
            await _clean_up(run, work, concluded.result)
    except ObjectNotFound:
        return
    except (ClusterError, LeaseLost, WritesPaused, TimeoutError) as error:
        run.outside.say(f"Job {work.job_name} is kept until its TTL: {error}")


def _keeper_is_done(ended: EndedAttempt, concluded: ConcludedAttempt) -> bool:
    """Tell whether nobody needs the pod's keeper any more; a deleted Job has no later run."""
    work = ended.work
    return work is not None and work.keeps_work and (concluded.is_stored or bool(work.stopped))


async def _clean_up(run: AgentRun, work: AttemptAtWork, result: AgentRunResult) -> None:
    beside = await _see_others_end(run, work)
    pod, job = work.pod, work.job
    running = pod is not None and pod.agent is not None and pod.agent.running is not None
    ended = bool(job and job.finished) or bool(pod and pod.agent and pod.agent.terminated)
    decided = decide_cleanup(
        run.prepared.runtime.retention,
        succeeded=result.succeeded,
        ended=ended,
        agent_running=running,
        still_running=beside,
    )
    match decided:
        case Delete():
            if decided.reason is not None:
                run.outside.say(f"Deleting Job {work.job_name}: {decided.reason}.")
            await delete_owned_job(run, work, Propagation(decided.propagation))
        case LowerTtl():
            await _mark(run, work, [put("/spec/ttlSecondsAfterFinished", decided.seconds)])
        case Leave():
            if ended:
                await _mark(run, work, [])
            run.outside.say(f"Job {work.job_name} is kept: {decided.reason}.")
    if beside and not isinstance(decided, Delete):
        run.outside.say(describe_remains(work.job_name, beside))


async def _see_others_end(run: AgentRun, work: AttemptAtWork) -> tuple[str, ...]:
    """Return the containers that keep the Job from finishing, after giving them time to end."""
    patience_seconds = run.outside.controls.bounded(
        _BESIDE_SECONDS, leaving_seconds=_ANSWER_SECONDS
    )
    until = time.monotonic() + patience_seconds
    while (beside := _others(work)) and time.monotonic() < until:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        await work.observer.read_again()
    return beside


def _others(work: AttemptAtWork) -> tuple[str, ...]:
    is_settled = work.job is None or work.job.finished or work.pod_is_gone
    return () if is_settled else still_running(work.pod)


async def _mark(run: AgentRun, work: AttemptAtWork, more: list[JsonObject]) -> None:
    """Note on the Job that its result is stored, unless it now has another owner."""
    harvested_at = run.outside.server_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = [
        expect("/metadata/uid", work.job_uid),
        expect(annotation_path(ANNOTATION_OWNER_FLOW_RUN_ID), run.prepared.flow_run_id),
        expect(annotation_path(ANNOTATION_OWNER_EPOCH), str(run.outside.lease.lease.epoch)),
        put(annotation_path(ANNOTATION_HARVESTED_AT), harvested_at),
        *more,
    ]
    try:
        await patch_job(
            run.outside.client,
            run.outside.namespace,
            work.job_name,
            patch,
            # A second try is safe: the patch tests the owner again.
            retry=run.outside.lease.guarded(RETRY_SAFE),
        )
    except PatchRefused:
        run.outside.say(f"Job {work.job_name} now has another owner, which will mark it.")
