"""Reasons as Kubernetes spells them, and which cause each one shows.

Of pods (`status.reason`), of the pod condition DisruptionTarget (1.26 and later), and of Kubernetes
Events; those of containers are in `waiting_reasons`.
"""

from tasks.observation.snapshots import PodSnapshot
from tasks.observation.waiting_reasons import RULES
from tasks.vocabulary.error_codes import Cause

PREEMPTED = frozenset({"Preempted", "Preempting"})
PREEMPTED_BY = frozenset({"PreemptionByKubeScheduler", "PreemptionByScheduler"})
NODE_LOST = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
NODE_LOST_BY = frozenset({"DeletionByPodGC"})
EVICTED = frozenset({"Evicted"})
# A drain comes before its node is switched off; taints and kubelets may tell of a lost node.
DRAINED_BY = frozenset({"EvictionByEvictionAPI"})
EVICTED_BY = frozenset({"DeletionByTaintManager", "TerminationByKubelet"}) | DRAINED_BY

# Events about pods; they tell of a pod what older servers say nowhere else. TaintManagerEviction is
# left out: it says as well that a deletion is called off, and a real one has its condition.
PREEMPTED_EVENTS = frozenset({"Preempted", "Preempting"})
NODE_LOST_EVENTS = frozenset({"NodeNotReady"})
EVICTED_EVENTS = frozenset({"Evicted"})
UNSCHEDULABLE_EVENTS = frozenset({"FailedScheduling"})
# Events about Jobs.
DEADLINE_EVENTS = frozenset({"DeadlineExceeded"})
# Of a Job's condition: its pod failure policy, whose only rule is on DisruptionTarget, ended it.
POD_DISRUPTED = "PodFailurePolicy"


def container_reasons(cause: Cause) -> frozenset[str]:
    """Return the reasons of container states, waiting or terminated, that show a cause."""
    return frozenset(reason for reason, rule in RULES.items() if rule.cause is cause)


IMAGE_PULL = container_reasons(Cause.IMAGE_PULL)
CONFIG_ERROR = container_reasons(Cause.CONFIG_ERROR)


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
    return (Cause.EVICTED, disruption_words(by)) if pod.disruption is not None else None


def disruption_words(reason: str | None) -> str:
    """Return in words that a pod was disrupted for a reason that is not one of Kubernetes' own."""
    return "condition DisruptionTarget, " + (f"reason {reason}" if reason else "without a reason")
