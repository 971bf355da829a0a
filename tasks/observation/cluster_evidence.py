"""Evidence in addition to Job and pod: their Kubernetes Events, and the pod's node.

Both help to explain an ending, but no verdict depends on them: Events are kept for an hour, and a
Role in one namespace cannot grant access to nodes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from tasks.observation.api_fields import (
    Condition,
    RawObject,
    conditions_at,
    object_at,
    objects_at,
    text_at,
)
from tasks.observation.snapshots import KubernetesEventSnapshot

ARCHITECTURE_ADVICE = (
    "Use an image that is built for the node's architecture, or select nodes by kubernetes.io/arch "
    "in the runtime block."
)
# In the words of containerd, of Docker, and of CRI-O and Podman.
_NO_SUCH_PLATFORM = re.compile(
    r"no match for platform in manifest|no matching manifest for |"
    r"no image found in (manifest list|image index) for architecture"
)


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """A node at one instant.

    Attributes:
        unschedulable: It was cordoned.
        taints: As `key=value:effect`, or `key:effect` without a value.
        removed: It no longer exists, for example after a scale-down.
        architecture: Of its processor, as images name it: amd64, arm64.
    """

    name: str
    conditions: tuple[Condition, ...] = ()
    unschedulable: bool = False
    taints: tuple[str, ...] = ()
    removed: bool = False
    architecture: str | None = None

    @property
    def ready(self) -> Condition | None:
        """The node's Ready condition."""
        return next((item for item in self.conditions if item.type == "Ready"), None)

    @property
    def is_lost(self) -> bool:
        """Whether it was removed, does not answer, or is not ready."""
        return self.removed or (self.ready is not None and not self.ready.is_true)

    @property
    def words_when_lost(self) -> str:
        """What is wrong with a lost node, in words."""
        return f"node {self.name} {'was removed' if self.removed else 'is not ready'}"

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a v1 Node."""
        spec, metadata = object_at(raw, "spec"), object_at(raw, "metadata")
        info = object_at(object_at(raw, "status"), "nodeInfo")
        return cls(
            name=text_at(metadata, "name") or "",
            conditions=conditions_at(object_at(raw, "status")),
            unschedulable=spec.get("unschedulable") is True,
            taints=tuple(_describe_taint(taint) for taint in objects_at(spec, "taints")),
            architecture=text_at(info, "architecture")
            or text_at(object_at(metadata, "labels"), "kubernetes.io/arch"),
        )


def refuses_to_execute(*said: str | None) -> bool:
    """Tell whether the kernel refused to execute a program, in its only words for it.

    A program of another architecture is the usual reason. The words choose the advice alone: in an
    agent's own output they decide nothing.
    """
    return any("exec format error" in text.lower() for text in said if text)


def shows_wrong_architecture(*said: str | None) -> bool:
    """Tell whether the kernel refuses an image's program, or an image has none for the node.

    The words choose the advice alone.
    """
    return refuses_to_execute(*said) or any(map(_NO_SUCH_PLATFORM.search, filter(None, said)))


def _describe_taint(taint: RawObject) -> str:
    value = text_at(taint, "value")
    return f"{text_at(taint, 'key')}{f'={value}' if value else ''}:{text_at(taint, 'effect')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvidence:
    """What was read in addition to Job and pod after the run had failed.

    Attributes:
        kubernetes_events: About the Job and its pods, oldest first.
        node: Node of the agent's pod.
        not_read: What could not be read, with the reason.
    """

    kubernetes_events: tuple[KubernetesEventSnapshot, ...] = ()
    node: NodeSnapshot | None = None
    not_read: tuple[str, ...] = ()


def events_from_api(items: Iterable[RawObject]) -> tuple[KubernetesEventSnapshot, ...]:
    """Read Kubernetes Events, oldest first."""
    found = [KubernetesEventSnapshot.from_api(item) for item in items]
    # Most have a resolution of one second; within it, the API's order is kept.
    return tuple(sorted(found, key=lambda event: event.last_at.timestamp() if event.last_at else 0))
