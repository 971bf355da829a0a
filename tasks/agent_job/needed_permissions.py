"""What runs and sweeps may do in the cluster: one list each, for Role, check and documentation.

The Roles in `deployments/kubernetes/base` grant exactly this. A run refuses to start where one that
it needs is missing: most are needed only after the agent was paid for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Permission:
    """One verb on one kind of object, in the agents' namespace.

    Attributes:
        verb: As in a Role.
        group: API group; empty for the core API.
        resource: Plural, with the subresource: `jobs`, `pods/log`.
        purpose: What it is for, for whoever reads the Role.
    """

    verb: str
    group: str
    resource: str
    purpose: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


@dataclass(frozen=True)
class PolicyRule:
    """One rule as the API server tells it of ourselves; `*` stands for all.

    Attributes:
        groups: API groups.
        resources: Plurals with their subresources; `*/log` is the subresource of everything.
        verbs: As in a Role.
    """

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    @classmethod
    def from_api(cls, raw: Mapping[str, Any]) -> Self:
        """Read one item of a SelfSubjectRulesReview's `resourceRules`."""
        return cls(
            groups=tuple(raw.get("apiGroups") or ()),
            resources=tuple(raw.get("resources") or ()),
            verbs=tuple(raw.get("verbs") or ()),
        )


_LEASES, _JOBS = "coordination.k8s.io", "batch"

RUN_PERMISSIONS: tuple[Permission, ...] = (
    Permission("get", _LEASES, "leases", "look who owns the agent"),
    Permission("create", _LEASES, "leases", "own an agent for the first time"),
    Permission("update", _LEASES, "leases", "take, renew and release the ownership of an agent"),
    Permission("get", _JOBS, "jobs", "tell a Job that is gone from one that was not listed"),
    Permission("list", _JOBS, "jobs", "find what earlier runs of the agent have left"),
    Permission("watch", _JOBS, "jobs", "hear at once that a Job has ended"),
    Permission("create", _JOBS, "jobs", "start an agent"),
    Permission("patch", _JOBS, "jobs", "take a Job over, and mark one whose result is stored"),
    Permission("delete", _JOBS, "jobs", "stop an agent when its run is cancelled, and clean up"),
    Permission("list", "", "pods", "find the agent's pod, and those of earlier runs"),
    Permission("watch", "", "pods", "hear at once that the agent has started or ended"),
    Permission("get", "", "pods/log", "follow the agent's output"),
    Permission("get", "", "pods/exec", "fetch output that the log has lost"),
    Permission("create", "", "pods/exec", "the same; servers from about 1.35 on ask for both"),
    Permission("get", "", "secrets", "compare a Job's prompt, and know what to mask in logs"),
    Permission("create", "", "secrets", "hand prompt and run script to the agent"),
    Permission("list", "", "events", "say why a pod does not start, or was evicted"),
)
"""All that a run and its cancellation hook do; the hook needs nothing of its own."""

SWEEP_PERMISSIONS: tuple[Permission, ...] = (
    Permission("get", _LEASES, "leases", "look who owns an agent that something is done about"),
    Permission("list", _LEASES, "leases", "tell who is alive"),
    Permission("create", _LEASES, "leases", "own an agent whose Lease has gone"),
    Permission("update", _LEASES, "leases", "own an agent while something is done about it"),
    Permission("delete", _LEASES, "leases", "clear away what nobody has touched for days"),
    Permission("get", _JOBS, "jobs", "look again before anything is done about a Job"),
    Permission("list", _JOBS, "jobs", "find what runs have left"),
    Permission("delete", _JOBS, "jobs", "stop an orphan, and clear away what has ended"),
    Permission("list", "", "pods", "tell whether an agent has started"),
    Permission("get", "", "secrets", "tell whether a Job has got its prompt"),
    Permission("list", "", "secrets", "find those whose Job is gone"),
    Permission("create", "", "secrets", "keep a Job that is deleted from still starting"),
    Permission("delete", "", "secrets", "clear away those whose Job is gone"),
)
"""All that a sweep does; with `dry_run` no more than its lists."""

PREFLIGHT_PERMISSIONS: tuple[Permission, ...] = (
    Permission("get", "", "persistentvolumeclaims", "tell whether the agents' homes are there"),
    Permission("list", "", "resourcequotas", "tell whether there is room for another agent"),
)
"""What a preflight looks at beyond what runs do; without them it says that it could not look."""

READ_NODES = Permission("get", "", "nodes", "tell that a node was lost or removed")
"""Needs a ClusterRole; runs do without, and then name such a cause less often."""

# Without it, output that the log has lost stays lost, and the run says so.
_EXEC_RESOURCE = "pods/exec"

NEEDED_PERMISSIONS = tuple(p for p in RUN_PERMISSIONS if p.resource != _EXEC_RESOURCE)
"""What a run does not start without."""


def missing_permissions(
    needed: Iterable[Permission], rules: Sequence[PolicyRule]
) -> list[Permission]:
    """Return the permissions that no rule grants, in their order."""
    return [permission for permission in needed if not any(_grants(r, permission) for r in rules)]


def _grants(rule: PolicyRule, permission: Permission) -> bool:
    _, _, subresource = permission.resource.partition("/")
    resources = {"*", permission.resource}
    if subresource:
        resources.add(f"*/{subresource}")
    return (
        not resources.isdisjoint(rule.resources)
        and not {"*", permission.group}.isdisjoint(rule.groups)
        and not {"*", permission.verb}.isdisjoint(rule.verbs)
    )
