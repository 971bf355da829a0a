"""Has the agent's Job ended? Only observed endings count.

In this order: the agent's container terminated; a final condition of the Job; a 404 that a second
read has confirmed for the same UID. Silence, a dropped stream, a slow model or a failed read are no
ending.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tasks.agent_job.runtime_spec import Limits
from tasks.observation.api_fields import Condition
from tasks.observation.container_states import ContainerTerminated
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.names import PodUid

# Kubernetes' own, for pods that do not say.
_DEFAULT_GRACE_SECONDS = 30
# The pod of a Job deleted in the foreground was gone 5 to 12 s after its container's end.
_KUBELET_LAG_SECONDS = 30
# A pod may be called Failed (evicted, node shut down) before its containers are reported as ended.
_LATE_STATE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class CompletionHistory:
    """Since when each thing has held without a break, in seconds of a clock that never jumps."""

    container_ended_at: float | None = None
    drained_at: float | None = None
    job_finished_at: float | None = None
    job_gone_at: float | None = None
    job_deleting_at: float | None = None
    pod_gone_at: float | None = None


@dataclass(frozen=True, slots=True)
class CompletionObservation:
    """What is known at one instant.

    Attributes:
        job: The newest state, kept after the Job has gone; `None` until it was seen.
        job_gone: No Job of this UID exists, read twice.
        pods: All of the Job's ever seen, newest first; one whose container was ever seen terminated
            in that state, whatever was read of it later.
        gone_uids: Pods that were looked for and were not there.
        bound_uid: The pod for which the prompt was written; the first one where `None`.
        drained: The log stream has delivered everything there is, or has given up.
        proven: Output and container agree on the agent's end (`tasks.outcome.proven_end`).
        seconds_since_good_read: How long the API has told nothing.
        now: Seconds of a clock that never jumps.
    """

    job: JobSnapshot | None
    job_gone: bool
    pods: Sequence[PodSnapshot]
    gone_uids: frozenset[PodUid]
    bound_uid: PodUid | None
    drained: bool
    proven: bool
    seconds_since_good_read: float
    now: float


class EndedBy(StrEnum):
    """Which observation says that the run has ended."""

    CONTAINER = "container terminated"
    POD = "pod ended"
    JOB_CONDITION = "Job condition"
    POD_GONE = "pod gone"


@dataclass(frozen=True, slots=True)
class StillRunning:
    """Nothing says that it has ended.

    Attributes:
        history: To be handed to the next judgement.
    """

    reason: str
    history: CompletionHistory


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent's container has ended.

    Attributes:
        pod: The agent's; `None` if none was ever seen.
        terminated: Its container's ending; `None` where it was not observed.
        condition: The Job's final one; `None` where it did not come in time.
        job_gone: The Job was deleted, too.
    """

    by: EndedBy
    pod: PodSnapshot | None
    terminated: ContainerTerminated | None
    condition: Condition | None
    job_gone: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """The Job was deleted, and its container's ending was not observed."""

    pod: PodSnapshot | None


@dataclass(frozen=True, slots=True)
class ApiLost:
    """The API has been away for too long, by now for `seconds`; leave everything as it is."""

    seconds: float


CompletionVerdict = StillRunning | Ended | Gone | ApiLost


def judge_completion(
    observed: CompletionObservation, history: CompletionHistory, limits: Limits
) -> CompletionVerdict:
    """Tell whether the agent's Job still runs, has ended, has gone or cannot be known.

    Args:
        observed: What is known now; nothing new needs to have been read.
        history: From the last `StillRunning`, or an empty one.
        limits: The grace for a Job condition after the container's end, and the API-loss limit.
    """
    pod = find_agent_pod(observed.pods, observed.bound_uid)
    history = _remember(observed, pod, history)
    verdict = (
        _judge_container(observed, pod, history, limits)
        or _judge_condition(observed, pod, history)
        or _judge_absence(observed, pod, history, limits)
    )
    if verdict is not None:
        return verdict
    if observed.seconds_since_good_read >= limits.api_loss_seconds:
        return ApiLost(observed.seconds_since_good_read)
    return StillRunning(_describe(observed, pod), history)


def find_agent_pod(pods: Sequence[PodSnapshot], bound_uid: PodUid | None) -> PodSnapshot | None:
    """Return the pod for which the prompt was written; by default the first there was.

    Args:
        pods: Of one Job, newest first.
        bound_uid: Its UID, where known.
    """
    if bound_uid is None:
        return pods[-1] if pods else None
    return next((pod for pod in pods if pod.uid == bound_uid), None)


def find_replacement(
    pods: Sequence[PodSnapshot], agent_pod: PodSnapshot | None
) -> PodSnapshot | None:
    """Return the newest pod that came in place of the agent's; it never gets the prompt."""
    return next((pod for pod in pods if agent_pod is None or pod.uid != agent_pod.uid), None)


def _remember(
    observed: CompletionObservation, pod: PodSnapshot | None, history: CompletionHistory
) -> CompletionHistory:
    def since(before: float | None, holds: bool) -> float | None:
        if not holds:
            return None
        return observed.now if before is None else before

    job = observed.job
    return replace(
        history,
        container_ended_at=since(history.container_ended_at, _has_ended(pod)),
        drained_at=since(history.drained_at, observed.drained),
        job_finished_at=since(history.job_finished_at, job is not None and job.finished),
        job_gone_at=since(history.job_gone_at, observed.job_gone),
        job_deleting_at=since(history.job_deleting_at, job is not None and job.deleting),
        pod_gone_at=since(history.pod_gone_at, _is_gone(observed, pod)),
    )


