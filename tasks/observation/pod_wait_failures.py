"""The failures that keep an agent's container from starting, with texts for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tasks.observation.api_fields import Condition
from tasks.observation.beside_agent import describe_running, find_preparing, find_unstarted
from tasks.observation.cluster_evidence import (
    ARCHITECTURE_ADVICE,
    NodeSnapshot,
    shows_wrong_architecture,
)
from tasks.observation.container_states import ContainerTerminated, cause_of_failed_init
from tasks.observation.pod_reasons import POD_DISRUPTED, find_disruption
from tasks.observation.pod_refusals import RefusalRule
from tasks.observation.snapshots import (
    ContainerSnapshot,
    JobSnapshot,
    KubernetesEventSnapshot,
    PodSnapshot,
)
from tasks.observation.telling_events import rule_of
from tasks.observation.waiting_reasons import WaitingRule, find_waiting_rule
from tasks.text.quoting import quote
from tasks.vocabulary.error_codes import Cause, ErrorCode


class StartSeen(Enum):
    """What is known of the agent's start when its pod or Job has gone or ended.

    `IMPOSSIBLE`: its prompt did not exist yet. `NOT_SEEN`: its pod was seen, and not its start; it
    may have come after the last look. `NOT_LOOKED`: nobody saw its pod, for example after a
    takeover.
    """

    IMPOSSIBLE = "before the agent started"
    NOT_SEEN = "before the agent was seen to start"
    NOT_LOOKED = "at a time that was not seen; its agent may have run before"

    @property
    def words(self) -> str:
        """When something happened, as the end of a clause."""
        return self.value


@dataclass(frozen=True, slots=True)
class PodWaitFailure:
    """Why the agent's container will not start.

    Attributes:
        code: `None` for the default code of the pod wait.
        container: The one that failed, if its last lines may tell why.
    """

    cause: Cause
    message: str
    advice: str
    code: ErrorCode | None = None
    container: str | None = None


def init_container_failed(
    pod: PodSnapshot, name: str, ended: ContainerTerminated
) -> PodWaitFailure:
    """Describe that an init container has failed, or could not be started."""
    return PodWaitFailure(
        cause_of_failed_init(ended),
        f"Init container {name} of pod {pod.name} {ended.words}, so the agent was not started"
        f"{_quoted(ended.message)}.",
        _advice_on_init(name, ended),
        container=name,
    )


def _advice_on_init(name: str, ended: ContainerTerminated | None) -> str:
    if ended is not None and ended.ran is False:
        return (
            f"Check that the image of init container {name} contains its command and matches the "
            "node's architecture, and that its mounts are correct."
        )
    return f"Check what init container {name} does; its last lines are in the forensics."


def init_container_keeps_failing(pod: PodSnapshot, container: ContainerSnapshot) -> PodWaitFailure:
    """Describe that an init container fails each time it is started."""
    ended = container.last_failure
    return PodWaitFailure(
        cause_of_failed_init(ended),
        f"Init {describe_failing(container)} in pod {pod.name}, so the agent was not started"
        f"{_quoted(ended.message if ended else None)}.",
        _advice_on_init(container.name, ended),
        container=container.name,
    )


def describe_failing(container: ContainerSnapshot) -> str:
    """Return how often a container that is started again has failed, and how."""
    ended = container.last_failure
    if ended is not None and ended.ran is False:
        tries = "twice" if container.restarts == 1 else f"{container.restarts + 1} times"
        why = f" ({ended.reason})" if ended.reason else ""
        return f"container {container.name} was tried {tries} and could not be started{why}"
    reason = f" ({ended.reason})" if ended and ended.reason else ""
    code = f"with exit code {ended.exit_code}{reason}" if ended else ""
    again = "once" if container.restarts == 1 else f"{container.restarts} times"
    return f"container {container.name} was started again {again} and failed {code}"


def with_last_line(message: str, lines: Sequence[str]) -> str:
    """Append the last line that a failed container has printed, if there is one."""
    quoted = [words for words in map(quote, lines) if words]
    return f"{message.removesuffix('.')}; its last line is {quoted[-1]}." if quoted else message


def advice_for(message: str, advice: str) -> str:
    """Return what to do about a failure: the architecture's advice, if that is what its words show.

    Args:
        message: The whole of it, with the last line of the container that failed.
        advice: What to do otherwise.
    """
    return ARCHITECTURE_ADVICE if shows_wrong_architecture(message) else advice


def with_architecture(message: str, node: NodeSnapshot) -> str:
    """Append the node's architecture, where it is known, for which the image was not built."""
    if node.architecture is None:
        return message
    return f"{message.removesuffix('.')}; node {node.name} is {node.architecture}."


