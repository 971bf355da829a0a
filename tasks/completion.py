"""Watching for the end of the agent; whether it has come is judged in the pure `completion`."""

import asyncio
import time

from tasks.cleanup import stop_agent
from tasks.log_following.log_follower import FollowedLog
from tasks.observation.completion_rules import (
    ApiLost,
    CompletionHistory,
    CompletionObservation,
    Ended,
    Gone,
    StillRunning,
    judge_completion,
)
from tasks.orchestrator.stage import stage
from tasks.pod import wait_for_news
from tasks.run.run_context import RunContext

# Time alone can change the verdict (graces, limits), so it is asked for at least this often.
_LOOK_AGAIN_SECONDS = 1.0
_DEADLINE_PATIENCE_SECONDS = 120.0


@stage("Await completion")
async def await_completion(
    context: RunContext, stream: asyncio.Task[FollowedLog]
) -> Ended | Gone | ApiLost:
    """Return once the agent's Job has ended, has gone, or cannot be known any more.

    Ends the agent itself where it may: cancelled, stalled by the runtime's rule, or out of time.
    """
    attempt = context.attempt_at_work
    history, seen = CompletionHistory(), -1
    while True:
        observation = attempt.observer.observation
        if observation.version != seen and attempt.follower is not None:
            attempt.follower.look_again()
        seen = observation.version
        verdict = judge_completion(
            CompletionObservation(
                job=attempt.job,
                job_gone=observation.job_is_gone,
                pods=attempt.pods,
                gone_uids=attempt.gone_pods,
                bound_uid=attempt.pod_uid,
                drained=stream.done(),
                seconds_since_good_read=attempt.observer.seconds_since_good_read,
                now=time.monotonic(),
            ),
            history,
            context.prepared.runtime.limits,
        )
        if not isinstance(verdict, StillRunning):
            return verdict
        history = verdict.history
        if time.monotonic() >= context.deadline_at + _DEADLINE_PATIENCE_SECONDS:
            # Nobody reports an end any more, such as from a node that is gone: the last bound.
            return Gone(attempt.pod)
        await _end_where_due(context)
        await wait_for_news(context, seen, _LOOK_AGAIN_SECONDS)


async def _end_where_due(context: RunContext) -> None:
    """Ask for the Job's deletion, once, where the agent must not go on."""
    job = context.attempt_at_work.job
    if context.deleted_by_us or job is None or job.over:
        return
    if context.controls.cancel_requested.is_set():
        context.cancelled = await stop_agent(context, "The run is being cancelled")
    elif time.monotonic() >= context.deadline_at:
        context.deadline_reached = await stop_agent(context, "The run's time is up")
    elif (silent := _stalled_seconds(context)) is not None and await stop_agent(
        context, f"The agent has been silent for {silent:.0f} s"
    ):
        context.stalled_seconds = silent


def _stalled_seconds(context: RunContext) -> float | None:
    """Return how long the agent has been silent, if that is longer than the runtime allows."""
    limit = context.prepared.runtime.limits.stall_seconds
    follower = context.attempt_at_work.follower
    if limit is None or follower is None or follower.last_output_at is None:
        return None
    silent = time.monotonic() - follower.last_output_at
    return silent if silent >= limit else None
