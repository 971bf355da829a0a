"""Waiting for an agent's container: what heals is waited for, what never will ends the wait.

Judge after successful reads only: an API that is away says nothing about the pod. No clock of a
node is used; what has no time of its own is timed from the look at which it was first seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.agent_job.runtime_spec import Limits
from tasks.observation.beside_agent import find_preparing, find_unstarted
from tasks.observation.pod_interruptions import find_interruption
from tasks.observation.pod_refusals import REFUSED_CREATION, RefusalRule, find_refusal
from tasks.observation.pod_wait_failures import (
    PodWaitFailure,
    StartSeen,
    api_refusal,
    container_held_up,
    container_never_ran,
    describe_failing,
    describe_waiting,
    init_container_failed,
    init_container_keeps_failing,
    job_ended_first,
    never_admitted,
    pod_ended_first,
    pod_never_appeared,
    pod_never_scheduled,
    pod_never_started,
    pod_will_not_start,
    queue_words,
)
from tasks.observation.snapshots import JobSnapshot, KubernetesEventSnapshot, PodSnapshot
from tasks.observation.telling_events import find_telling_event
from tasks.observation.waiting_reasons import HoldUp, find_failing, find_held_up, find_waiting
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.names import PodUid

# Restarts after which an init container is given up: the kubelet has then waited 10, 20 and 40 s.
# Counted, because its state says CrashLoopBackOff for a moment only.
_HOPELESS_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class PodWaitHistory:
    """What earlier looks have seen; begins with the wait, by the API server's clock.

    Attributes:
        pod_uid: The pod that the other times are about.
        pod_since: Since when this pod is waited for.
        scheduled_since: When it was first seen to have a node.
        held_up_by: What keeps its container, or the pod itself, from being created or started.
        held_up_since: When that was first seen.
        refused_since: When its creation was first seen refused, for whatever reasons since.
        suspended_since: When the Job was first seen suspended, while it is.
        admitted_at: When it was first seen no longer suspended.
    """

    started_at: datetime
    pod_uid: PodUid | None = None
    pod_since: datetime | None = None
    scheduled_since: datetime | None = None
    held_up_by: HoldUp | RefusalRule | None = None
    held_up_since: datetime | None = None
    refused_since: datetime | None = None
    suspended_since: datetime | None = None
    admitted_at: datetime | None = None

    @property
    def counted_from(self) -> datetime:
        """Since when the cluster may create a pod."""
        return self.admitted_at or self.started_at


@dataclass(frozen=True, slots=True)
class PodWaitObservation:
    """One look.

    Attributes:
        job: `None` once its absence is confirmed.
        pods: Of this Job, newest first.
        kubernetes_events: About the Job and its pods, in any order.
        bound_uid: The pod for which the prompt was written; no other will start the agent.
        now: By the API server's clock.
    """

    job: JobSnapshot | None
    pods: Sequence[PodSnapshot]
    now: datetime
    kubernetes_events: Sequence[KubernetesEventSnapshot] = ()
    bound_uid: PodUid | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The agent may yet start.

    Attributes:
        progress: What it waits for, for the log.
        pod: The pod that is waited for, once there is one.
        history: To be handed to the next judgement.
    """

    progress: str
    pod: PodSnapshot | None
    history: PodWaitHistory


@dataclass(frozen=True, slots=True)
class Ready:
    """The agent's container runs or has run; its output can be read."""

    pod: PodSnapshot


@dataclass(frozen=True, slots=True)
class Failed:
    """The agent's container has not run and will not.

    Attributes:
        container: The one that failed in its place, whose last lines may tell why.
    """

    code: ErrorCode
    cause: Cause
    message: str
    advice: str
    pod: PodSnapshot | None
    container: str | None = None


PodWaitVerdict = Waiting | Ready | Failed


def judge_pod_wait(
    observed: PodWaitObservation,
    history: PodWaitHistory,
    limits: Limits,
    *,
    reattaching: bool = False,
) -> PodWaitVerdict:
    """Tell whether the agent's container has started, may yet start or never will.

    Args:
        observed: One look.
        history: From the last `Waiting`, or new with the instant at which the wait began.
        limits: Separate ones for a queue, for getting a node, for starting on it and for failing
            image pulls.
        reattaching: The Job was taken over; a failure is then `k8s_pod_reattach_failed`.
    """
    pod = _choose_pod(observed)
    if pod is not None and _has_run(pod):
        return Ready(pod)
    history = _remember(history, pod, observed)
    failure = _find_failure(observed, pod, history, limits, _start_seen(observed, pod, reattaching))
    if failure is None:
        return Waiting(_progress(observed, pod), pod, history)
    default = ErrorCode.POD_REATTACH_FAILED if reattaching else ErrorCode.POD_SCHEDULE_FAILED
    return Failed(
        failure.code or default,
        failure.cause,
        failure.message,
        failure.advice,
        pod,
        failure.container,
    )


