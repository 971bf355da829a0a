"""What somebody did to a pod or its Job before the agent started; it comes before what follows.

Whoever ends a pod ends its init containers by a signal, sets its phase to Failed and makes its Job
fail. So a deletion, a deadline or a disruption is looked for first, and what containers and phases
show is the cause only where nothing of that kind is known.
"""

from collections.abc import Sequence
from datetime import datetime

from tasks.observation.container_states import CLOCK_SLACK
from tasks.observation.pod_reasons import POD_DISRUPTED, find_disruption
from tasks.observation.pod_wait_failures import (
    PodWaitFailure,
    StartSeen,
    job_ended_first,
    job_gone_first,
    pod_ended_first,
    pod_will_not_start,
    preempted_by_queue,
)
from tasks.observation.snapshots import JobSnapshot, PodSnapshot

# SIGKILL and SIGTERM, as a shell reports them.
_BY_SIGNAL = frozenset({137, 143})


def find_interruption(
    job: JobSnapshot | None,
    pod: PodSnapshot | None,
    pods: Sequence[PodSnapshot],
    seen: StartSeen,
    *,
    is_bound: bool,
) -> PodWaitFailure | None:
    """Return what was done to the Job or to the pod that keeps the agent from starting.

    Args:
        job: `None` once its absence is confirmed.
        pod: The one that is waited for.
        pods: All of the Job's.
        seen: What is known of the agent's start.
        is_bound: No other pod will start the agent.
    """
    if pod is not None and _failed_by_itself(job, pod):
        return None
    if job is None or job.deleting:
        return job_gone_first(job, seen)
    is_going = pod is not None and pod.deleting and (is_bound or pod.ended)
    if is_bound and job.suspended and (pod is None or is_going):
        return preempted_by_queue(job)
    failure = job.failure
    if failure is not None and failure.reason == "DeadlineExceeded":
        return job_ended_first(job, failure, seen)
    if pod is not None and find_disruption(pod) is not None:
        if pod.ended or pod.failed_init_container is not None:
            return pod_ended_first(pod, seen)
        return pod_will_not_start(pod, pods, seen) if is_going else None
    if failure is not None and failure.reason == POD_DISRUPTED:
        return job_ended_first(job, failure, seen)
    # A reason of the pod's own, such as OutOfcpu, was there before somebody cleared it away.
    if pod is not None and is_going and pod.reason is None:
        return pod_will_not_start(pod, pods, seen)
    return None


def _failed_by_itself(job: JobSnapshot | None, pod: PodSnapshot) -> bool:
    """Return whether a container failed for a reason of its own, or before all that was done."""
    failed = pod.failed_init_container
    ended = failed.terminated if failed is not None else None
    if ended is None:
        return pod.agent is not None and pod.agent.terminated is not None
    if ended.exit_code not in _BY_SIGNAL or ended.reason == "OOMKilled":
        return True
    first = min(_interrupted_at(job, pod), default=None)
    if first is None or ended.finished_at is None:
        return False
    return ended.finished_at + CLOCK_SLACK < first


def _interrupted_at(job: JobSnapshot | None, pod: PodSnapshot) -> list[datetime]:
    failure = job.failure if job is not None else None
    times = (
        job.deletion_at if job is not None else None,
        # Any other failure of the Job follows from the pod's.
        failure.changed_at if failure and failure.reason == "DeadlineExceeded" else None,
        # The kubelet's own last DELETE, with no grace, hides when somebody asked.
        pod.deletion_asked_at if pod.grace_seconds else None,
        pod.disruption.changed_at if pod.disruption is not None else None,
    )
    return [instant for instant in times if instant is not None]
