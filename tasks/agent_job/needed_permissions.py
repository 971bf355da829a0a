"""The permissions of runs and sweeps in the cluster, for Roles, checks and documentation.

The Roles in `deployments/kubernetes/base` grant exactly these. A run does not start if it lacks a
permission, because most are needed only after the agent has already cost money.
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
        purpose: What it is used for; completes "needed to …".
    """

    verb: str
    group: str
    resource: str
    purpose: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


@dataclass(frozen=True)
class PolicyRule:
    """One rule that the API server reports about our own permissions; `*` means all.

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
    Permission("get", _LEASES, "leases", "find out who owns the agent"),
    Permission("create", _LEASES, "leases", "become the first owner of an agent"),
    Permission("update", _LEASES, "leases", "take, renew and release the ownership of an agent"),
    Permission("list", _LEASES, "leases", "keep the table of all agents current"),
    Permission("get", _JOBS, "jobs", "confirm that a Job is gone"),
    Permission("list", _JOBS, "jobs", "find the Jobs of earlier runs of the agent"),
    Permission("watch", _JOBS, "jobs", "learn at once that a Job has finished"),
    Permission("create", _JOBS, "jobs", "start an agent"),
    Permission("patch", _JOBS, "jobs", "take over a Job, and mark one whose result is stored"),
    Permission("delete", _JOBS, "jobs", "stop an agent when its run is cancelled, and clean up"),
    Permission("list", "", "pods", "find the agent's pod, and those of earlier runs"),
    Permission("watch", "", "pods", "learn at once that the agent has started or ended"),
    Permission("get", "", "pods/log", "follow the agent's output"),
    Permission("get", "", "pods/exec", "recover output that the log has lost and collect work"),
    Permission(
        "create", "", "pods/exec", "recover lost output and collect work on servers from 1.35 on"
    ),
    Permission("get", "", "secrets", "compare a Job's prompt, mask secrets in logs and push work"),
    Permission("create", "", "secrets", "deliver prompt and run script to the agent"),
    Permission("list", "", "events", "report why a pod does not start or was evicted"),
)
"""All permissions of a run and of its cancellation hook, which needs no others."""

SWEEP_PERMISSIONS: tuple[Permission, ...] = (
    Permission("get", _LEASES, "leases", "find out who owns an agent before acting on it"),
    Permission("list", _LEASES, "leases", "find out which owners are alive"),
    Permission("create", _LEASES, "leases", "own an agent whose Lease is gone"),
    Permission("update", _LEASES, "leases", "own an agent while acting on it"),
    Permission("delete", _LEASES, "leases", "delete Leases that have been idle for days"),
    Permission("get", _JOBS, "jobs", "read a Job again before acting on it"),
    Permission("list", _JOBS, "jobs", "find the Jobs that runs have left"),
    Permission("delete", _JOBS, "jobs", "stop an orphan, and delete a finished Job after its TTL"),
    Permission("list", "", "pods", "find out whether an agent has started"),
    Permission("get", "", "secrets", "find out whether a Job got its prompt"),
    Permission("list", "", "secrets", "find Secrets whose Job is gone"),
    Permission("create", "", "secrets", "prevent a Job from starting while it is deleted"),
    Permission("delete", "", "secrets", "delete Secrets whose Job is gone"),
)
"""All permissions of a sweep; with `dry_run` it only lists."""

TRY_PODS = Permission("create", "", "pods", "have the cluster try an agent's pod, by a dry run")

PREFLIGHT_PERMISSIONS: tuple[Permission, ...] = (
    Permission("get", "", "persistentvolumeclaims", "check the claim for the agents' homes"),
    Permission("list", "", "resourcequotas", "check whether quotas allow another agent"),
    TRY_PODS,
)
"""Permissions of a preflight in addition to those of runs; without them it skips these checks."""

READ_NODES = Permission("get", "", "nodes", "recognise that a node was lost or removed")
"""Needs a ClusterRole; runs work without it, and then name this cause less often."""

# Without exec, output that the log has lost cannot be recovered, and the run reports that. Without
# the list of Leases, sweeps alone keep the table of all agents.
_OPTIONAL = {("get", "pods/exec"), ("create", "pods/exec"), ("list", "leases")}

NEEDED_PERMISSIONS = tuple(p for p in RUN_PERMISSIONS if (p.verb, p.resource) not in _OPTIONAL)
"""The permissions without which a run does not start."""


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
