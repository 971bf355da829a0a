"""What people read when an agent's container did not start: each failure with its cause."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import ContainerTerminated
from tasks.observation.pod_reasons import find_disruption
from tasks.observation.snapshots import (
    ContainerSnapshot,
    JobSnapshot,
    KubernetesEventSnapshot,
    PodSnapshot,
)
from tasks.text.quoting import quote
from tasks.vocabulary.error_codes import Cause, ErrorCode


@dataclass(frozen=True, slots=True)
class PodWaitFailure:
    """Why the agent's container will not start.

    Attributes:
        code: `None` for the code of the pod wait itself.
    """

    cause: Cause
    message: str
    advice: str
    code: ErrorCode | None = None


def init_container_failed(
    pod: PodSnapshot, name: str, ended: ContainerTerminated
) -> PodWaitFailure:
    """Say that a container that runs before the agent's has failed."""
    reason = f" ({ended.reason})" if ended.reason else ""
    return PodWaitFailure(
        Cause.OOM_KILLED if ended.reason == "OOMKilled" else Cause.APP_EXIT,
        f"Init container {name} of pod {pod.name} ended with exit code {ended.exit_code}{reason}, "
        f"so the agent was not started{_quoted(ended.message)}.",
        f"Look at what init container {name} does; its last lines are in the forensics.",
    )


def with_last_line(message: str, lines: Sequence[str]) -> str:
    """Add to a sentence the last line that a failed container has printed, if it has any."""
    quoted = [words for words in map(quote, lines) if words]
    return f"{message.removesuffix('.')}; its last line is {quoted[-1]}." if quoted else message


def container_never_ran(pod: PodSnapshot, ended: ContainerTerminated) -> PodWaitFailure:
    """Say that the container runtime could not start the agent's process."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"The agent's container in pod {pod.name} could not be started: "
        f"{ended.reason}{_quoted(ended.message)}.",
        "Check that the image contains /bin/sh and suits the node's architecture, and that the "
        "mounts are right.",
    )


def pod_ended_first(pod: PodSnapshot) -> PodWaitFailure:
    """Say that the pod ended before its agent started."""
    disruption = find_disruption(pod)
    cause, why = disruption or (Cause.UNKNOWN, pod.reason or f"phase {pod.phase}")
    return PodWaitFailure(
        cause,
        f"Pod {pod.name} ended before the agent started: {why}{_quoted(pod.message)}.",
        "Run again; if it happens again, look at the node and at the pod's resource requests.",
    )


def pod_will_not_start(pod: PodSnapshot | None, pods: Sequence[PodSnapshot]) -> PodWaitFailure:
    """Say that the one pod that may start the agent is going or has gone."""
    disruption = find_disruption(pod) if pod is not None else None
    cause, why = disruption or (Cause.POD_REPLACED, None)
    name = f"Pod {pod.name}" if pod is not None else "The pod for which the prompt was written"
    others = ", ".join(item.name for item in pods if item != pod)
    return PodWaitFailure(
        cause,
        f"{name} was deleted before the agent started"
        + (f" ({why})" if why else "")
        + (f"; its replacement {others} does not get the prompt" if others else "")
        + ".",
        "Run again; find out who deleted the pod if it happens again.",
    )


def job_gone_first(job: JobSnapshot | None) -> PodWaitFailure:
    """Say that somebody deleted the Job while its pod was waited for."""
    what = "The Job is gone" if job is None else f"Job {job.name} is being deleted"
    return PodWaitFailure(
        Cause.JOB_DELETED,
        f"{what}, deleted by somebody else before the agent started.",
        "Find out who deletes Jobs in this namespace; nothing of the agent has run.",
        ErrorCode.JOB_DELETED_EXTERNALLY,
    )


def job_ended_first(job: JobSnapshot, condition: Condition) -> PodWaitFailure:
    """Say that the Job ended although no agent has run."""
    deadline = condition.reason == "DeadlineExceeded"
    return PodWaitFailure(
        Cause.DEADLINE_EXCEEDED if deadline else Cause.UNKNOWN,
        f"Job {job.name} ended before the agent started: {condition.reason or condition.type}"
        f"{_quoted(condition.message)}.",
        "Look at the Kubernetes Events of the Job and of its pod.",
    )


def image_unavailable(
    pod: PodSnapshot, container: ContainerSnapshot, seconds: int | None
) -> PodWaitFailure:
    """Say that the image cannot be had; `seconds` is how long that was tolerated."""
    after = f" for {seconds} s" if seconds is not None else ""
    return PodWaitFailure(
        Cause.IMAGE_PULL,
        f"The image {container.image or 'of the agent'} cannot be pulled{after} (pod {pod.name}): "
        f"{describe_waiting(container)}.",
        "Check the image's name and tag, its pull secrets and whether the nodes reach the "
        "registry.",
    )


def credentials_missing(
    pod: PodSnapshot, container: ContainerSnapshot, seconds: int
) -> PodWaitFailure:
    """Say that a Secret or ConfigMap, or a key of it, has been missing for `seconds`."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"Pod {pod.name} refers to something that has not been there for {seconds} s: "
        f"{describe_waiting(container)}.",
        "Create the Secret or ConfigMap with that key in the agent's namespace, or correct the "
        "name in the agent's credentials.",
    )


def api_refusal(event: KubernetesEventSnapshot, seconds: int) -> PodWaitFailure:
    """Say that the API server refuses the Job's pod: quota, Pod Security or a webhook."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"No pod could be created for {seconds} s: {event.message}",
        "Look at the namespace's quotas, Pod Security level and admission webhooks.",
    )


def pod_never_appeared(seconds: int) -> PodWaitFailure:
    """Say that the Job controller made no pod."""
    return PodWaitFailure(
        Cause.UNKNOWN,
        f"The Job has had no pod for {seconds} s, and no Kubernetes Event says why.",
        "Check that the cluster's controller manager works.",
    )


def pod_never_scheduled(pod: PodSnapshot, seconds: int) -> PodWaitFailure:
    """Say that no node took the pod."""
    scheduled = pod.condition("PodScheduled")
    why = scheduled.message if scheduled is not None else None
    return PodWaitFailure(
        Cause.UNSCHEDULABLE,
        f"No node took pod {pod.name} within {seconds} s{_quoted(why)}.",
        "Compare the runtime's resource requests, node selector and tolerations with the nodes, "
        "or raise its scheduling limit.",
    )


def pod_never_started(
    pod: PodSnapshot, event: KubernetesEventSnapshot | None, seconds: int
) -> PodWaitFailure:
    """Say that the pod has a node and did not start there."""
    disruption = find_disruption(pod)
    if disruption is not None or pod.phase == "Unknown":
        cause = disruption[0] if disruption else Cause.NODE_LOST
    elif event is None:
        cause = Cause.UNKNOWN
    else:
        cause = Cause.IMAGE_PULL if event.reason == "Pulling" else Cause.CONFIG_ERROR
    return PodWaitFailure(
        cause,
        f"Pod {pod.name} did not start on node {pod.node_name} within {seconds} s"
        f"{_quoted(event.message if event else pod.message)}.",
        "Look at the pod's Kubernetes Events; large images may need a higher start limit.",
    )


def describe_waiting(container: ContainerSnapshot) -> str:
    """Say in the kubelet's words what a container waits for."""
    waiting = container.waiting
    parts = (waiting.reason, waiting.message) if waiting is not None else ()
    return f"container {container.name}: " + ": ".join(part for part in parts if part)


def _quoted(message: str | None) -> str:
    return f': "{message.strip()}"' if message else ""
