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
        tells: The higher, the more; 0 for one that only shows how far the start has come.
    """

    step: Step
    tells: int
    cause: Cause
    advice: str


_VOLUME = "Check the volume and its claim; the Events of the pod and of the claim say more."
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
    "NetworkNotReady": EventRule(
        Step.SANDBOX, 3, Cause.CONFIG_ERROR, "Check the node's network plugin."
    ),
    "FailedCreatePodSandBox": EventRule(
        Step.SANDBOX,
        3,
        Cause.CONFIG_ERROR,
        "Check the node's network plugin and container runtime, and the pod's runtime class.",
    ),
    "Failed": EventRule(Step.CREATE, 2, Cause.CONFIG_ERROR, "Correct what the kubelet reports."),
    "FailedSync": EventRule(Step.CREATE, 1, Cause.CONFIG_ERROR, "Check the node's kubelet."),
    "Pulling": EventRule(
        Step.PULL, 0, Cause.IMAGE_PULL, "Large images may need a higher start limit."
    ),
}
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
_VOLUME_NAME = re.compile(r'volume "([^"]+)"')
# Those that it still waits for, by their names in the pod.
_UNMOUNTED = re.compile(r"unmounted volumes=\[([^\]]*)\]")


def find_telling_event(
    events: Sequence[KubernetesEventSnapshot], pod: PodSnapshot
) -> KubernetesEventSnapshot | None:
    """Return the Event that tells most about why a pod has not started; the newest of equals.

    Args:
        events: In any order, of any object.
        pod: The one that they are to be about.
    """
    about = [event for event in events if event.about_uid == pod.uid]
    found = [
        event
        for event in about
        if event.reason in _RULES
        and not _is_past(event, about)
        and not _is_mounted_since(event, about, pod.own_volumes)
    ]
    return max(found, key=lambda event: (_tells(event), _at(event)), default=None)


def rule_of(event: KubernetesEventSnapshot) -> EventRule:
    """Return what an Event that `find_telling_event` has returned shows and asks for."""
    return _RULES[event.reason]


def _tells(event: KubernetesEventSnapshot) -> int:
    tells = _RULES[event.reason].tells
    return min(tells, 1) if _ONLY_WAITED.match(event.message) else tells


def _is_past(event: KubernetesEventSnapshot, about: Sequence[KubernetesEventSnapshot]) -> bool:
    step, volume = _RULES[event.reason].step, _VOLUME_NAME.search(event.message)
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
    volume = _VOLUME_NAME.search(event.message) if event.reason == "FailedMount" else None
    if volume is None or volume[1] not in own_volumes:
        return False
    later = (_UNMOUNTED.search(item.message) for item in about if _at(item) > _at(event))
    return any(volume[1] not in found[1].split() for found in later if found is not None)


def _at(event: KubernetesEventSnapshot) -> float:
    return event.last_at.timestamp() if event.last_at is not None else 0.0
