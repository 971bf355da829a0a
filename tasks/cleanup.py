"""What becomes of the Job: ended by us, marked when its result is kept, left or deleted."""

import asyncio

from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_errors import ClusterError, ObjectNotFound, PatchRefused
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import patch_job
from tasks.orchestrator.stage import stage
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.keep_policy import Delete, Leave, LowerTtl, decide_cleanup
from tasks.run.lease_keeper import LeaseLost, WritesPaused
from tasks.run.owned_job import delete_owned_job
from tasks.run.run_context import AttemptInProgress, RunContext
from tasks.vocabulary.names import (
    ANNOTATION_HARVESTED_AT,
    ANNOTATION_OWNER_EPOCH,
    ANNOTATION_OWNER_FLOW_RUN_ID,
)

_CLEAN_UP_SECONDS = 15.0


@stage("Stop agent")
async def stop_agent(context: RunContext, reason: str) -> bool:
    """End the agent with grace: deleting its Job in the foreground is its SIGTERM.

    The pod stays until its container has ended, so the last lines can be followed.

    Returns:
        Whether the deletion was accepted; if not, ask again at the next look.

    Raises:
        LeaseLost: Another process owns the agent by now; its Job was left to it.
    """
    attempt = context.attempt_at_work
    context.say(f"{reason}: deleting Job {attempt.job_name}; the agent has its grace to end.")
    try:
        # Before the answer: who is stopped while it is awaited must not say that the Job stays.
        context.controls.job_deleted = True
        await delete_owned_job(context, attempt.job_name, attempt.job_uid, Propagation.FOREGROUND)
    except LeaseLost:
        context.controls.job_deleted = False
        raise
    except (ClusterError, WritesPaused) as error:
        context.controls.job_deleted = False
        context.say(f"Job {attempt.job_name} could not be deleted yet: {error.message}")
        return False
    context.deleted_by_us = True
    return True


@stage("Clean up")
async def clean_up(context: RunContext, result: AgentRunResult) -> None:
    """Mark the Job as read and do with it what the keep policy says.

    Bounded, and unable to change the verdict: what is not done here, its TTL does.
    """
    attempt = context.attempt
    if attempt is None or context.deleted_by_us or context.lease_lost:
        return
    if not context.result_stored:
        context.say(f"Job {attempt.job_name} is left to its TTL, since nothing was stored.")
        return
    try:
        async with asyncio.timeout(context.bounded(_CLEAN_UP_SECONDS)):
            await _clean_up(context, attempt, result)
    except ObjectNotFound:
        return
    except (ClusterError, LeaseLost, WritesPaused, TimeoutError) as error:
        context.say(f"Job {attempt.job_name} is left to its TTL: {error}")


async def _clean_up(
    context: RunContext, attempt: AttemptInProgress, result: AgentRunResult
) -> None:
    pod, job = attempt.pod, attempt.job
    running = pod is not None and pod.agent is not None and pod.agent.running is not None
    ended = bool(job and job.finished) or bool(pod and pod.agent and pod.agent.terminated)
    decided = decide_cleanup(
        context.prepared.runtime.retention,
        succeeded=result.succeeded,
        ended=ended,
        agent_running=running,
    )
    match decided:
        case Delete():
            await delete_owned_job(
                context, attempt.job_name, attempt.job_uid, Propagation(decided.propagation)
            )
        case LowerTtl():
            await _mark(context, attempt, [put("/spec/ttlSecondsAfterFinished", decided.seconds)])
        case Leave():
            if ended:
                await _mark(context, attempt, [])
            context.say(f"Job {attempt.job_name} is left: {decided.reason}.")


async def _mark(context: RunContext, attempt: AttemptInProgress, more: list[JsonObject]) -> None:
    """Note that the result is stored, unless the Job has another owner by now."""
    harvested_at = context.server_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = [
        expect("/metadata/uid", attempt.job_uid),
        expect(annotation_path(ANNOTATION_OWNER_FLOW_RUN_ID), context.prepared.flow_run_id),
        expect(annotation_path(ANNOTATION_OWNER_EPOCH), str(context.lease.lease.epoch)),
        put(annotation_path(ANNOTATION_HARVESTED_AT), harvested_at),
        *more,
    ]
    try:
        await patch_job(
            context.client,
            context.namespace,
            attempt.job_name,
            patch,
            # The tests hold for a second try too.
            retry=context.lease.guarded(RETRY_SAFE),
        )
    except PatchRefused:
        context.say(f"Job {attempt.job_name} has another owner by now, who will mark it.")
