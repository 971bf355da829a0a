"""The meaning of each cause, for people who do not know Kubernetes."""

from tasks.vocabulary.error_codes import Cause

CAUSE_MEANINGS: dict[Cause, str] = {
    Cause.OOM_KILLED: "the container used too much memory, and the kernel killed it",
    Cause.SIGKILL: "the agent's process was killed (signal 9)",
    Cause.SIGTERM: "the agent's process was asked to stop (signal 15)",
    Cause.EVICTED: "the cluster evicted the pod from its node",
    Cause.POD_REPLACED: "the pod was lost while it was working, and the Job created another one",
    Cause.PREEMPTED: "the pod was removed to make room for a pod with a higher priority",
    Cause.NODE_LOST: "the node was removed or no longer answers",
    Cause.DEADLINE_EXCEEDED: "a time limit was reached",
    Cause.IMAGE_PULL: "the container image could not be pulled",
    Cause.UNSCHEDULABLE: "no node had enough free resources for the pod, or matched its rules",
    Cause.CONFIG_ERROR: "something that the pod needs is invalid or missing",
    Cause.APP_EXIT: "the process exited by itself; the cluster did nothing to it",
    Cause.JOB_DELETED: "somebody or something deleted the Job",
    Cause.UNKNOWN: "nothing that could be read shows what ended it",
}
