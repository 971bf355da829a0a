"""What the server tells about itself: version, groups, resources, OpenAPI."""

from deployments.local.resources import (
    NAMESPACES,
    PODS,
    REVIEWS,
    SERVICE_ACCOUNTS,
    STORED,
    JsonObject,
    Resource,
)

VERSION: JsonObject = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3-local",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def core_versions(address: str) -> JsonObject:
    """Answer `/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list() -> JsonObject:
    """Answer `/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name) for name in _group_names()],
    }


def group(name: str) -> JsonObject | None:
    """Answer `/apis/GROUP`; None when there is no such group."""
    if name not in _group_names():
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def _group_names() -> list[str]:
    return sorted({r.group for r in (*STORED, *REVIEWS) if r.group})


def _group(name: str) -> JsonObject:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def resource_list(group_name: str, version: str) -> JsonObject | None:
    """Answer `/api/v1` and `/apis/GROUP/VERSION`; None when there is no such version."""
    found = [r for r in (*STORED, *REVIEWS) if (r.group, r.version) == (group_name, version)]
    if not found:
        return None
    rows = [row for resource in found for row in _rows(resource)]
    answer: JsonObject = {"kind": "APIResourceList"}
    if group_name:
        answer["apiVersion"] = "v1"
    answer["groupVersion"] = found[0].api_version
    answer["resources"] = sorted(rows, key=lambda row: row["name"])
    return answer


def _rows(resource: Resource) -> list[JsonObject]:
    if resource in REVIEWS:
        return [_row(resource, "", resource.kind, ["create"])]
    verbs = [v for v in _VERBS if resource != NAMESPACES or v != "deletecollection"]
    row = _row(resource, "", resource.kind, verbs)
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.in_all:
        row["categories"] = ["all"]
    rows = [row]
    if resource.has_status:
        rows.append(_row(resource, "/status", resource.kind, ["get", "patch", "update"]))
    if resource == PODS:
        rows.append(_row(resource, "/log", "Pod", ["get"]))
        rows.append(_row(resource, "/exec", "PodExecOptions", ["create", "get"]))
        eviction = _row(resource, "/eviction", "Eviction", ["create"])
        rows.append({**eviction, "group": "policy", "version": "v1"})
    if resource == SERVICE_ACCOUNTS:
        token = _row(resource, "/token", "TokenRequest", ["create"])
        rows.append({**token, "group": "authentication.k8s.io", "version": "v1"})
    return rows


def _row(resource: Resource, suffix: str, kind: str, verbs: list[str]) -> JsonObject:
    return {
        "name": f"{resource.plural}{suffix}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": verbs,
    }
