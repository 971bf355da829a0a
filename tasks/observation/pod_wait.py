"""Waiting for an agent's container: what heals is waited for, what never will ends the wait.

Judge after successful reads only: an API that is away says nothing about the pod. No clock of a
node is used; what has no time of its own is timed from the look at which it was first seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.agent_job.runtime_spec import Limits
from tasks.observation import pod_reasons
from tasks.observation.beside_agent import describe_unstarted
from tasks.observation.pod_wait_failures import (
    PodWaitFailure,
    api_refusal,
    container_never_ran,
    credentials_missing,
    describe_waiting,
    image_unavailable,
    init_container_failed,
    job_ended_first,
    job_gone_first,
    pod_ended_first,
    pod_never_appeared,
    pod_never_scheduled,
    pod_never_started,
    pod_will_not_start,
)
from tasks.observation.snapshots import (
    ContainerSnapshot,
    JobSnapshot,
    KubernetesEventSnapshot,
    PodSnapshot,
)
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.names import PodUid

# A Secret that is written a moment after the Job is no reason to give up; one that is missing after
# this time was forgotten.
MISSING_CONFIG_SECONDS = 20
_TELLING = pod_reasons.IMAGE_PULL | pod_reasons.CONFIG_ERROR


@dataclass(frozen=True, slots=True)
class PodWaitHistory:
    """What earlier looks have seen; begins with the wait, by the API server's clock.

    Attributes:
        pod_uid: The pod that the other times are about.
        pod_since: Since when this pod is waited for.
        scheduled_since: When it was first seen to have a node.
        pull_failing_since: When pulling its image was first seen to fail.
        config_missing_since: When something that its spec refers to was first seen to be missing.
    """

    started_at: datetime
    pod_uid: PodUid | None = None
    pod_since: datetime | None = None
    scheduled_since: datetime | None = None
    pull_failing_since: datetime | None = None
    config_missing_since: datetime | None = None


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
    """The agent's container has not run and will not."""

    code: ErrorCode
    cause: Cause
    message: str
    advice: str
    pod: PodSnapshot | None


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
        limits: Separate ones for getting a node, for starting on it and for failing image pulls.
        reattaching: The Job was taken over; a failure is then `k8s_pod_reattach_failed`.
    """
    pod = _choose_pod(observed)
    if pod is not None and _has_run(pod):
        return Ready(pod)
    history = _remember(history, pod, observed.now)
    failure = _find_failure(observed, pod, history, limits)
    if failure is None:
        return Waiting(_progress(observed, pod), pod, history)
    default = ErrorCode.POD_REATTACH_FAILED if reattaching else ErrorCode.POD_SCHEDULE_FAILED
    return Failed(failure.code or default, failure.cause, failure.message, failure.advice, pod)


def _choose_pod(observed: PodWaitObservation) -> PodSnapshot | None:
    """Return the bound pod, else the newest that has run, else the newest that may yet."""
    if observed.bound_uid is not None:
        return next((pod for pod in observed.pods if pod.uid == observed.bound_uid), None)
    for wanted in (_has_run, _may_start):
        found = next(filter(wanted, observed.pods), None)
        if found is not None:
            return found
    return next(iter(observed.pods), None)


def _has_run(pod: PodSnapshot) -> bool:
    # Where nobody knows whether it ran, the stream and the outcome will tell more than a guess.
    return pod.agent is not None and pod.agent.has_run is not False


def _may_start(pod: PodSnapshot) -> bool:
    return not (pod.deleting or pod.ended)


def _remember(history: PodWaitHistory, pod: PodSnapshot | None, now: datetime) -> PodWaitHistory:
    if pod is None:
        return history
    if pod.uid != history.pod_uid:
        first = history.pod_uid is None
        history = PodWaitHistory(
            history.started_at, pod.uid, pod_since=history.started_at if first else now
        )
    return replace(
        history,
        scheduled_since=_since(history.scheduled_since, now, holds=_is_scheduled(pod)),
        pull_failing_since=_since(
            history.pull_failing_since,
            now,
            holds=_waiting_for(pod, pod_reasons.IMAGE_BACK_OFF) is not None,
        ),
        config_missing_since=_since(
            history.config_missing_since,
            now,
            holds=_waiting_for(pod, pod_reasons.CONFIG_MISSING) is not None,
        ),
    )


def _since(before: datetime | None, now: datetime, *, holds: bool) -> datetime | None:
    return (before or now) if holds else None


def _is_scheduled(pod: PodSnapshot) -> bool:
    return pod.node_name is not None


def _waiting_for(pod: PodSnapshot, reasons: frozenset[str]) -> ContainerSnapshot | None:
    for container in (*pod.init_containers, *pod.containers):
        if container.waiting is not None and container.waiting.reason in reasons:
            return container
    return None


def _find_failure(
    observed: PodWaitObservation,
    pod: PodSnapshot | None,
    history: PodWaitHistory,
    limits: Limits,
) -> PodWaitFailure | None:
    if pod is not None:
        failure = _find_ended(pod, observed) or _find_hopeless(pod)
        if failure is not None:
            return failure
    if observed.job is None or observed.job.deleting:
        return job_gone_first(observed.job)
    if observed.job.final_condition is not None:
        return job_ended_first(observed.job, observed.job.final_condition)
    if pod is None:
        if observed.bound_uid is not None:
            return pod_will_not_start(None, observed.pods)
        return _find_no_pod(observed, history, limits)
    return _find_overdue(pod, observed, history, limits)


def _find_ended(pod: PodSnapshot, observed: PodWaitObservation) -> PodWaitFailure | None:
    failed = pod.failed_init_container
    if failed is not None and failed.terminated is not None:
        return init_container_failed(pod, failed.name, failed.terminated)
    if pod.agent is not None and pod.agent.terminated is not None:
        return container_never_ran(pod, pod.agent.terminated)
    if pod.ended:
        return pod_ended_first(pod)
    if pod.deleting and observed.bound_uid is not None and observed.job is not None:
        return None if observed.job.deleting else pod_will_not_start(pod, observed.pods)
    return None


def _find_hopeless(pod: PodSnapshot) -> PodWaitFailure | None:
    container = _waiting_for(pod, pod_reasons.IMAGE_NEVER)
    return None if container is None else image_unavailable(pod, container, None)


def _find_no_pod(
    observed: PodWaitObservation, history: PodWaitHistory, limits: Limits
) -> PodWaitFailure | None:
    if _seconds(history.started_at, observed.now) < limits.scheduling_seconds:
        return None
    refusal = _newest(observed.kubernetes_events, {"FailedCreate"})
    if refusal is not None:
        return api_refusal(refusal, limits.scheduling_seconds)
    return pod_never_appeared(limits.scheduling_seconds)


def _find_overdue(
    pod: PodSnapshot, observed: PodWaitObservation, history: PodWaitHistory, limits: Limits
) -> PodWaitFailure | None:
    now = observed.now
    if history.scheduled_since is None:
        since = history.pod_since or history.started_at
        if _seconds(since, now) < limits.scheduling_seconds:
            return None
        return pod_never_scheduled(pod, limits.scheduling_seconds)
    container = _waiting_for(pod, pod_reasons.CONFIG_MISSING)
    if container is not None and _lasts(history.config_missing_since, now, MISSING_CONFIG_SECONDS):
        return credentials_missing(pod, container, MISSING_CONFIG_SECONDS)
    container = _waiting_for(pod, pod_reasons.IMAGE_BACK_OFF)
    if container is not None and _lasts(
        history.pull_failing_since, now, limits.image_pull_backoff_seconds
    ):
        return image_unavailable(pod, container, limits.image_pull_backoff_seconds)
    if _lasts(history.scheduled_since, now, limits.start_seconds):
        return pod_never_started(pod, _newest_about(pod, observed), limits.start_seconds)
    return None


def _lasts(since: datetime | None, now: datetime, seconds: int) -> bool:
    return since is not None and _seconds(since, now) >= seconds


def _seconds(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()


def _progress(observed: PodWaitObservation, pod: PodSnapshot | None) -> str:
    if pod is None:
        refusal = _newest(observed.kubernetes_events, {"FailedCreate"})
        return f"No pod yet: {refusal.message}" if refusal else "No pod yet."
    if pod.deleting:
        return f"Pod {pod.name} is being deleted before it has started; waiting for another."
    scheduled = pod.condition("PodScheduled")
    if not _is_scheduled(pod):
        why = scheduled.message if scheduled is not None else None
        return f"Pod {pod.name} waits for a node" + (f": {why}" if why else ".")
    place = f"Pod {pod.name} on node {pod.node_name}"
    held_up = _waiting_for(pod, _TELLING)
    if held_up is not None:
        return f"{place}: {describe_waiting(held_up)}"
    unstarted = describe_unstarted(pod)
    if unstarted is not None:
        return f"{place}: {unstarted}."
    preparing = next(filter(_prepares, pod.init_containers), None)
    if preparing is not None:
        return f"{place}: container {preparing.name} runs before the agent's."
    event = _newest_about(pod, observed)
    return f"{place} is starting: {event.message}" if event else f"{place} is starting."


def _prepares(container: ContainerSnapshot) -> bool:
    return container.running is not None and not container.runs_beside


def _newest_about(pod: PodSnapshot, observed: PodWaitObservation) -> KubernetesEventSnapshot | None:
    about = [event for event in observed.kubernetes_events if event.about_uid == pod.uid]
    return _newest(
        about, {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Pulling"}
    )


def _newest(
    events: Sequence[KubernetesEventSnapshot], reasons: set[str]
) -> KubernetesEventSnapshot | None:
    found = [event for event in events if event.reason in reasons]
    return max(
        found, key=lambda event: event.last_at.timestamp() if event.last_at else 0.0, default=None
    )
