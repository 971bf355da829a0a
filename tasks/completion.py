"""Waits for the end of the agent, as `tasks.observation.completion_rules` judges it."""

import asyncio
import time

from tasks.cleanup import stop_agent
from tasks.log_following.log_follower import FollowedLog
from tasks.observation.beside_agent import still_running
from tasks.observation.completion_rules import (
    ApiLost,
    CompletionHistory,
    CompletionObservation,
    StillRunning,
    judge_completion,
    stalled_seconds,
)
from tasks.observation.pod_termination import is_preempted_by_queue
from tasks.orchestrator.stage import stage
from tasks.outcome.proven_end import end_is_proven
from tasks.pod import wait_for_news
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, StopReason, StopRequest
from tasks.run.ended_attempt import EndedAttempt

# The verdict can change by time alone (grace periods, limits), so it is judged at least this often.
_LOOK_AGAIN_SECONDS = 1.0
_DEADLINE_PATIENCE_SECONDS = 120.0


@stage("Await completion")
async def await_completion(
    run: AgentRun, work: AttemptAtWork, stream: asyncio.Task[FollowedLog]
) -> EndedAttempt:
    """Return once the agent has ended, its Job is gone, or the API has been away for too long.

    Stops the agent if the run is cancelled, or the agent is stalled or out of time.
    """
    history, seen = CompletionHistory(), -1
    while True:
        observation = work.observer.observation
        if observation.version != seen and work.follower is not None:
            work.follower.look_again()
        seen = observation.version
        verdict = judge_completion(
            CompletionObservation(
                job=work.job,
                job_gone=observation.job_is_gone,
                pods=work.pods,
                gone_uids=work.gone_pods,
                bound_uid=work.pod_uid,
                drained=stream.done(),
                proven=stream.done() and _is_proven(work),
                seconds_since_good_read=work.observer.seconds_since_good_read,
                now=time.monotonic(),
            ),
            history,
            run.prepared.runtime.limits,
        )
        if not isinstance(verdict, StillRunning):
            await _delete_if_preempted(run, work)
            lost_seconds = verdict.seconds if isinstance(verdict, ApiLost) else None
            return EndedAttempt(
                run=run, work=work, stopped=work.stopped, api_lost_seconds=lost_seconds
            )
        history = verdict.history
        if time.monotonic() >= work.deadline_at + _DEADLINE_PATIENCE_SECONDS:
            # The last bound, if nothing reports an end any more; for example, the node is gone.
            return EndedAttempt(run=run, work=work, stopped=work.stopped)
        why = _stop_due(run, work)
        if why is not None:
            await stop_agent(run, work, why)
        await wait_for_news(run, work, seen, _LOOK_AGAIN_SECONDS)


def _is_proven(work: AttemptAtWork) -> bool:
    followed = work.followed
    if followed is None:
        return False
    return end_is_proven(followed.proof, followed.trailer, work.pod, work.job)


def _stop_due(run: AgentRun, work: AttemptAtWork) -> StopRequest | None:
    """Return why the agent must be stopped; `None` if it need not be, or was already."""
    job = work.job
    if work.stopped is not None or job is None or job.over:
        return None
    has_ended = work.pod is not None and work.pod.agent_ended
    if run.outside.controls.cancel_requested.is_set():
        # The Job of an agent that ended by itself is left to the keep policy, as in any other run.
        is_over = has_ended and not still_running(work.pod)
        return None if is_over else StopRequest(StopReason.CANCELLED)
    if is_preempted_by_queue(job, work.pod, pod_is_gone=work.pod_is_gone):
        return StopRequest(StopReason.PREEMPTED)
    if has_ended:
        # What is left to wait for is output, or another container; the agent can do nothing about
        # either.
        return None
    if time.monotonic() >= work.deadline_at:
        return StopRequest(StopReason.OUT_OF_TIME)
    silent_seconds = _stalled_seconds(run, work)
    return None if silent_seconds is None else StopRequest(StopReason.STALLED, silent_seconds)


async def _delete_if_preempted(run: AgentRun, work: AttemptAtWork) -> None:
    """Delete a Job that its queue would admit again, if that is why the agent's pod was deleted.

    The watch of the Job may tell later than the watch of its pods.
    """
    job, pod = work.job, work.pod
    if work.stopped is not None or job is None or job.over or job.deleting or pod is None:
        return
    if not (pod.deleting or work.pod_is_gone):
        return
    await work.observer.read_again()
    if is_preempted_by_queue(work.job, pod, pod_is_gone=True):
        await stop_agent(run, work, StopRequest(StopReason.PREEMPTED))


def _stalled_seconds(run: AgentRun, work: AttemptAtWork) -> float | None:
    """Return how long the agent has been silent, if that is longer than the runtime allows."""
    follower = work.follower
    if follower is None or follower.last_output_at is None:
        return None
    return stalled_seconds(
        time.monotonic() - follower.last_output_at,
        limit_seconds=run.prepared.runtime.limits.stall_seconds,
        allowed_seconds=work.progress.allowed_silence_seconds,
        agent_has_ended=follower.agent_has_ended,
    )
