"""Waits for the agent's pod; `tasks.observation.pod_wait` judges what may still recover."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tasks.cleanup import stop_agent
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.kinds.pod_logs import read_log_tail
from tasks.cluster.kinds.read_only import list_kubernetes_events, read_node
from tasks.observation.cluster_evidence import NodeSnapshot, shows_wrong_architecture
from tasks.observation.pod_wait import (
    Failed,
    PodWaitHistory,
    PodWaitObservation,
    Ready,
    Waiting,
    judge_pod_wait,
)
from tasks.observation.pod_wait_failures import advice_for, with_architecture, with_last_line
from tasks.observation.snapshots import KubernetesEventSnapshot, PodSnapshot
from tasks.orchestrator.stage import StageLimit, stage
from tasks.outcome.forensics import LAST_LINES
from tasks.run.agent_credentials import learn_credentials
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, StopReason, StopRequest
from tasks.text.safe_text import escape_control_characters
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.errors import AgentRunError

_LOG_SECONDS = 5.0
_LOG_BYTES = 16_384
# Kubernetes Events are listed, not watched; they only matter while nothing else changes.
_LOOK_AGAIN_SECONDS = 5.0
# A failed read is repeated, because the verdict ends the attempt.
_CONFIRMING_READS = 3
# One call, repeated for a minute, and the reads around it.
_LIMIT_MARGIN_SECONDS = 180


def limit_pod_wait(run: AgentRun, code: ErrorCode) -> StageLimit:
    """Return the limit of a stage that waits for the pod: more than its waits together."""
    limits = run.prepared.runtime.limits
    waits = (
        limits.queue_seconds,
        limits.scheduling_seconds,
        limits.start_seconds,
        limits.image_pull_backoff_seconds,
        limits.api_loss_seconds,
    )
    return StageLimit(sum(waits) + _LIMIT_MARGIN_SECONDS, code)


def _limit(run: AgentRun, _work: AttemptAtWork, *, reattaching: bool = False) -> StageLimit:
    code = ErrorCode.POD_REATTACH_FAILED if reattaching else ErrorCode.POD_SCHEDULE_FAILED
    return limit_pod_wait(run, code)


@stage("Wait for pod", limit=_limit)
async def wait_for_pod(
    run: AgentRun, work: AttemptAtWork, *, reattaching: bool = False
) -> PodSnapshot | None:
    """Return the pod once the agent's container has started, even if it has ended since.

    Phase changes and Kubernetes Events go to the run's log.

    Returns:
        The pod. If the run is being cancelled, the pod as it is then, if there is one: the prompt
        has been handed over and the agent may start at any moment, so it is ended like a running
        one.

    Raises:
        AgentRunError: The container will not start; says why and what to do.
    """
    waiter = _PodWait(run, work, reattaching=reattaching)
    try:
        pod = await waiter.until(_agent_has_begun)
    except AgentRunError as error:
        if error.code is not ErrorCode.CANCELLED:
            raise
        pod = work.pod
    if pod is not None:
        work.bind(pod)
        work.agent_started |= pod.agent is not None and pod.agent.has_run is True
    return pod


def _agent_has_begun(pod: PodSnapshot) -> bool:
    return pod.agent is not None and pod.agent.has_run is not False


async def wait_for_pod_object(run: AgentRun, work: AttemptAtWork) -> PodSnapshot:
    """Return the Job's pod as soon as it exists; it cannot start before its Secret exists.

    Raises:
        AgentRunError: The cluster refuses to create a pod, or does not create one in time.
    """
    return await _PodWait(run, work, reattaching=False).until(lambda pod: not pod.deleting)


async def wait_for_pod_list(run: AgentRun, work: AttemptAtWork) -> None:
    """Return once all pods of the Job are known, or the API has been away for too long."""
    observer = work.observer
    limit = run.prepared.runtime.limits.api_loss_seconds
    while not observer.observation.pods_listed and observer.seconds_since_good_read < limit:
        await wait_for_news(run, work, observer.observation.version, _LOOK_AGAIN_SECONDS)


class _PodWait:
    """One wait; looks at every change, and every few seconds if nothing changes."""

    def __init__(self, run: AgentRun, work: AttemptAtWork, *, reattaching: bool) -> None:
        self._run = run
        self._work = work
        self._reattaching = reattaching
        self._history = PodWaitHistory(run.outside.server_now())
        self._progress = ""
        self._looked_at = time.monotonic()

    async def until(self, good: Callable[[PodSnapshot], bool]) -> PodSnapshot:
        while True:
            self._refuse_when_cancelled()
            seen = self._work.observer.observation.version
            pod = await self._look(good)
            if pod is not None:
                return pod
            await wait_for_news(self._run, self._work, seen, _LOOK_AGAIN_SECONDS)

    async def _look(self, good: Callable[[PodSnapshot], bool]) -> PodSnapshot | None:
        work = self._work
        observation = work.observer.observation
        self._stop_the_clock_in_a_queue()
        unread = observation.failed_reads and not observation.watch_holds
        unseen = observation.job is None and not observation.job_is_gone
        if unread or unseen or not observation.pods_listed:
            # An API that is away says nothing about the pod.
            self._refuse_when_api_is_lost()
            return None
        pods = work.pods
        # On a second try of the stage that binds the attempt to its pod, it is bound already.
        early = next((p for p in pods if good(p) and work.pod_uid in {None, p.uid}), None)
        if early is not None:
            return early
        verdict = judge_pod_wait(
            PodWaitObservation(
                job=None if observation.job_is_gone else work.job,
                pods=pods,
                now=self._run.outside.server_now(),
                kubernetes_events=await self._events(pods),
                bound_uid=work.pod_uid,
            ),
            self._history,
            self._run.prepared.runtime.limits,
            reattaching=self._reattaching,
        )
        match verdict:
            case Ready(pod):
                return pod
            case Waiting():
                self._history = verdict.history
                self._tell(verdict.progress)
                return None
            case Failed() if not await self._is_confirmed():
                return None
            case Failed():
                if verdict.cause is Cause.PREEMPTED and _is_suspended(work):
                    # Its queue would admit this Job again, with a pod that does not get the prompt.
                    await stop_agent(self._run, work, StopRequest(StopReason.PREEMPTED))
                lines = await self._last_lines(verdict.pod, verdict.container)
                message = with_last_line(verdict.message, lines)
                raise AgentRunError(
                    verdict.code,
                    await self._with_architecture(message, verdict.pod),
                    cause=verdict.cause,
                    advice=advice_for(message, verdict.advice),
                )

    async def _is_confirmed(self) -> bool:
        """Read Job and pods again and tell whether they are as they were judged to have failed.

        The watch of the Job may report its end before the watch of its pods reports theirs.
        """
        judged = self._work.job, self._work.pods
        for _ in range(_CONFIRMING_READS):
            if await self._work.observer.read_again():
                break
        return judged == (self._work.job, self._work.pods)

    async def _with_architecture(self, message: str, pod: PodSnapshot | None) -> str:
        """Name the architecture of the node, if it is known and the image does not fit it."""
        if pod is None or pod.node_name is None or not shows_wrong_architecture(message):
            return message
        try:
            async with asyncio.timeout(_LOG_SECONDS):
                node = await read_node(self._run.outside.client, pod.node_name)
        except (ClusterError, TimeoutError):
            # A Role in one namespace cannot grant access to nodes.
            return message
        return with_architecture(message, NodeSnapshot.from_api(node))

    def _stop_the_clock_in_a_queue(self) -> None:
        """Move the run's own deadline on: the Job's does not run while it is suspended either."""
        now = time.monotonic()
        if _is_suspended(self._work):
            self._work.deadline_at += now - self._looked_at
        self._looked_at = now

    async def _last_lines(self, pod: PodSnapshot | None, container: str | None) -> list[str]:
        """Read the end of a failed init container's log, before its Job is deleted."""
        if pod is None or container is None:
            return []
        run = self._run
        # It may have been given the same credentials as the agent.
        await learn_credentials(run, self._work)
        try:
            async with asyncio.timeout(_LOG_SECONDS):
                log = await read_log_tail(
                    run.outside.client,
                    run.outside.namespace,
                    pod.name,
                    container,
                    tail_lines=LAST_LINES,
                    limit_bytes=_LOG_BYTES,
                )
        except (ClusterError, TimeoutError):
            # The log only explains the failure; the verdict does not depend on it.
            return []
        lines = [
            run.outside.redactor.text(escape_control_characters(line))
            for line in log.decode("utf-8", errors="replace").splitlines()
        ]
        self._work.last_lines.extend(f"{container}: {line}" for line in lines)
        return lines

    def _tell(self, progress: str) -> None:
        if progress != self._progress:
            self._progress = progress
            self._run.outside.say(progress)

    async def _events(self, pods: tuple[PodSnapshot, ...]) -> list[KubernetesEventSnapshot]:
        pod = self._work.pod if self._work.pod_uid is not None else next(iter(pods), None)
        uid = pod.uid if pod is not None else self._work.job_uid
        try:
            found = await list_kubernetes_events(
                self._run.outside.client, self._run.outside.namespace, involved_uid=uid
            )
        except ClusterError:
            # Events only explain; the verdict depends on the pod's own state.
            return []
        return [KubernetesEventSnapshot.from_api(item) for item in found]

    def _refuse_when_cancelled(self) -> None:
        if self._run.outside.controls.cancel_requested.is_set():
            raise AgentRunError(
                ErrorCode.CANCELLED, "The run was cancelled before its agent started."
            )

    def _refuse_when_api_is_lost(self) -> None:
        lost = self._work.observer.seconds_since_good_read
        limit = self._run.prepared.runtime.limits.api_loss_seconds
        if lost >= limit or time.monotonic() >= self._work.deadline_at:
            failure = self._work.observer.last_failure
            why = f" ({failure.rstrip('.')})" if failure else ""
            did, advice = "not answered", "Run again when it answers."
            if self._work.observer.is_refused:
                did, advice = "refused every read", "Check its credentials and permissions."
            raise AgentRunError(
                ErrorCode.JOB_STATE_MISMATCH,
                f"The Kubernetes API has {did} for {lost:.0f} s{why}; Job "
                f"{self._work.job_name} was not changed. {advice}",
            )


def _is_suspended(work: AttemptAtWork) -> bool:
    return work.job is not None and work.job.suspended


async def wait_for_news(
    run: AgentRun, work: AttemptAtWork, seen_version: int, seconds: float
) -> None:
    """Wait until the Job or its pods have changed, the run is cancelled, or time is up."""
    changed = work.observer.changed(seen_version)
    await wait_for_first(changed, run.outside.controls.cancel_requested, seconds)


async def wait_for_first(
    changed: Coroutine[Any, Any, Any], cancel_requested: asyncio.Event, seconds: float
) -> None:
    """Wait until `changed` has ended, the event comes, or time is up.

    An event from before is no news: a run that is being cancelled would not wait at all, and look
    again as fast as the processor can.
    """
    waited = [asyncio.ensure_future(changed)]
    if not cancel_requested.is_set():
        waited.append(asyncio.ensure_future(cancel_requested.wait()))
    try:
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waited:
            task.cancel()
