"""What the cluster says beside Job and pod: Kubernetes Events about them, and the pod's node.

Both explain an ending and neither is needed for a verdict: Events live for an hour, and a Role of
one namespace cannot read nodes.
"""

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


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """A node at one instant.

    Attributes:
        unschedulable: It was cordoned.
        taints: As `key=value:effect`, the value left out where there is none.
        removed: The cluster does not know it any more, as after a scale-down.
    """

    name: str
    conditions: tuple[Condition, ...] = ()
    unschedulable: bool = False
    taints: tuple[str, ...] = ()
    removed: bool = False

    @property
    def ready(self) -> Condition | None:
        """What it says, or what is said of it, about being ready."""
        return next((item for item in self.conditions if item.type == "Ready"), None)

    @property
    def is_lost(self) -> bool:
        """Whether it was removed, is not heard of, or says that it is not ready."""
        return self.removed or (self.ready is not None and not self.ready.is_true)

    @property
    def words_when_lost(self) -> str:
        """What is wrong with one that is lost."""
        return f"node {self.name} {'was removed' if self.removed else 'is not ready'}"

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a v1 Node."""
        spec = object_at(raw, "spec")
        return cls(
            name=text_at(object_at(raw, "metadata"), "name") or "",
            conditions=conditions_at(object_at(raw, "status")),
            unschedulable=spec.get("unschedulable") is True,
            taints=tuple(_describe_taint(taint) for taint in objects_at(spec, "taints")),
        )


def _describe_taint(taint: RawObject) -> str:
    value = text_at(taint, "value")
    return f"{text_at(taint, 'key')}{f'={value}' if value else ''}:{text_at(taint, 'effect')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvidence:
    """What was read beside Job and pod once the run had failed.

    Attributes:
        kubernetes_events: About the Job and its pods, oldest first.
        node: The agent pod's.
        not_read: What could not be read, each with the reason.
    """

    kubernetes_events: tuple[KubernetesEventSnapshot, ...] = ()
    node: NodeSnapshot | None = None
    not_read: tuple[str, ...] = ()


def events_from_api(items: Iterable[RawObject]) -> tuple[KubernetesEventSnapshot, ...]:
    """Read Kubernetes Events, oldest first."""
    found = [KubernetesEventSnapshot.from_api(item) for item in items]
    # Within one second, which is as exact as most of them are, as the API gave them.
    return tuple(sorted(found, key=lambda event: event.last_at.timestamp() if event.last_at else 0))