def _choose_pod(observed: PodWaitObservation) -> PodSnapshot | None:
    """Return the bound pod, else the newest that has run, else the newest that may yet."""
    if observed.bound_uid is not None:
        return next((pod for pod in observed.pods if pod.uid == observed.bound_uid), None)
    for wanted in (_has_run, _may_start):
        found = next(filter(wanted, observed.pods), None)
        if found is not None:
            return found
    # Of a Job that its queue has suspended again, only the rest of a pod is left.
    return None if _is_suspended(observed) else next(iter(observed.pods), None)


def _start_seen(
    observed: PodWaitObservation, pod: PodSnapshot | None, reattaching: bool
) -> StartSeen:
    """Return what is known of the start of an agent that was not seen to run."""
    if not reattaching and observed.bound_uid is None:
        return StartSeen.IMPOSSIBLE
    return StartSeen.NOT_LOOKED if pod is None else StartSeen.NOT_SEEN


def _has_run(pod: PodSnapshot) -> bool:
    # Where it is unknown whether it ran, the stream and the outcome will tell more than a guess.
    return pod.agent is not None and pod.agent.has_run is not False


def _may_start(pod: PodSnapshot) -> bool:
    return not (pod.deleting or pod.ended)


def _is_suspended(observed: PodWaitObservation) -> bool:
    return observed.job is not None and observed.job.suspended


def _remember(
    history: PodWaitHistory, pod: PodSnapshot | None, observed: PodWaitObservation
) -> PodWaitHistory:
    now, suspended = observed.now, _is_suspended(observed)
    if history.suspended_since is not None and not suspended:
        history = replace(history, admitted_at=now)
    history = replace(history, suspended_since=_since(history.suspended_since, now, suspended))
    if pod is not None and pod.uid != history.pod_uid:
        first = history.pod_uid is None
        history = PodWaitHistory(
            history.started_at,
            pod.uid,
            pod_since=history.counted_from if first else now,
            suspended_since=history.suspended_since,
            admitted_at=history.admitted_at,
        )
    held_up_by = _find_hold_up(pod, observed)
    lasts = held_up_by is not None and held_up_by == history.held_up_by
    return replace(
        history,
        scheduled_since=_since(
            history.scheduled_since, now, pod is not None and _is_scheduled(pod)
        ),
        held_up_by=held_up_by,
        held_up_since=_since(history.held_up_since if lasts else None, now, bool(held_up_by)),
        refused_since=_since(
            history.refused_since, now, isinstance(held_up_by, RefusalRule) and not suspended
        ),
    )


def _since(before: datetime | None, now: datetime, holds: bool) -> datetime | None:
    return (before or now) if holds else None


def _find_hold_up(
    pod: PodSnapshot | None, observed: PodWaitObservation
) -> HoldUp | RefusalRule | None:
    if pod is not None:
        held_up = find_held_up(pod)
        return held_up[1].hold_up if held_up is not None else None
    refusal = _find_refused_creation(observed)
    return find_refusal(refusal) if refusal is not None else None


def _find_refused_creation(observed: PodWaitObservation) -> KubernetesEventSnapshot | None:
    return max(
        (event for event in observed.kubernetes_events if event.reason == REFUSED_CREATION),
        key=lambda event: event.last_at.timestamp() if event.last_at else 0.0,
        default=None,
    )


def _is_scheduled(pod: PodSnapshot) -> bool:
    return pod.node_name is not None


def _find_failure(
    observed: PodWaitObservation,
    pod: PodSnapshot | None,
    history: PodWaitHistory,
    limits: Limits,
    seen: StartSeen,
) -> PodWaitFailure | None:
    job, is_bound = observed.job, observed.bound_uid is not None
    failure = find_interruption(job, pod, observed.pods, seen, is_bound=is_bound)
    if failure is None and pod is not None:
        failure = _find_ended(pod, seen) or _find_hopeless(pod)
    if failure is not None:
        return failure
    if job is not None and job.final_condition is not None:
        return job_ended_first(job, job.final_condition, seen)
    if pod is None:
        return _find_no_pod(observed, history, limits, seen)
    return _find_overdue(pod, observed, history, limits)


