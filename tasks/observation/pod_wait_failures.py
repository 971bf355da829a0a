"""The failures that keep an agent's container from starting, with texts for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.observation.api_fields import Condition
from tasks.observation.beside_agent import describe_unstarted
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
        code: `None` for the default code of the pod wait.
    """

    cause: Cause
    message: str
    advice: str
    code: ErrorCode | None = None


def init_container_failed(
    pod: PodSnapshot, name: str, ended: ContainerTerminated
) -> PodWaitFailure:
    """Describe that an init container has failed."""
    reason = f" ({ended.reason})" if ended.reason else ""
    return PodWaitFailure(
        Cause.OOM_KILLED if ended.reason == "OOMKilled" else Cause.APP_EXIT,
        f"Init container {name} of pod {pod.name} ended with exit code {ended.exit_code}{reason}, "
        f"so the agent was not started{_quoted(ended.message)}.",
        f"Check what init container {name} does; its last lines are in the forensics.",
    )


def with_last_line(message: str, lines: Sequence[str]) -> str:
    """Append the last line that a failed container has printed, if there is one."""
    quoted = [words for words in map(quote, lines) if words]
    return f"{message.removesuffix('.')}; its last line is {quoted[-1]}." if quoted else message


def container_never_ran(pod: PodSnapshot, ended: ContainerTerminated) -> PodWaitFailure:
    """Describe that the container runtime could not start the agent's process."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"The agent's container in pod {pod.name} could not be started: "
        f"{ended.reason}{_quoted(ended.message)}.",
        "Check that the image contains /bin/sh and matches the node's architecture, and that the "
        "mounts are correct.",
    )


def pod_ended_first(pod: PodSnapshot) -> PodWaitFailure:
    """Describe that the pod ended before its agent started."""
    disruption = find_disruption(pod)
    cause, why = disruption or (Cause.UNKNOWN, pod.reason or f"phase {pod.phase}")
    return PodWaitFailure(
        cause,
        f"Pod {pod.name} ended before the agent started: {why}{_quoted(pod.message)}.",
        "Run again; if it happens again, check the node and the pod's resource requests.",
    )


def pod_will_not_start(pod: PodSnapshot | None, pods: Sequence[PodSnapshot]) -> PodWaitFailure:
    """Describe that the one pod that may start the agent is gone or being deleted."""
    disruption = find_disruption(pod) if pod is not None else None
    cause, why = disruption or (Cause.POD_REPLACED, None)
    name = f"Pod {pod.name}" if pod is not None else "The pod that the prompt was created for"
    others = ", ".join(item.name for item in pods if item != pod)
    return PodWaitFailure(
        cause,
        f"{name} was deleted before the agent started"
        + (f" ({why})" if why else "")
        + (f"; its replacement {others} does not get the prompt" if others else "")
        + ".",
        "Run again; if it happens again, find out who deletes the pods.",
    )


def job_gone_first(job: JobSnapshot | None) -> PodWaitFailure:
    """Describe that somebody deleted the Job before its pod started."""
    what = "The Job was deleted" if job is None else f"Job {job.name} is being deleted"
    return PodWaitFailure(
        Cause.JOB_DELETED,
        f"{what} by somebody else before the agent started.",
        "Find out who deletes Jobs in this namespace; the agent has not run.",
        ErrorCode.JOB_DELETED_EXTERNALLY,
    )


def job_ended_first(job: JobSnapshot, condition: Condition) -> PodWaitFailure:
    """Describe that the Job finished although no agent has run."""
    deadline = condition.reason == "DeadlineExceeded"
    return PodWaitFailure(
        Cause.DEADLINE_EXCEEDED if deadline else Cause.UNKNOWN,
        f"Job {job.name} finished before the agent started: {condition.reason or condition.type}"
        f"{_quoted(condition.message)}.",
        "Check the Kubernetes Events of the Job and of its pod.",
    )


def image_unavailable(
    pod: PodSnapshot, container: ContainerSnapshot, seconds: int | None
) -> PodWaitFailure:
    """Describe that the image cannot be pulled; `seconds` is how long that was tolerated."""
    after = f" for {seconds} s" if seconds is not None else ""
    return PodWaitFailure(
        Cause.IMAGE_PULL,
        f"The image {container.image or 'of the agent'} cannot be pulled{after} (pod {pod.name}): "
        f"{describe_waiting(container)}.",
        "Check the image's name and tag, its pull secrets, and whether the nodes can reach the "
        "registry.",
    )


def credentials_missing(
    pod: PodSnapshot, container: ContainerSnapshot, seconds: int
) -> PodWaitFailure:
    """Describe that a Secret or ConfigMap, or a key in it, has been missing for `seconds`."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"Pod {pod.name} refers to something that has been missing for {seconds} s: "
        f"{describe_waiting(container)}.",
        "Create the Secret or ConfigMap with that key in the agent's namespace, or correct the "
        "name in the agent's credentials.",
    )


def api_refusal(event: KubernetesEventSnapshot, seconds: int) -> PodWaitFailure:
    """Describe that the API server rejects the Job's pod: quota, Pod Security or a webhook."""
    return PodWaitFailure(
        Cause.CONFIG_ERROR,
        f"The Job's pod could not be created for {seconds} s: {event.message}",
        "Check the namespace's quotas, Pod Security level and admission webhooks.",
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
    pod: PodSnapshot, event: KubernetesEventSnapshot | None, seconds: int
) -> PodWaitFailure:
    """Describe that the pod was scheduled but did not start."""
    unstarted = describe_unstarted(pod)
    if unstarted is not None:
        return PodWaitFailure(
            Cause.CONFIG_ERROR,
            f"Pod {pod.name} did not start on node {pod.node_name} within {seconds} s: "
            f"{unstarted}.",
            "Check that container's log and its startup probe; the agent waits for its start.",
        )
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
        "Check the pod's Kubernetes Events; large images may need a higher start limit.",
    )


def describe_waiting(container: ContainerSnapshot) -> str:
    """Return what a container waits for, in the kubelet's words."""
    waiting = container.waiting
    parts = (waiting.reason, waiting.message) if waiting is not None else ()
    return f"container {container.name}: " + ": ".join(part for part in parts if part)


def _quoted(message: str | None) -> str:
    return f': "{message.strip()}"' if message else ""
