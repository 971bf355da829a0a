"""What each cause means, for people who do not know Kubernetes."""

from tasks.vocabulary.error_codes import Cause

CAUSE_MEANINGS: dict[Cause, str] = {
    Cause.OOM_KILLED: "the container used more memory than it may, and the kernel killed it",
    Cause.SIGKILL: "the agent's process was killed (signal 9)",
    Cause.SIGTERM: "the agent's process was asked to end (signal 15)",
    Cause.EVICTED: "the node put the pod out to save its own memory or disk",
    Cause.POD_REPLACED: "the pod went away while it worked, and the Job made another one",
    Cause.PREEMPTED: "the pod had to make room for one of higher priority",
    Cause.NODE_LOST: "the node went away, or does not answer any more",
    Cause.DEADLINE_EXCEEDED: "the time that the Job may take was up",
    Cause.IMAGE_PULL: "the container image could not be pulled",
    Cause.UNSCHEDULABLE: "no node had room for the pod or was allowed to take it",
    Cause.CONFIG_ERROR: "the pod refers to something that is wrong or does not exist",
    Cause.APP_EXIT: "the agent's process ended by itself; the cluster did as it should",
    Cause.JOB_DELETED: "somebody or something deleted the Job",
    Cause.UNKNOWN: "nothing that could be read says what ended it",
}