def _find_ended(pod: PodSnapshot, seen: StartSeen) -> PodWaitFailure | None:
    failed = pod.failed_init_container
    if failed is not None and failed.terminated is not None:
        return init_container_failed(pod, failed.name, failed.terminated)
    failing = find_failing(pod, _HOPELESS_RESTARTS)
    if failing is not None:
        return init_container_keeps_failing(pod, failing)
    if pod.agent is not None and pod.agent.terminated is not None:
        return container_never_ran(pod, pod.agent.terminated)
    return pod_ended_first(pod, seen) if pod.ended else None


def _find_hopeless(pod: PodSnapshot) -> PodWaitFailure | None:
    held_up = find_held_up(pod)
    return container_held_up(pod, *held_up, 0) if held_up and held_up[1].is_hopeless else None


def _find_no_pod(
    observed: PodWaitObservation, history: PodWaitHistory, limits: Limits, seen: StartSeen
) -> PodWaitFailure | None:
    job, now = observed.job, observed.now
    if observed.bound_uid is not None:
        return pod_will_not_start(None, observed.pods, seen)
    if job is not None and job.suspended:
        is_overdue = _lasts(history.suspended_since, now, limits.queue_seconds)
        return never_admitted(job, limits.queue_seconds) if is_overdue else None
    refusal = _find_refused_creation(observed)
    if refusal is not None:
        rule = find_refusal(refusal)
        seconds = min(rule.patience_seconds, limits.scheduling_seconds)
        if _lasts(history.held_up_since, now, seconds):
            return api_refusal(refusal, rule, seconds)
        # Refusals that take turns, such as a full quota's and a webhook's, restart that clock.
        is_overdue = _lasts(history.refused_since, now, limits.scheduling_seconds)
        return api_refusal(refusal, rule, limits.scheduling_seconds) if is_overdue else None
    is_overdue = _lasts(history.counted_from, now, limits.scheduling_seconds)
    return pod_never_appeared(limits.scheduling_seconds) if is_overdue else None


def _find_overdue(
    pod: PodSnapshot, observed: PodWaitObservation, history: PodWaitHistory, limits: Limits
) -> PodWaitFailure | None:
    now = observed.now
    if history.scheduled_since is None:
        since = history.pod_since or history.started_at
        is_overdue = _lasts(since, now, limits.scheduling_seconds)
        return pod_never_scheduled(pod, limits.scheduling_seconds) if is_overdue else None
    held_up = find_held_up(pod)
    if held_up is not None:
        patience = held_up[1].patience_seconds
        seconds = limits.image_pull_backoff_seconds if patience is None else patience
        if _lasts(history.held_up_since, now, seconds):
            return container_held_up(pod, *held_up, seconds)
    if not _lasts(history.scheduled_since, now, limits.start_seconds):
        return None
    return pod_never_started(
        pod,
        limits.start_seconds,
        failing=find_failing(pod, 1),
        waiting=find_waiting(pod),
        event=find_telling_event(observed.kubernetes_events, pod),
    )


def _lasts(since: datetime | None, now: datetime, seconds: int) -> bool:
    return since is not None and (now - since).total_seconds() >= seconds


def _progress(observed: PodWaitObservation, pod: PodSnapshot | None) -> str:
    if pod is None:
        if observed.job is not None and observed.job.suspended:
            return f"No pod yet: {queue_words(observed.job)}."
        refusal = _find_refused_creation(observed)
        return f"No pod yet: {refusal.message}" if refusal else "No pod yet."
    if pod.deleting:
        return f"Pod {pod.name} is being deleted before it has started; waiting for it to end."
    scheduled = pod.condition("PodScheduled")
    if not _is_scheduled(pod):
        why = scheduled.message if scheduled is not None else None
        return f"Pod {pod.name} waits for a node" + (f": {why}" if why else ".")
    place = f"Pod {pod.name} on node {pod.node_name}"
    waiting = find_waiting(pod)
    if waiting is not None:
        return f"{place}: {describe_waiting(waiting)}"
    failing = find_failing(pod, 1)
    if failing is not None:
        return f"{place}: {describe_failing(failing)}."
    unstarted = find_unstarted(pod)
    if unstarted is not None:
        return f"{place}: {unstarted[1]}."
    preparing = find_preparing(pod)
    if preparing is not None:
        return f"{place}: container {preparing.name} runs before the agent's."
    event = find_telling_event(observed.kubernetes_events, pod)
    return f"{place} is starting: {event.message}" if event else f"{place} is starting."
