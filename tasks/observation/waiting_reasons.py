"""Why containers wait, in the kubelet's words, and which of them keep the agent from starting.

Each reason has a meaning of its own, and a time in which it may heal. Only containers before the
agent's keep it from starting: a sidecar that starts beside it may be as late as it likes.

The reasons are those of the kubelet's `images/types.go`, `container/sync_result.go` and
`kuberuntime/kuberuntime_container.go` (1.32 to 1.36), and the container runtimes' own for a process
that they could not start. A reason that is not listed is waited for within the start limit.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from tasks.observation.container_states import without_passed
from tasks.observation.snapshots import ContainerSnapshot, PodSnapshot
from tasks.vocabulary.error_codes import Cause

# The kubelet looks at every pod once a minute (its syncFrequency), so this is two more tries.
TWO_SYNCS_SECONDS = 120
# A Secret that is written a moment after the Job is no reason to give up; one that is missing after
# this time was forgotten.
MISSING_SECONDS = 20


class HoldUp(StrEnum):
    """What fails; its reasons take turns while it does, so they share one clock."""

    IMAGE = "image"
    MISSING = "missing"
    CONFIG = "configuration"
    CREATION = "creation"
    START = "start"
    HOOK = "hook"


@dataclass(frozen=True, slots=True)
class WaitingRule:
    """What one reason means.

    Attributes:
        patience_seconds: How long it is tolerated; `None` for the runtime's limit for image pulls.
        happened: With `{image}` and `{name}`, of the container; how long it lasted follows.
    """

    hold_up: HoldUp
    cause: Cause
    patience_seconds: int | None
    happened: str
    advice: str

    @property
    def is_hopeless(self) -> bool:
        """Whether no time heals it."""
        return self.patience_seconds == 0


_CHECK_IMAGE = (
    "Check the image's name and tag, its pull secrets, and whether nodes can reach the registry."
)
_CHECK_RUNTIME = (
    "Check the Events of the node's container runtime, and the devices, mounts and runtime class "
    "that the container asks for."
)
_CANNOT_RUN = WaitingRule(
    HoldUp.START,
    Cause.CONFIG_ERROR,
    TWO_SYNCS_SECONDS,
    "The process of container {name} cannot be started",
    "Check that the image contains the container's command and is built for the node's "
    "architecture, and that the mounts are correct.",
)
_CONFIG = WaitingRule(
    HoldUp.CONFIG,
    Cause.CONFIG_ERROR,
    TWO_SYNCS_SECONDS,
    "Container {name} cannot be created from the pod's spec",
    "Correct what the kubelet reports: for example, a subPath that cannot be prepared, or an image "
    "that would run as root.",
)
_MISSING = WaitingRule(
    HoldUp.MISSING,
    Cause.CONFIG_ERROR,
    MISSING_SECONDS,
    "Container {name} refers to something that has been missing",
    "Create the Secret or ConfigMap with that key in the agent's namespace, or correct the name in "
    "the agent's credentials.",
)


def _image(happened: str, advice: str, patience_seconds: int | None = None) -> WaitingRule:
    return WaitingRule(HoldUp.IMAGE, Cause.IMAGE_PULL, patience_seconds, happened, advice)


def _hook(which: str) -> WaitingRule:
    return WaitingRule(
        HoldUp.HOOK,
        Cause.CONFIG_ERROR,
        TWO_SYNCS_SECONDS,
        f"The {which} of container {{name}} fails",
        "Correct what it runs in the runtime's pod template, or take it out.",
    )


_PULL_FAILS = _image("The image {image} cannot be pulled", _CHECK_IMAGE)

RULES: dict[str, WaitingRule] = {
    "ErrImagePull": _PULL_FAILS,
    "ImagePullBackOff": _PULL_FAILS,
    "RegistryUnavailable": _image(
        "The registry of the image {image} does not answer",
        "Check whether the registry works and the nodes can reach it.",
    ),
    "SignatureValidationFailed": _image(
        "The signature of the image {image} was not accepted by the node",
        "Sign the image as the node's policy demands, or use one that is signed.",
    ),
    "ImageInspectError": _image(
        "The node cannot read its own copy of the image {image}",
        "Check the node's container runtime and disk; on another node the image may work.",
        TWO_SYNCS_SECONDS,
    ),
    # No retry of the kubelet will help.
    "ErrImageNeverPull": _image(
        "The image {image} is not on the node, and its pull policy is Never",
        "Load the image onto the nodes, or choose another image pull policy.",
        0,
    ),
    "InvalidImageName": _image(
        "The image's name {image} is invalid",
        "Correct the name of the image; it is [registry/]name[:tag][@digest], in lower case.",
        0,
    ),
    "CreateContainerConfigError": _CONFIG,
    "CreateContainerError": WaitingRule(
        HoldUp.CREATION,
        Cause.CONFIG_ERROR,
        TWO_SYNCS_SECONDS,
        "The node's container runtime cannot create container {name}",
        _CHECK_RUNTIME,
    ),
    "RunContainerError": _CANNOT_RUN,
    "StartError": _CANNOT_RUN,
    "ContainerCannotRun": _CANNOT_RUN,
    "PreCreateHookError": _hook("node's hook before the creation"),
    "PreStartHookError": _hook("node's hook before the start"),
    "PostStartHookError": _hook("postStart hook"),
}
# Every pod waits like this at first, and an init container's restarts are counted instead.
NORMAL = frozenset({"ContainerCreating", "PodInitializing", "CrashLoopBackOff"})

# `CreateContainerConfigError` stands for a missing object, a missing key and much else, and no
# field tells them apart. The kubelet's words (`kubelet_pods.go`) only make the wait shorter.
_SAYS_MISSING = re.compile(r"couldn't find key |^(secret|configmap) .* not found$", re.IGNORECASE)


def find_waiting_rule(container: ContainerSnapshot) -> WaitingRule | None:
    """Return what keeps a container from starting; `None` if nothing is known to do so."""
    waiting = container.waiting
    rule = RULES.get(waiting.reason or "") if waiting is not None else None
    if rule is _CONFIG and waiting and _SAYS_MISSING.search((waiting.message or "").strip()):
        return _MISSING
    return rule


def find_held_up(pod: PodSnapshot) -> tuple[ContainerSnapshot, WaitingRule] | None:
    """Return the first container that is known not to start as it is, and what that means."""
    for container in _before_the_agent(pod):
        rule = find_waiting_rule(container)
        if rule is not None:
            return container, rule
    return None


def find_waiting(pod: PodSnapshot) -> ContainerSnapshot | None:
    """Return the first container that waits for something that not every container waits for."""
    for container in _before_the_agent(pod):
        if container.waiting is not None and container.waiting.reason not in {*NORMAL, None}:
            return container
    return None


def find_failing(pod: PodSnapshot, restarts: int) -> ContainerSnapshot | None:
    """Return an init container that fails each time it is started, while the agent waits for it.

    Args:
        pod: The pod.
        restarts: How often it must have been started again.
    """
    # The kubelet calls ordinary containers so until the last init container has let them start.
    agent = pod.agent
    if agent is not None and (agent.waiting is None or agent.waiting.reason != "PodInitializing"):
        return None
    return next(
        (
            item
            for item in without_passed(pod.init_containers)
            if item.last_failure and item.restarts >= restarts
        ),
        None,
    )


def _before_the_agent(pod: PodSnapshot) -> tuple[ContainerSnapshot, ...]:
    """Return the containers that the agent needs to start: a sidecar beside it may wait."""
    agent = (pod.agent,) if pod.agent is not None else ()
    return (*without_passed(pod.init_containers), *agent)