def _terminated(pod: PodSnapshot | None) -> ContainerTerminated | None:
    return pod.agent.terminated if pod is not None and pod.agent is not None else None


def _has_ended(pod: PodSnapshot | None) -> bool:
    return pod is not None and (pod.ended or _terminated(pod) is not None)


def _is_gone(observed: CompletionObservation, pod: PodSnapshot | None) -> bool:
    return pod is None or pod.uid in observed.gone_uids


def _judge_container(
    observed: CompletionObservation,
    pod: PodSnapshot | None,
    history: CompletionHistory,
    limits: Limits,
) -> Ended | None:
    """Wait for the Job's condition after an end that is not proven, but not for ever."""
    if not _has_ended(pod):
        return None
    by = EndedBy.POD if _terminated(pod) is None else EndedBy.CONTAINER
    if by is EndedBy.POD and _may_tell_more(observed, pod, history):
        return None
    # A Job that is being deleted gets no condition any more.
    job = observed.job
    settled = observed.job_gone or (job is not None and (job.finished or job.deleting))
    if settled or observed.proven:
        return _ended(by, observed, pod)
    if history.container_ended_at is None or history.drained_at is None:
        return None
    both_at = max(history.container_ended_at, history.drained_at)
    overdue = observed.now - both_at >= limits.completion_grace_seconds
    return _ended(by, observed, pod) if overdue else None


def _may_tell_more(
    observed: CompletionObservation, pod: PodSnapshot | None, history: CompletionHistory
) -> bool:
    """Tell whether the container's own ending may still come, of a pod that is there."""
    ended_at = history.container_ended_at
    if _is_gone(observed, pod) or ended_at is None:
        return False
    return observed.now - ended_at < _LATE_STATE_SECONDS


def _judge_condition(
    observed: CompletionObservation, pod: PodSnapshot | None, history: CompletionHistory
) -> Ended | None:
    """Take the Job's word, after giving a container that still runs the time to end.

    A Job may be Failed while a node that does not answer still runs its agent, or while the agent
    has just been asked to stop and has its last lines to print.
    """
    if history.job_finished_at is None or _has_ended(pod):
        return None
    waited = observed.now - history.job_finished_at
    if _is_gone(observed, pod) or waited >= _patience_seconds(pod):
        return _ended(EndedBy.JOB_CONDITION, observed, pod)
    return None


def _judge_absence(
    observed: CompletionObservation,
    pod: PodSnapshot | None,
    history: CompletionHistory,
    limits: Limits,
) -> Ended | Gone | None:
    """Judge a Job or pod that has gone before its container's ending was observed."""
    if _has_ended(pod):
        return None
    # A pod that nobody has asked to go works on without its Job; the agent's own limit ends it.
    going = pod is not None and pod.deleting
    leaving_at = history.job_deleting_at if going else None
    since = history.job_gone_at if history.job_gone_at is not None else leaving_at
    if since is not None:
        # A node that is gone never reports the end of its pods, and the Job waits for them.
        overdue = going and observed.now - since >= _patience_seconds(pod)
        job_gone = history.job_gone_at is not None
        return Gone(pod) if overdue or (job_gone and _is_gone(observed, pod)) else None
    # A pod that was told to go and does not may be at work on a node that does not answer.
    if history.pod_gone_at is None or (pod is None and observed.bound_uid is None):
        return None
    replaced = find_replacement(observed.pods, pod) is not None
    overdue = observed.now - history.pod_gone_at >= limits.completion_grace_seconds
    return _ended(EndedBy.POD_GONE, observed, pod) if replaced or overdue else None


def stalled_seconds(
    silent_seconds: float,
    *,
    limit_seconds: int | None,
    allowed_seconds: float,
    agent_has_ended: bool,
) -> float | None:
    """Return how long an agent has been silent, if that is longer than it may be.

    Args:
        silent_seconds: Since its last line.
        limit_seconds: The runtime's limit; `None` for none.
        allowed_seconds: What comes on top of it, for a tool at work or a retry.
        agent_has_ended: The run script has said so. What goes on in the pod then is the check of
            the agent's work, which may be silent and has a time limit of its own.
    """
    if limit_seconds is None or agent_has_ended:
        return None
    return silent_seconds if silent_seconds >= limit_seconds + allowed_seconds else None


def _patience_seconds(pod: PodSnapshot | None) -> float:
    grace = pod.grace_seconds if pod is not None else None
    return (_DEFAULT_GRACE_SECONDS if grace is None else grace) + _KUBELET_LAG_SECONDS


def _ended(by: EndedBy, observed: CompletionObservation, pod: PodSnapshot | None) -> Ended:
    return Ended(
        by=by,
        pod=pod,
        terminated=_terminated(pod),
        condition=observed.job.final_condition if observed.job is not None else None,
        job_gone=observed.job_gone,
    )


def _describe(observed: CompletionObservation, pod: PodSnapshot | None) -> str:
    if pod is None:
        return "The Job has no pod that was seen."
    if _has_ended(pod):
        return f"The agent in pod {pod.name} has ended; waiting for the Job's condition."
    if observed.job_gone:
        return f"The Job was deleted; its pod {pod.name} is still there."
    return f"Pod {pod.name} is {pod.phase}."
