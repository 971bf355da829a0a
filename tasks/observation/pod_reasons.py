"""Reasons as Kubernetes spells them, and which cause each one shows.

Of pods (`status.reason`), of the pod condition DisruptionTarget (1.26 and later), of container
states, and of Kubernetes Events.
"""

from tasks.observation.snapshots import PodSnapshot
from tasks.vocabulary.error_codes import Cause

PREEMPTED = frozenset({"Preempted", "Preempting"})
PREEMPTED_BY = frozenset({"PreemptionByKubeScheduler", "PreemptionByScheduler"})
NODE_LOST = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
NODE_LOST_BY = frozenset({"DeletionByPodGC"})
EVICTED = frozenset({"Evicted"})
EVICTED_BY = frozenset({"DeletionByTaintManager", "EvictionByEvictionAPI", "TerminationByKubelet"})

# Events about pods; they tell of a pod what older servers say nowhere else.
PREEMPTED_EVENTS = frozenset({"Preempted", "Preempting"})
NODE_LOST_EVENTS = frozenset({"NodeNotReady"})
EVICTED_EVENTS = frozenset({"Evicted"})
# Said as well where a deletion is called off, so that it counts for pods that are going alone.
TAINT_EVENTS = frozenset({"TaintManagerEviction"})
UNSCHEDULABLE_EVENTS = frozenset({"FailedScheduling"})
# Events about Jobs.
DEADLINE_EVENTS = frozenset({"DeadlineExceeded"})

# No retry of the kubelet will help.
IMAGE_NEVER = frozenset({"ErrImageNeverPull", "InvalidImageName"})
IMAGE_BACK_OFF = frozenset(
    {"ErrImagePull", "ImageInspectError", "ImagePullBackOff", "RegistryUnavailable"}
)
IMAGE_PULL = IMAGE_NEVER | IMAGE_BACK_OFF
# Before the runtime has created the container: something that its spec refers to is missing.
CONFIG_MISSING = frozenset({"CreateContainerConfigError", "CreateContainerError"})
CANNOT_START = frozenset({"ContainerCannotRun", "RunContainerError", "StartError"})
CONFIG_ERROR = CONFIG_MISSING | CANNOT_START


def find_disruption(pod: PodSnapshot) -> tuple[Cause, str] | None:
    """Return what the cluster did to a pod, with the reason that shows it."""
    by = pod.disruption.reason if pod.disruption else None
    for cause, reasons, disruptions in (
        (Cause.PREEMPTED, PREEMPTED, PREEMPTED_BY),
        (Cause.NODE_LOST, NODE_LOST, NODE_LOST_BY),
        (Cause.EVICTED, EVICTED, EVICTED_BY),
    ):
        if pod.reason in reasons:
            return cause, str(pod.reason)
        if by in disruptions:
            return cause, str(by)
    return None
