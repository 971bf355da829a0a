"""LimitRanges: the resources that containers get by default, and those that they may have. Pure."""

from decimal import Decimal

from deployments.local.admission.quota import pod_amounts
from deployments.local.objects import listed, mapped
from deployments.local.quantities import format_quantity, parse_quantity
from deployments.local.resources import JsonObject

_ANNOTATION = "kubernetes.io/limit-ranger"
_SOURCES = (("requests", "defaultRequest", "request"), ("limits", "default", "limit"))


def apply_limit_defaults(pod: JsonObject, limit_ranges: list[JsonObject]) -> None:
    """Give the containers of a new pod what they do not ask for themselves."""
    items = _items(limit_ranges, "Container")
    told: list[str] = []
    spec = pod["spec"]
    for group, label in (("containers", "container"), ("initContainers", "init container")):
        for container in listed(spec, group):
            for field, source, word in _SOURCES:
                set_names: list[str] = []
                for item in items:
                    present = container.setdefault("resources", {}).setdefault(field, {})
                    for name, text in mapped(item, source).items():
                        if name not in present:
                            present[name] = text
                            set_names.append(name)
                if set_names:
                    told.append(
                        f"{', '.join(sorted(set_names))} {word} for {label} {container['name']}"
                    )
    if told:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[_ANNOTATION] = f"LimitRanger plugin set: {'; '.join(told)}"


def find_limit_faults(pod: JsonObject, limit_ranges: list[JsonObject]) -> list[str]:
    """Return which limits a pod breaks; empty when it may be stored."""
    spec = pod["spec"]
    faults: list[str] = []
    for item in _items(limit_ranges, "Container"):
        for container in (*listed(spec, "containers"), *listed(spec, "initContainers")):
            resources = mapped(container, "resources")
            amounts = {
                side: {k: parse_quantity(v) for k, v in mapped(resources, side).items()}
                for side in ("requests", "limits")
            }
            faults += _item_faults(item, amounts)
    for item in _items(limit_ranges, "Pod"):
        faults += _item_faults(
            item, {side: pod_amounts(spec, side) for side in ("requests", "limits")}
        )
    return faults


def _items(limit_ranges: list[JsonObject], kind: str) -> list[JsonObject]:
    items = [item for each in limit_ranges for item in listed(mapped(each, "spec"), "limits")]
    return [item for item in items if item.get("type") == kind]


def _item_faults(item: JsonObject, amounts: dict[str, dict[str, Decimal]]) -> list[str]:
    return [
        *_least_faults(item, amounts["requests"], amounts["limits"]),
        *_most_faults(item, amounts["limits"]),
        *_ratio_faults(item, amounts["requests"], amounts["limits"]),
    ]


def _least_faults(
    item: JsonObject, requests: dict[str, Decimal], limits: dict[str, Decimal]
) -> list[str]:
    faults: list[str] = []
    for name, text in mapped(item, "min").items():
        least, head = parse_quantity(text), f"minimum {name} usage per {item['type']} is {text}"
        if name not in requests:
            faults.append(f"{head}.  No request is specified")
        elif requests[name] < least:
            faults.append(f"{head}, but request is {format_quantity(name, requests[name])}")
        elif limits.get(name, least) < least:
            faults.append(f"{head}, but limit is {format_quantity(name, limits[name])}")
    return faults


def _most_faults(item: JsonObject, limits: dict[str, Decimal]) -> list[str]:
    faults: list[str] = []
    for name, text in mapped(item, "max").items():
        most, head = parse_quantity(text), f"maximum {name} usage per {item['type']} is {text}"
        if name not in limits:
            faults.append(f"{head}.  No limit is specified")
        elif limits[name] > most:
            faults.append(f"{head}, but limit is {format_quantity(name, limits[name])}")
    return faults


def _ratio_faults(
    item: JsonObject, requests: dict[str, Decimal], limits: dict[str, Decimal]
) -> list[str]:
    faults: list[str] = []
    for name, text in mapped(item, "maxLimitRequestRatio").items():
        if limits.get(name) and requests.get(name):
            ratio = limits[name] / requests[name]
            if ratio > parse_quantity(text):
                head = f"{name} max limit to request ratio per {item['type']} is {text}"
                faults.append(f"{head}, but provided ratio is {ratio:.6f}")
    return faults
