"""Role-based access control: may this user do that, and what else may it do?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployments.local.objects import listed, name_of, namespace_of
from deployments.local.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    JsonObject,
)
from deployments.local.store import Store
from deployments.local.tokens import User

_DISCOVERY_PATHS = (
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
)
_PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_REVIEW_RULE: JsonObject = {
    "verbs": ["create"],
    "apiGroups": ["authorization.k8s.io"],
    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
}


@dataclass(frozen=True)
class Wish:
    """What somebody wants to do with objects.

    Attributes:
        verb: get, list, watch, create, update, patch, delete or deletecollection.
        group: API group.
        resource: Plural, with the subresource: `pods/log`.
        namespace: Empty for cluster-scoped requests.
        name: Empty for collections.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        place = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{self.resource}" in API group "{self.group}" {place}'


class Access:
    """Reads Roles and bindings at every question; there are few of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def may(self, user: User, wish: Wish) -> tuple[bool, str]:
        """Return whether `user` may, and through which binding."""
        if user.is_admin:
            return True, ""
        if "system:authenticated" in user.groups and _allows(_REVIEW_RULE, wish):
            return True, ""
        for rule, reason in self._rules(user, wish.namespace):
            if _allows(rule, wish):
                return True, reason
        return False, ""

    def may_read_path(self, user: User, path: str) -> bool:
        """Tell whether `user` may read a path outside of the API groups."""
        known = _DISCOVERY_PATHS if "system:authenticated" in user.groups else _PUBLIC_PATHS
        return user.is_admin or any(
            path == entry or (entry.endswith("*") and path.startswith(entry[:-1]))
            for entry in known
        )

    def rules_of(self, user: User, namespace: str) -> tuple[list[JsonObject], list[JsonObject]]:
        """Return the rules for objects and those for paths, as a SelfSubjectRulesReview does."""
        rules = [rule for rule, _ in self._rules(user, namespace)]
        if user.is_admin:
            rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        paths: list[str] = ["*"] if user.is_admin else list(_DISCOVERY_PATHS)
        return [_REVIEW_RULE, *rules], [{"verbs": ["get"], "nonResourceURLs": paths}]

    def _rules(self, user: User, namespace: str) -> Iterator[tuple[JsonObject, str]]:
        bindings = self._store.list(CLUSTER_ROLE_BINDINGS)
        if namespace:
            bindings += self._store.list(ROLE_BINDINGS, namespace)
        for binding in bindings:
            subject = _subject_of(binding, user)
            if subject is None:
                continue
            role = self._role_of(binding)
            reason = _reason(binding, subject)
            for rule in listed(role or {}, "rules"):
                yield rule, reason

    def _role_of(self, binding: JsonObject) -> JsonObject | None:
        reference: dict[str, str] = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            return self._store.get(CLUSTER_ROLES, "", reference["name"])
        return self._store.get(ROLES, namespace_of(binding), reference["name"])


def _subject_of(binding: JsonObject, user: User) -> JsonObject | None:
    for subject in listed(binding, "subjects"):
        match subject["kind"]:
            case "ServiceAccount":
                space = subject.get("namespace", namespace_of(binding))
                matches = user.name == f"system:serviceaccount:{space}:{subject['name']}"
            case "Group":
                matches = subject["name"] in user.groups
            case _:
                matches = subject["name"] == user.name
        if matches:
            return subject
    return None


def _reason(binding: JsonObject, subject: JsonObject) -> str:
    reference: dict[str, str] = binding["roleRef"]
    space = namespace_of(binding)
    label = f"{name_of(binding)}/{space}" if space else name_of(binding)
    kind = "RoleBinding" if space else "ClusterRoleBinding"
    who = subject["name"]
    if subject["kind"] == "ServiceAccount":
        who = f"{who}/{subject.get('namespace', space)}"
    return (
        f'RBAC: allowed by {kind} "{label}" of {reference["kind"]} "{reference["name"]}" '
        f'to {subject["kind"]} "{who}"'
    )


def _allows(rule: JsonObject, wish: Wish) -> bool:
    names = listed(rule, "resourceNames")
    return (
        _has(rule.get("verbs"), wish.verb)
        and _has(rule.get("apiGroups"), wish.group)
        and _covers(listed(rule, "resources"), wish.resource)
        and (not names or wish.name in names)
    )


def _has(entries: Any, wanted: str) -> bool:
    return bool(entries) and ("*" in entries or wanted in entries)


def _covers(resources: list[str], wanted: str) -> bool:
    _, _, subresource = wanted.partition("/")
    return _has(resources, wanted) or bool(subresource and f"*/{subresource}" in resources)
