"""The `Table` form of objects: what `kubectl get` prints."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from deployments.local.objects import listed, mapped, name_of, now, parse_time
from deployments.local.resources import JsonObject, Resource

Cells = list[Any]
_NONE = "<none>"

_COLUMNS: dict[str, list[tuple[str, str, int]]] = {
    "Pod": [
        ("Ready", "string", 0),
        ("Status", "string", 0),
        ("Restarts", "integer", 0),
        ("Age", "string", 0),
        ("IP", "string", 1),
        ("Node", "string", 1),
        ("Nominated Node", "string", 1),
        ("Readiness Gates", "string", 1),
    ],
    "Job": [
        ("Completions", "string", 0),
        ("Duration", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    "Secret": [("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)],
    "ConfigMap": [("Data", "string", 0), ("Age", "string", 0)],
    "Namespace": [("Status", "string", 0), ("Age", "string", 0)],
    "ServiceAccount": [("Secrets", "string", 0), ("Age", "string", 0)],
    "Lease": [("Holder", "string", 0), ("Age", "string", 0)],
    "Node": [
        ("Status", "string", 0),
        ("Roles", "string", 0),
        ("Age", "string", 0),
        ("Version", "string", 0),
    ],
    "PersistentVolumeClaim": [
        ("Status", "string", 0),
        ("Volume", "string", 0),
        ("Capacity", "string", 0),
        ("Access Modes", "string", 0),
        ("StorageClass", "string", 0),
        ("Age", "string", 0),
    ],
    "RoleBinding": [("Role", "string", 0), ("Age", "string", 0)],
    "Event": [
        ("Last Seen", "string", 0),
        ("Type", "string", 0),
        ("Reason", "string", 0),
        ("Object", "string", 0),
        ("Message", "string", 0),
    ],
}
_OTHER_COLUMNS = [("Created At", "date", 0)]


def build_table(
    resource: Resource,
    objects: list[JsonObject],
    metadata: JsonObject,
    *,
    include: str = "Metadata",
    with_columns: bool = True,
) -> JsonObject:
    """Return a Table.

    Args:
        resource: The objects' kind.
        objects: One row each.
        metadata: The list's metadata.
        include: What each row carries: `None`, `Metadata` or `Object`.
        with_columns: False in all events of a watch but the first.
    """
    own = _COLUMNS.get(resource.kind, _OTHER_COLUMNS)
    name_column = ("Name", "string", 1 if resource.kind == "Event" else 0)
    columns = [*own, name_column] if resource.kind == "Event" else [name_column, *own]
    definitions = [
        {
            "name": name,
            "type": kind,
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": priority,
        }
        for name, kind, priority in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions if with_columns else None,
        "rows": [_row(resource, obj, include) for obj in objects],
    }


def _row(resource: Resource, obj: JsonObject, include: str) -> JsonObject:
    cells = _CELLS.get(resource.kind, _other_cells)(obj)
    # Events are named by nonces, which nobody wants to read first.
    is_event = resource.kind == "Event"
    row: JsonObject = {"cells": [*cells, name_of(obj)] if is_event else [name_of(obj), *cells]}
    phase = mapped(obj, "status").get("phase")
    if resource.kind == "Pod" and phase in ("Succeeded", "Failed"):
        said = {
            "Succeeded": "The pod has completed successfully.",
            "Failed": "The pod failed.",
        }
        row["conditions"] = [
            {"type": "Completed", "status": "True", "reason": phase, "message": said[phase]}
        ]
    if include == "Object":
        row["object"] = obj
    elif include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return row


def _age(obj: JsonObject) -> str:
    return _since(obj["metadata"].get("creationTimestamp"))


def _since(text: str | None) -> str:
    return "<unknown>" if not text else human_duration((now() - parse_time(text)).total_seconds())


def human_duration(seconds: float) -> str:
    """Write a duration as kubectl does: two units while the first is small."""
    whole = int(seconds)
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def _pod_cells(pod: JsonObject) -> Cells:
    status = mapped(pod, "status")
    containers = listed(pod["spec"], "containers")
    states = listed(status, "containerStatuses")
    ready = sum(bool(state.get("ready")) for state in states)
    restarts = sum(state.get("restartCount", 0) for state in states)
    return [
        f"{ready}/{len(containers)}",
        pod_status_text(pod),
        restarts,
        _age(pod),
        status.get("podIP", _NONE),
        pod["spec"].get("nodeName", _NONE),
        _NONE,
        _NONE,
    ]


def pod_status_text(pod: JsonObject) -> str:
    """Return the STATUS column: the most telling reason, in place of the phase."""
    status = mapped(pod, "status")
    text = status.get("reason") or status.get("phase", "Unknown")
    initializing = _init_text(listed(status, "initContainerStatuses"))
    if initializing:
        text = initializing
    else:
        for state in reversed(listed(status, "containerStatuses")):
            text = _state_text(mapped(state, "state")) or text
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return text


def _init_text(states: list[JsonObject]) -> str:
    for index, container in enumerate(states):
        state = mapped(container, "state")
        terminated = mapped(state, "terminated")
        if terminated and terminated["exitCode"] == 0:
            continue
        reason = mapped(state, "waiting").get("reason")
        if terminated:
            return f"Init:{_state_text(state)}"
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{index}/{len(states)}"
    return ""


def _state_text(state: JsonObject) -> str:
    waiting, terminated = mapped(state, "waiting"), mapped(state, "terminated")
    if waiting.get("reason"):
        return waiting["reason"]
    if terminated:
        return terminated.get("reason") or f"ExitCode:{terminated['exitCode']}"
    return ""


def _job_cells(job: JsonObject) -> Cells:
    spec, status = job["spec"], mapped(job, "status")
    template = spec["template"]["spec"]
    wanted = spec.get("completions", "<none>")
    started, completed = status.get("startTime"), status.get("completionTime")
    duration = ""
    if started:
        end: datetime = parse_time(completed) if completed else now()
        duration = human_duration((end - parse_time(started)).total_seconds())
    labels = mapped(mapped(spec, "selector"), "matchLabels")
    return [
        f"{status.get('succeeded', 0)}/{wanted}",
        duration,
        _age(job),
        ",".join(c["name"] for c in template["containers"]),
        ",".join(c["image"] for c in template["containers"]),
        ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
    ]


def _event_cells(event: JsonObject) -> Cells:
    subject = event["involvedObject"]
    seen = event.get("lastTimestamp") or event.get("eventTime")
    return [
        _since(seen),
        event.get("type", ""),
        event.get("reason", ""),
        f"{subject.get('kind', '').lower()}/{subject.get('name', '')}",
        event.get("message", "").strip(),
    ]


def _claim_cells(claim: JsonObject) -> Cells:
    status = mapped(claim, "status")
    return [
        status.get("phase", ""),
        claim["spec"].get("volumeName", ""),
        mapped(status, "capacity").get("storage", ""),
        ",".join(listed(status, "accessModes")),
        claim["spec"].get("storageClassName", ""),
        _age(claim),
    ]


def _node_cells(node: JsonObject) -> Cells:
    ready = any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in listed(mapped(node, "status"), "conditions")
    )
    version = mapped(mapped(node, "status"), "nodeInfo").get("kubeletVersion", "")
    return ["Ready" if ready else "NotReady", _NONE, _age(node), version]


def _other_cells(obj: JsonObject) -> Cells:
    return [obj["metadata"].get("creationTimestamp", "")]


_CELLS: dict[str, Callable[[JsonObject], Cells]] = {
    "Pod": _pod_cells,
    "Job": _job_cells,
    "Event": _event_cells,
    "PersistentVolumeClaim": _claim_cells,
    "Node": _node_cells,
    "Secret": lambda o: [o.get("type", ""), len(mapped(o, "data")), _age(o)],
    "ConfigMap": lambda o: [len(mapped(o, "data")) + len(mapped(o, "binaryData")), _age(o)],
    "Namespace": lambda o: [mapped(o, "status").get("phase", ""), _age(o)],
    "ServiceAccount": lambda o: [len(listed(o, "secrets")), _age(o)],
    "Lease": lambda o: [mapped(o, "spec").get("holderIdentity", ""), _age(o)],
    "RoleBinding": lambda o: [f"{o['roleRef']['kind']}/{o['roleRef']['name']}", _age(o)],
}