def container_never_ran(pod: PodSnapshot, ended: ContainerTerminated) -> PodWaitFailure:
    """Describe that the container runtime could not start the agent's process."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"The agent's container in pod {pod.name} could not be started: "
        f"{ended.reason}{_quoted(ended.message)}.",
        "Check that the image contains /bin/sh and matches the node's architecture, and that the "
        "mounts are correct.",
    )


def pod_ended_first(pod: PodSnapshot, seen: StartSeen) -> PodWaitFailure:
    """Describe that the pod ended, and its agent was not seen to start."""
    disruption = find_disruption(pod)
    unexplained = Cause.DEADLINE_EXCEEDED if pod.reason == "DeadlineExceeded" else Cause.UNKNOWN
    cause, why = disruption or (unexplained, pod.reason or f"phase {pod.phase}")
    message = pod.message or (pod.disruption.message if pod.disruption is not None else None)
    return PodWaitFailure(
        cause,
        f"Pod {pod.name} ended {seen.words}: {why}{_quoted(message)}.",
        "Run again; if it happens again, check the node and the pod's resource requests.",
    )


def pod_will_not_start(
    pod: PodSnapshot | None, pods: Sequence[PodSnapshot], seen: StartSeen
) -> PodWaitFailure:
    """Describe that the one pod that may start the agent is gone or being deleted."""
    disruption = find_disruption(pod) if pod is not None else None
    cause, why = disruption or (Cause.POD_REPLACED, None)
    name = f"Pod {pod.name}" if pod is not None else "The pod that the prompt was created for"
    others = ", ".join(item.name for item in pods if item != pod)
    return PodWaitFailure(
        cause,
        f"{name} was deleted {seen.words}"
        + (f" ({why})" if why else "")
        + (f"; its replacement {others} does not get the prompt" if others else "")
        + ".",
        "Run again; if it happens again, find out who deletes the pods.",
    )


def job_gone_first(job: JobSnapshot | None, seen: StartSeen) -> PodWaitFailure:
    """Describe that somebody deleted the Job, and its agent was not seen to start."""
    what = "The Job was deleted" if job is None else f"Job {job.name} is being deleted"
    has_run = "has not run" if seen is StartSeen.IMPOSSIBLE else "may have run"
    return PodWaitFailure(
        Cause.JOB_DELETED,
        f"{what} by somebody else {seen.words}.",
        f"Find out who deletes Jobs in this namespace; the agent {has_run}.",
        ErrorCode.JOB_DELETED_EXTERNALLY,
    )


def job_ended_first(job: JobSnapshot, condition: Condition, seen: StartSeen) -> PodWaitFailure:
    """Describe that the Job finished or is about to, and no agent was seen to start."""
    happened = "finished" if condition == job.final_condition else "was given up"
    why = f"{condition.reason or condition.type}{_quoted(condition.message)}"
    if condition.reason == POD_DISRUPTED:
        return PodWaitFailure(
            Cause.EVICTED,
            f"Job {job.name} {happened} {seen.words}: its pod was disrupted, and the pod no longer "
            f"tells for which reason ({why}).",
            "Run again; if it happens again, look for drains, evictions and preemptions in the "
            "Kubernetes Events of the namespace.",
        )
    deadline = condition.reason == "DeadlineExceeded"
    return PodWaitFailure(
        Cause.DEADLINE_EXCEEDED if deadline else Cause.UNKNOWN,
        f"Job {job.name} {happened} {seen.words}: {why}.",
        "Check the Kubernetes Events of the Job and of its pod.",
    )


def container_held_up(
    pod: PodSnapshot, container: ContainerSnapshot, rule: WaitingRule, seconds: int
) -> PodWaitFailure:
    """Describe what keeps a container from starting; `seconds` is how long it was tolerated."""
    after = f" for {seconds} s" if seconds else ""
    image = container.image or "of the agent"
    return PodWaitFailure(
        rule.cause,
        f"{rule.happened.format(image=image, name=container.name)}{after} (pod {pod.name}): "
        f"{describe_waiting(container)}.",
        rule.advice,
    )


def api_refusal(event: KubernetesEventSnapshot, rule: RefusalRule, seconds: int) -> PodWaitFailure:
    """Describe that the API server rejects the Job's pod: quota, Pod Security or a webhook."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"The Job's pod could not be created for {seconds} s: {event.message}",
        rule.advice,
    )


