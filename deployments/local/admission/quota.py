"""ResourceQuotas: what a namespace uses, and what a new object would use beyond."""

from collections.abc import Mapping
from decimal import Decimal

from deployments.local.objects import listed, mapped
from deployments.local.quantities import format_quantity, parse_quantity
from deployments.local.resources import PODS, STORED, JsonObject, Resource
from deployments.local.store import Store

_COMPUTE = ("cpu", "memory")


def usage_of(store: Store, namespace: str) -> Mapping[str, Decimal]:
    """Return what the objects of a namespace use, by the names that quotas have for it."""
    total: dict[str, Decimal] = {}
    for resource in STORED:
        if not resource.namespaced:
            continue
        for obj in store.list(resource, namespace):
            for name, amount in _wanted(resource, obj).items():
                total[name] = total.get(name, Decimal(0)) + amount
    return total


def find_quota_fault(
    quota: JsonObject, resource: Resource, obj: JsonObject, used: Mapping[str, Decimal]
) -> str:
    """Return why a quota forbids a new object; empty where it does not."""
    name = quota["metadata"]["name"]
    hard = mapped(mapped(quota, "spec"), "hard")
    missing = _unspecified(hard, obj["spec"]) if resource == PODS else ""
    if missing:
        return f"failed quota: {name}: must specify {missing}"
    wanted = _wanted(resource, obj)
    over = sorted(
        key
        for key, limit in hard.items()
        if wanted.get(key) and used.get(key, Decimal(0)) + wanted[key] > parse_quantity(limit)
    )
    if not over:
        return ""
    parts = {
        "requested": {key: format_quantity(key, wanted[key]) for key in over},
        "used": {key: format_quantity(key, used.get(key, Decimal(0))) for key in over},
        "limited": {key: hard[key] for key in over},
    }
    texts = [
        f"{part}: {','.join(f'{key}={value}' for key, value in values.items())}"
        for part, values in parts.items()
    ]
    return f"exceeded quota: {name}, {', '.join(texts)}"


def quota_status(quota: JsonObject, used: Mapping[str, Decimal]) -> JsonObject:
    """Return the status of a quota."""
    hard = mapped(mapped(quota, "spec"), "hard")
    amounts = {key: format_quantity(key, used.get(key, Decimal(0))) for key in hard}
    return {"hard": dict(hard), "used": amounts}


def _unspecified(hard: JsonObject, spec: JsonObject) -> str:
    containers = [*listed(spec, "containers"), *listed(spec, "initContainers")]
    parts: list[str] = []
    for key in sorted(hard):
        side, _, name = key.rpartition(".")
        if name not in _COMPUTE or side not in ("", "requests", "limits"):
            continue
        lacking = sorted(
            c["name"]
            for c in containers
            if name not in mapped(mapped(c, "resources"), side or "requests")
        )
        if lacking:
            parts.append(f"{key} for: {','.join(lacking)}")
    return "; ".join(parts)


def _wanted(resource: Resource, obj: JsonObject) -> dict[str, Decimal]:
    counts = {f"count/{resource.qualified}": Decimal(1)}
    if not resource.group and resource != PODS:
        counts[resource.plural] = Decimal(1)
    if resource != PODS or mapped(obj, "status").get("phase") in ("Succeeded", "Failed"):
        return counts
    counts["pods"] = Decimal(1)
    for side in ("requests", "limits"):
        for name, amount in pod_amounts(obj["spec"], side).items():
            counts[f"{side}.{name}"] = amount
            if side == "requests" and name in _COMPUTE:
                counts[name] = amount
    return counts


def pod_amounts(spec: JsonObject, side: str) -> dict[str, Decimal]:
    """Return what a pod asks for: its containers together, or its largest init container.

    Args:
        spec: The pod's.
        side: `requests` or `limits`.
    """
    init = listed(spec, "initContainers")
    sidecars = [c for c in init if c.get("restartPolicy") == "Always"]
    total: dict[str, Decimal] = {}
    for container in (*listed(spec, "containers"), *sidecars):
        for name, text in mapped(mapped(container, "resources"), side).items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(text)
    for container in init:
        for name, text in mapped(mapped(container, "resources"), side).items():
            total[name] = max(total.get(name, Decimal(0)), parse_quantity(text))
    return total
