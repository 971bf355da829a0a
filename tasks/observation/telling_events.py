"""Which of a pod's Kubernetes Events tells why it does not start: not always the newest.

A volume that cannot be attached is reported once, by the controller that tried; the kubelet then
reports every two minutes that it has waited for the volume in vain. So Events are ranked by how
much they tell, and an Event is out of date once a later step of the start has succeeded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tasks.observation.snapshots import KubernetesEventSnapshot, PodSnapshot
from tasks.vocabulary.error_codes import Cause


class Step(IntEnum):
    """The steps of a pod's start on its node, in order."""

    ATTACH = 1
    MOUNT = 2
    SANDBOX = 3
    PULL = 4
    CREATE = 5


@dataclass(frozen=True, slots=True)
class EventRule:
    """What an Event's reason tells.

    Attributes:
        step: The step that fails, or that has come in a good turn.
        tells: The higher, the more; 0 for one that only shows how far the start has come, below it
            for a Warning that no rule knows.
    """

    step: Step
    tells: int
    cause: Cause
    advice: str


_VOLUME = "Check the volume and its claim; the Events of the pod and of the claim say more."
_ROOM = "The volume could not be made larger; check its storage class and the claim's Events."
_RUNTIME = "Check the node's container runtime."
_RULES: dict[str, EventRule] = {
    "FailedAttachVolume": EventRule(
        Step.ATTACH,
        3,
        Cause.CONFIG_ERROR,
        "A ReadWriteOnce volume can be attached to one node at a time: wait until the pod that "
        "holds it has ended, keep its pods on one node, or use a ReadWriteMany claim.",
    ),
    "FailedMapVolume": EventRule(Step.MOUNT, 3, Cause.CONFIG_ERROR, _VOLUME),
    "FailedMount": EventRule(
        Step.MOUNT,
        3,
        Cause.CONFIG_ERROR,
        "Create what is missing, or correct the mount; the volume's driver may also be at fault.",
    ),
    "FailedMountOnFilesystemMismatch": EventRule(
        Step.MOUNT,
        3,
        Cause.CONFIG_ERROR,
        "The volume has another file system than its claim or storage class asks for; correct it.",
    ),
    # The pod starts all the same where the volume is large enough as it is.
    "VolumeResizeFailed": EventRule(Step.MOUNT, 2, Cause.CONFIG_ERROR, _ROOM),
    "FileSystemResizeFailed": EventRule(Step.MOUNT, 2, Cause.CONFIG_ERROR, _ROOM),
    "FailedPrepareDynamicResources": EventRule(
        Step.SANDBOX,
        3,
        Cause.CONFIG_ERROR,
        "Check the resource claim and the node's DRA driver.",
    ),
    "NetworkNotReady": EventRule(
        Step.SANDBOX, 3, Cause.CONFIG_ERROR, "Check the node's network plugin."
    ),
    "FailedCreatePodSandBox": EventRule(
        Step.SANDBOX,
        3,
        Cause.CONFIG_ERROR,
        "Check the node's network plugin and container runtime, and the pod's runtime class.",
    ),
    "FailedPodSandBoxStatus": EventRule(Step.SANDBOX, 2, Cause.CONFIG_ERROR, _RUNTIME),
    # The pull goes on without the Secret, and fails only where the registry asks for it.
    "FailedToRetrieveImagePullSecret": EventRule(
        Step.PULL,
        1,
        Cause.IMAGE_PULL,
        "Create the image pull Secret in the agent's namespace, or correct its name.",
    ),
    "InspectFailed": EventRule(
        Step.PULL,
        2,
        Cause.IMAGE_PULL,
        "Check the node's container runtime and disk, and the image's name.",
    ),
    "FailedCreatePodContainer": EventRule(Step.CREATE, 2, Cause.CONFIG_ERROR, _RUNTIME),
    "FailedPostStartHook": EventRule(
        Step.CREATE, 2, Cause.CONFIG_ERROR, "Correct the container's postStart hook."
    ),
    "FailedValidation": EventRule(
        Step.CREATE,
        2,
        Cause.CONFIG_ERROR,
        "The node's kubelet does not accept the pod; correct what it reports.",
    ),
    "Failed": EventRule(Step.CREATE, 2, Cause.CONFIG_ERROR, "Correct what the kubelet reports."),
    "FailedSync": EventRule(Step.CREATE, 1, Cause.CONFIG_ERROR, "Check the node's kubelet."),
    "Pulling": EventRule(
        Step.PULL, 0, Cause.IMAGE_PULL, "Large images may need a higher start limit."
    ),
}
# Of a Warning that no rule knows, such as a newer kubelet's: quoted where nothing else tells. Only
# the last step shows that what it warns of is over.
_WARNING = "Warning"
# The pod has a node by now; the others are said of pods that start all the same.
_TELLS_NOTHING = frozenset(
    {"FailedScheduling", "CheckLimitsForResolvConf", "DNSConfigForming", "MissingClusterDNS"}
)
_UNKNOWN = EventRule(
    Step.CREATE,
    -1,
    Cause.UNKNOWN,
    "Check what the Kubernetes Event reports, or raise the runtime's start limit.",
)
# Signs that the steps up to theirs are done.
_DONE = {
    "SuccessfulAttachVolume": Step.ATTACH,
    "SuccessfulMountVolume": Step.MOUNT,
    "Pulling": Step.SANDBOX,
    "Pulled": Step.PULL,
    "Created": Step.CREATE,
}
# The kubelet has waited for volumes in vain, and does not know why. Its reason is the same as for a
# mount that it knows the fault of; the words only decide which Event is quoted.
_ONLY_WAITED = re.compile(r"^Unable to attach or mount volumes")
_MOUNT_FAULTS = frozenset({"FailedMount", "FailedMountOnFilesystemMismatch"})
_VOLUME_NAME = re.compile(r'volume "([^"]+)"')
# Those that it still waits for, by their names in the pod.
_UNMOUNTED = re.compile(r"unmounted volumes=\[([^\]]*)\]")