def queue_words(job: JobSnapshot) -> str:
    """Return in words that a Job has yet to be admitted."""
    queue = f" {job.queue_name}" if job.queue_name else ""
    return f"Job {job.name} is suspended by its queue{queue}"


def never_admitted(job: JobSnapshot, seconds: int) -> PodWaitFailure:
    """Describe that the Job's queue has not admitted it."""
    return PodWaitFailure(
        Cause.UNSCHEDULABLE,
        f"{queue_words(job)}, which has not admitted it for {seconds} s.",
        "Check that the queue exists and has room for the runtime's requests, or raise the "
        "runtime's limits.queue_seconds. If the cluster has no queues, find out who suspends Jobs.",
    )


def preempted_by_queue(job: JobSnapshot) -> PodWaitFailure:
    """Describe that the queue took the Job's place back before its agent was seen to start."""
    return PodWaitFailure(
        Cause.PREEMPTED,
        f"{queue_words(job)} again, and its pod was deleted; another pod of the Job would not get "
        "the prompt.",
        "Run again when the queue has room. Agents that must not be interrupted need a higher "
        "priority in their queue.",
    )


def pod_never_appeared(seconds: int) -> PodWaitFailure:
    """Describe that the Job controller created no pod."""
    return PodWaitFailure(
        Cause.UNKNOWN,
        f"The Job has had no pod for {seconds} s, and no Kubernetes Event gives a reason.",
        "Check whether the cluster's controller manager works.",
    )


def pod_never_scheduled(pod: PodSnapshot, seconds: int) -> PodWaitFailure:
    """Describe that the pod was not scheduled."""
    scheduled = pod.condition("PodScheduled")
    why = scheduled.message if scheduled is not None else None
    return PodWaitFailure(
        Cause.UNSCHEDULABLE,
        f"Pod {pod.name} was not scheduled within {seconds} s{_quoted(why)}.",
        "Compare the runtime's resource requests, node selector and tolerations with the nodes, "
        "or raise its scheduling limit.",
    )


def pod_never_started(
    pod: PodSnapshot,
    seconds: int,
    *,
    failing: ContainerSnapshot | None = None,
    waiting: ContainerSnapshot | None = None,
    event: KubernetesEventSnapshot | None = None,
) -> PodWaitFailure:
    """Describe that the pod was scheduled but did not start, by what tells most of why.

    Args:
        pod: The pod.
        seconds: How long it was waited for.
        failing: An init container that was started again and failed.
        waiting: A container that waits for more than its turn.
        event: The Kubernetes Event that tells most.
    """
    disruption = find_disruption(pod)
    lost = disruption is not None or pod.phase == "Unknown"
    cause, why, advice = Cause.UNKNOWN, _quoted(pod.message), None
    unstarted, preparing, named = find_unstarted(pod), find_preparing(pod), failing
    if failing is not None:
        ended = failing.last_failure
        cause, why = cause_of_failed_init(ended), f": {describe_failing(failing)}"
        advice = _advice_on_init(failing.name, ended)
    elif waiting is not None:
        rule = find_waiting_rule(waiting)
        cause = rule.cause if rule is not None else Cause.CONFIG_ERROR
        why, advice = f": {describe_waiting(waiting)}", rule.advice if rule is not None else None
    elif unstarted is not None:
        named = unstarted[0]
        cause, why = Cause.CONFIG_ERROR, f": {unstarted[1]}"
        advice = "Check that container's log and its startup probe; the agent waits for its start."
    elif preparing is not None:
        named, why = preparing, f": {describe_running([preparing.name])} before the agent's"
        advice = (
            f"Raise the runtime's limits.start_seconds, or check what container {preparing.name} "
            "waits for; its last lines are in the forensics."
        )
    elif event is not None:
        cause, why, advice = rule_of(event).cause, _quoted(event.message), rule_of(event).advice
    if lost:
        cause = disruption[0] if disruption else Cause.NODE_LOST
    return PodWaitFailure(
        cause,
        f"Pod {pod.name} did not start on node {pod.node_name} within {seconds} s{why}.",
        advice or "Check the pod's Kubernetes Events, or raise the runtime's start limit.",
        container=named.name if named is not None else None,
    )


def describe_waiting(container: ContainerSnapshot) -> str:
    """Return what a container waits for, in the kubelet's words."""
    waiting = container.waiting
    parts = (waiting.reason, waiting.message) if waiting is not None else ()
    return f"container {container.name}: " + ": ".join(part for part in parts if part)


def _quoted(message: str | None) -> str:
    return f': "{message.strip()}"' if message else ""
