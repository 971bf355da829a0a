"""Which pods may run on the one node, and the scheduler's sentence when they may not. Pure."""

from decimal import Decimal

from deployments.local.objects import listed, mapped
from deployments.local.quantities import parse_quantity
from deployments.local.resources import JsonObject

_NO_PREEMPTION = (
    "no new claims to deallocate, preemption: 0/1 nodes are available: "
    "1 Preemption is not helpful for scheduling."
)


def find_obstacle(pod: JsonObject, node: JsonObject, others: list[JsonObject]) -> str:
    """Return why a pod cannot be scheduled; empty when it can.

    Args:
        pod: The pod.
        node: The node.
        others: Pods that hold resources of the node.
    """
    reasons: list[str] = []
    labels = mapped(node["metadata"], "labels")
    selector = mapped(pod["spec"], "nodeSelector")
    taints = [
        t for t in listed(mapped(node, "spec"), "taints") if t["effect"] != "PreferNoSchedule"
    ]
    untolerated = [t for t in taints if not _tolerates(pod, t)]
    if untolerated:
        taint = untolerated[0]
        reasons.append(
            f"1 node(s) had taint {{{taint['key']}: {taint.get('value', '')}}}, "
            "that the pod didn't tolerate"
        )
    elif mapped(node, "spec").get("unschedulable"):
        reasons.append("1 node(s) were unschedulable")
    elif any(labels.get(key) != value for key, value in selector.items()):
        reasons.append("1 node(s) didn't match Pod's node affinity/selector")
    else:
        reasons += _shortages(pod, node, others)
    if not reasons:
        return ""
    return f"0/1 nodes are available: {', '.join(reasons)}. {_NO_PREEMPTION}"


def _tolerates(pod: JsonObject, taint: JsonObject) -> bool:
    for toleration in listed(pod["spec"], "tolerations"):
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint["key"]):
                return True
        elif (toleration.get("key"), toleration.get("value", "")) == (
            taint["key"],
            taint.get("value", ""),
        ):
            return True
    return False


def _shortages(pod: JsonObject, node: JsonObject, others: list[JsonObject]) -> list[str]:
    capacity = mapped(mapped(node, "status"), "allocatable")
    reasons: list[str] = []
    for name, amount in _requests(pod).items():
        free = parse_quantity(capacity.get(name, "0")) - sum(
            (_requests(other).get(name, Decimal(0)) for other in others), Decimal(0)
        )
        if amount > free:
            reasons.append(f"1 Insufficient {name}")
    return reasons


def _requests(pod: JsonObject) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        for name, text in mapped(mapped(container, "resources"), "requests").items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(text)
    return total