def find_telling_event(
    events: Sequence[KubernetesEventSnapshot], pod: PodSnapshot
) -> KubernetesEventSnapshot | None:
    """Return the Event that tells most about why a pod has not started; the newest of equals.

    A Warning with an unknown reason is returned where there is no other.

    Args:
        events: In any order, of any object.
        pod: The one that they are to be about.
    """
    about = [event for event in events if event.about_uid == pod.uid]
    found = [
        event
        for event in about
        if (event.reason in _RULES or _is_unknown_warning(event))
        and not _is_past(event, about)
        and not _is_mounted_since(event, about, pod.own_volumes)
    ]
    return max(found, key=lambda event: (_tells(event), _at(event)), default=None)


def rule_of(event: KubernetesEventSnapshot) -> EventRule:
    """Return what an Event that `find_telling_event` has returned shows and asks for."""
    return _RULES.get(event.reason, _UNKNOWN)


def _is_unknown_warning(event: KubernetesEventSnapshot) -> bool:
    return event.type == _WARNING and event.reason not in _TELLS_NOTHING


def _tells(event: KubernetesEventSnapshot) -> int:
    tells = rule_of(event).tells
    return min(tells, 1) if _ONLY_WAITED.match(event.message) else tells


def _is_past(event: KubernetesEventSnapshot, about: Sequence[KubernetesEventSnapshot]) -> bool:
    step, volume = rule_of(event).step, _VOLUME_NAME.search(event.message)
    for later in about:
        done = _DONE.get(later.reason)
        if done is None or done < step or _at(later) < _at(event):
            continue
        other = _VOLUME_NAME.search(later.message)
        if not (volume and other and done is Step.ATTACH) or volume[1] == other[1]:
            return True
    return False


def _is_mounted_since(
    event: KubernetesEventSnapshot,
    about: Sequence[KubernetesEventSnapshot],
    own_volumes: frozenset[str],
) -> bool:
    """Tell whether a volume that could not be mounted is no longer among those waited for."""
    volume = _VOLUME_NAME.search(event.message) if event.reason in _MOUNT_FAULTS else None
    if volume is None or volume[1] not in own_volumes:
        return False
    later = (_UNMOUNTED.search(item.message) for item in about if _at(item) > _at(event))
    return any(volume[1] not in found[1].split() for found in later if found is not None)


def _at(event: KubernetesEventSnapshot) -> float:
    return event.last_at.timestamp() if event.last_at is not None else 0.0
