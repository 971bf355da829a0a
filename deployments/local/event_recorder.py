"""Kubernetes Events, repeated ones counted."""

import time
from typing import Any

from deployments.local.api_errors import ApiError
from deployments.local.objects import format_micro_time, format_time, name_of, namespace_of, now
from deployments.local.registry import Registry, Target
from deployments.local.resources import EVENTS, JsonObject


class EventRecorder:
    """Writes Events for controllers and the node."""

    def __init__(self, registry: Registry, node_name: str) -> None:
        self._registry = registry
        self._node_name = node_name
        self._known: dict[tuple[str, ...], str] = {}

    def record(
        self,
        obj: JsonObject,
        kind: str,
        reason: str,
        message: str,
        *,
        component: str,
        field_path: str = "",
    ) -> None:
        """Write an Event about `obj`, or count one more of the same.

        Args:
            obj: What it is about.
            kind: Normal or Warning.
            reason: CamelCase.
            message: One sentence.
            component: Who says so.
            field_path: Which part of the object, as `spec.containers{agent}`.
        """
        subject = _reference(obj, field_path)
        key = (subject["uid"], field_path, kind, reason, message, component)
        name = self._known.get(key, "")
        store = self._registry.store
        known = store.get(EVENTS, namespace_of(obj), name) if name else None
        if known is not None:
            store.change(EVENTS, known, _count)
            return
        name = f"{name_of(obj)}.{time.time_ns():x}"
        body: JsonObject = {
            "metadata": {"name": name, "namespace": namespace_of(obj)},
            "involvedObject": subject,
            "reason": reason,
            "message": message,
            "type": kind,
            **self._source(component),
        }
        try:
            self._registry.create(Target(EVENTS, namespace_of(obj)), body)
        except ApiError:
            return  # the namespace is going away
        self._known[key] = name

    def _source(self, component: str) -> dict[str, Any]:
        moment = now()
        if component == "default-scheduler":
            # The scheduler alone uses the newer Events API.
            return {
                "source": {},
                "firstTimestamp": None,
                "lastTimestamp": None,
                "eventTime": format_micro_time(moment),
                "action": "Binding",
                "reportingComponent": component,
                "reportingInstance": f"{component}-{self._node_name}",
            }
        source = {"component": component}
        if component == "kubelet":
            source["host"] = self._node_name
        times = {"firstTimestamp": format_time(moment), "lastTimestamp": format_time(moment)}
        rest = {"reportingComponent": component, "reportingInstance": source.get("host", "")}
        return {"source": source, **times, "count": 1, "eventTime": None, **rest}


def _count(event: JsonObject) -> None:
    event["count"] = event.get("count", 1) + 1
    event["lastTimestamp"] = format_time(now())


def _reference(obj: JsonObject, field_path: str) -> JsonObject:
    metadata = obj["metadata"]
    reference: JsonObject = {
        "kind": obj["kind"],
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": metadata["uid"],
        "apiVersion": obj["apiVersion"],
        "resourceVersion": metadata["resourceVersion"],
    }
    if field_path:
        reference["fieldPath"] = field_path
    return reference
