"""What one pod counts for in a quota, as Kubernetes counts it: its effective requests and limits.

Containers run side by side, so theirs are added. Init containers run one after the other, each
beside the native sidecars before it, so the largest of them counts where it is more than the rest.
The rules are those of Kubernetes' `component-helpers/resource/helpers.go` (1.32 to 1.36). Pure.
"""

from collections.abc import Mapping
from decimal import Decimal

from tasks.agent_job.quantities import quantity_value
from tasks.observation.api_fields import RawObject, object_at, objects_at

# Quotas name the requests of these without a prefix as well.
_SHORT_NAMES = ("cpu", "memory", "ephemeral-storage")
_IN_BYTES = ("memory", "ephemeral-storage", "hugepages-")
_BINARY_UNITS = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")

_Amounts = dict[str, Decimal]


def pod_needs(pod: RawObject) -> dict[str, str]:
    """Return how much of each resource of a quota a pod takes, by the quota's name for it.

    Args:
        pod: As sent or as stored; what its containers do not name counts for nothing.

    Returns:
        Kubernetes quantities by names such as `requests.cpu`, `cpu` and `limits.memory`. One that
        cannot be read is left out.
    """
    spec = object_at(pod, "spec")
    requests, limits = _effective(spec, "requests"), _effective(spec, "limits")
    overhead = _amounts(object_at(spec, "overhead"))
    requests = _sum(requests, overhead)
    # What has no limit is not given one by what the runtime class adds.
    limits = _sum(limits, {name: value for name, value in overhead.items() if name in limits})
    needs = {f"requests.{name}": _text(name, value) for name, value in requests.items()}
    needs |= {f"limits.{name}": _text(name, value) for name, value in limits.items()}
    short = [name for name in requests if name in _SHORT_NAMES or name.startswith("hugepages-")]
    return needs | {name: needs[f"requests.{name}"] for name in short}


def _effective(spec: RawObject, kind: str) -> _Amounts:
    total: _Amounts = {}
    for container in objects_at(spec, "containers"):
        total = _sum(total, _of_container(container, kind))
    sidecars: _Amounts = {}
    before: _Amounts = {}
    for container in objects_at(spec, "initContainers"):
        own = _of_container(container, kind)
        if container.get("restartPolicy") == "Always":
            total, sidecars = _sum(total, own), _sum(sidecars, own)
            before = _largest(before, sidecars)
        else:
            before = _largest(before, _sum(own, sidecars))
    # What the pod itself names counts in place of its containers'.
    return _largest(total, before) | _of_container(spec, kind)


def _of_container(container: RawObject, kind: str) -> _Amounts:
    resources = object_at(container, "resources")
    amounts = _amounts(object_at(resources, kind))
    if kind == "requests":
        # The API server gives what has a limit and no request a request of the same size.
        return {**_amounts(object_at(resources, "limits")), **amounts}
    return amounts


def _amounts(quantities: Mapping[str, object]) -> _Amounts:
    found: _Amounts = {}
    for name, quantity in quantities.items():
        try:
            found[name] = quantity_value(str(quantity))
        except ValueError:
            continue  # a number format that servers do not write
    return found


def _sum(first: _Amounts, second: _Amounts) -> _Amounts:
    names = dict.fromkeys([*first, *second])
    return {name: first.get(name, Decimal(0)) + second.get(name, Decimal(0)) for name in names}


def _largest(first: _Amounts, second: _Amounts) -> _Amounts:
    names = dict.fromkeys([*first, *second])
    return {name: max(first.get(name, Decimal(0)), second.get(name, Decimal(0))) for name in names}


def _text(name: str, value: Decimal) -> str:
    """Write an amount as people write it: 500m, 2, 8Gi."""
    if value != value.to_integral_value():
        return f"{(value * 1000).normalize():f}m"
    number = int(value)
    if number and name.startswith(_IN_BYTES):
        for power, unit in zip(range(len(_BINARY_UNITS), 0, -1), _BINARY_UNITS, strict=True):
            if number % 1024**power == 0:
                return f"{number // 1024**power}{unit}"
    return str(number)
