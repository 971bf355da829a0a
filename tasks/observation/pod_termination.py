"""Pods and Jobs that part: a pod that outlives its Job, and a Job whose queue ends its pod."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.observation.snapshots import JobSnapshot, PodSnapshot

# The pod of a Job deleted in the foreground was gone 5 to 12 s after its container's end.
TERMINATION_SLACK = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class TerminationVerdict:
    """The judgement on the pods of Jobs that are over, deleted or gone.

    Attributes:
        waiting: Pods that will have gone at `until`, by the API server's clock.
        stuck: Pods whose time is up and whose agent may be alive all the same.
    """

    waiting: tuple[PodSnapshot, ...] = ()
    until: datetime | None = None
    stuck: tuple[PodSnapshot, ...] = ()


def judge_termination(
    pods: Sequence[PodSnapshot],
    jobs: Sequence[JobSnapshot],
    *,
    first_look_at: datetime,
    server_now: datetime,
) -> TerminationVerdict:
    """Tell which pods of an agent have yet to end although their Jobs have.

    The wait is bounded by the grace of each pod. A pod that is being deleted and whose agent does
    not run counts as absent after that; one whose agent was last seen running never does, since its
    node may be cut off and two agents at once are worse than none.

    Args:
        pods: All of the agent's.
        jobs: All of the agent's.
        first_look_at: When somebody began to look at them; bounds the wait for pods that nobody
            has asked to be deleted.
        server_now: By the API server's clock, as `first_look_at`.
    """
    lingering = [pod for pod in pods if _lingers(pod, jobs)]
    gone_at = {pod.uid: (pod.deletion_at or first_look_at) + TERMINATION_SLACK for pod in lingering}
    waiting = tuple(pod for pod in lingering if gone_at[pod.uid] > server_now)
    return TerminationVerdict(
        waiting,
        max((gone_at[pod.uid] for pod in waiting), default=None),
        tuple(pod for pod in lingering if pod not in waiting and _may_be_alive(pod)),
    )


def is_preempted_by_queue(
    job: JobSnapshot | None, pod: PodSnapshot | None, *, pod_is_gone: bool
) -> bool:
    """Tell whether the Job's queue has taken its place back, which deletes its pod.

    The queue would admit the same Job again, and the Job controller would give it another pod.

    Args:
        job: As last seen.
        pod: The agent's, as last seen.
        pod_is_gone: Whether that pod has been deleted.
    """
    if job is None or pod is None or not job.suspended or job.over or job.deleting:
        return False
    return pod.deleting or pod_is_gone


def _lingers(pod: PodSnapshot, jobs: Sequence[JobSnapshot]) -> bool:
    if pod.ended or (pod.agent is not None and pod.agent.terminated is not None):
        return False
    job = next((job for job in jobs if job.uid == pod.job_uid), None)
    return job is None or job.deleting or job.over


def _may_be_alive(pod: PodSnapshot) -> bool:
    return not pod.deleting or (pod.agent is not None and pod.agent.running is not None)
