"""A Job and its pods, as a run or an onlooker sees them at this moment."""

from dataclasses import dataclass

from tasks.cluster.watching.job_observer import JobObserver
from tasks.log_following.log_follower import PodView
from tasks.observation.api_fields import RawObject
from tasks.observation.completion_rules import find_agent_pod
from tasks.observation.pod_states import merge_states
from tasks.observation.snapshots import JobSnapshot, PodSnapshot, pods_from_api
from tasks.vocabulary.names import JobName, JobUid, PodUid, line_token


@dataclass(kw_only=True)
class ObservedJob:
    """One Job, its observer, and the one pod that may use its Secret.

    Attributes:
        pod_uid, pod_name: That pod; null until it is known.
    """

    job_name: JobName
    job_uid: JobUid
    observer: JobObserver
    pod_name: str | None = None
    pod_uid: PodUid | None = None

    @property
    def line_token(self) -> str:
        """What every line of its run script begins with."""
        return line_token(self.job_name)

    @property
    def job(self) -> JobSnapshot | None:
        """The Job as last seen."""
        raw = self.observer.observation.job
        return None if raw is None else JobSnapshot.from_api(raw)

    @property
    def pods(self) -> tuple[PodSnapshot, ...]:
        """All pods ever seen, newest first; an ended one as it ended, whatever came later."""
        return pods_from_api(self.raw_pods)

    @property
    def raw_pods(self) -> tuple[RawObject, ...]:
        """The same as the API server gave them, oldest first."""
        observed = self.observer.observation.pods
        return tuple(merge_states(pod.latest, pod.terminated, pod.leaving) for pod in observed)

    @property
    def pod(self) -> PodSnapshot | None:
        """The pod that may use the run's Secret; the first one if that is not known."""
        return find_agent_pod(self.pods, self.pod_uid)

    @property
    def gone_pods(self) -> frozenset[PodUid]:
        """The pods that were deleted."""
        observed = self.observer.observation.pods
        return frozenset(PodUid(pod.latest["metadata"]["uid"]) for pod in observed if pod.is_gone)

    @property
    def pod_is_gone(self) -> bool:
        """Whether the pod that may use the run's Secret was deleted."""
        pod = self.pod
        return pod is not None and pod.uid in self.gone_pods

    def bind(self, pod: PodSnapshot) -> None:
        """Note the one pod that may use the run's Secret."""
        self.pod_uid, self.pod_name = pod.uid, pod.name

    def view_pod(self) -> PodView:
        """Return what the follower of its output needs to know of the pod."""
        pod = self.pod
        if pod is None:
            is_gone = self.observer.observation.job_is_gone
            return PodView(container_started=False, container_ended=False, pod_gone=is_gone)
        agent = pod.agent
        return PodView(
            container_started=agent is not None and agent.has_run is not False,
            container_ended=pod.ended or (agent is not None and agent.terminated is not None),
            pod_gone=self.pod_is_gone,
            termination_message=agent.terminated.message if agent and agent.terminated else None,
        )
