"""Merges a patch into a pod template as `kubectl patch --type strategic` does. Pure.

Objects merge field by field, and null removes a field. Lists merge by a key of their items where
Kubernetes says so, and replace each other everywhere else. Directives (`$patch`, `$retainKeys` and
the like) are not understood: whoever calls this refuses them first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

Json = dict[str, Any]


class Place(NamedTuple):
    """A place in a Kubernetes object, and how lists there and below it merge.

    Attributes:
        merge_key: The field by which items of the list at this place are the same item; `None` for
            objects, values, and lists that replace each other.
        fields: The places below this one that matter; of the items, if this is a list.
    """

    merge_key: str | None
    fields: "Mapping[str, Place]"


def _list_of(merge_key: str, fields: Mapping[str, Place] | None = None) -> Place:
    return Place(merge_key, fields or {})


def _object_of(**fields: Place) -> Place:
    return Place(None, fields)


_OBJECT = _object_of()
_CONTAINERS = _list_of(
    "name",
    {
        "env": _list_of("name"),
        "ports": _list_of("containerPort"),
        "resources": _object_of(limits=_OBJECT, requests=_OBJECT),
        "securityContext": _OBJECT,
        "volumeDevices": _list_of("devicePath"),
        "volumeMounts": _list_of("mountPath"),
    },
)

POD_TEMPLATE = _object_of(
    metadata=_object_of(annotations=_OBJECT, labels=_OBJECT),
    spec=_object_of(
        containers=_CONTAINERS,
        ephemeralContainers=_CONTAINERS,
        hostAliases=_list_of("ip"),
        imagePullSecrets=_list_of("name"),
        initContainers=_CONTAINERS,
        resourceClaims=_list_of("name"),
        schedulingGates=_list_of("name"),
        securityContext=_OBJECT,
        topologySpreadConstraints=_list_of("topologyKey"),
        volumes=_list_of("name"),
    ),
)
"""Every merge key of a PodTemplateSpec in the OpenAPI of Kubernetes 1.36, but for owners, which a
template cannot set; and objects that are looked into elsewhere.
"""


def merge_strategically(original: Json, patch: Json, place: Place) -> Json:
    """Return the merged object; neither argument is changed.

    Args:
        original: An object at `place`.
        patch: Without directives; every item of a list with a merge key has that key.
        place: Such as `POD_TEMPLATE`.
    """
    merged = dict(original)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
            continue
        below = place.fields.get(name, _OBJECT)
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[name] = merge_strategically(cast("Json", old), cast("Json", value), below)
        elif isinstance(old, list) and isinstance(value, list):
            merged[name] = _merge_lists(cast("list[Json]", old), cast("list[Json]", value), below)
        else:
            merged[name] = _without_nulls(value)
    return merged


def _merge_lists(old: list[Json], patch: list[Json], place: Place) -> list[Json]:
    key = place.merge_key
    if key is None:
        return _without_nulls(patch)
    items = list(old)
    for change in patch:
        at = _index(items, key, change[key])
        if at is None:
            items.append(_without_nulls(change))
        else:
            items[at] = merge_strategically(items[at], change, place)
    named = {change[key]: None for change in patch}
    return _interleave(
        [item for item in items if item[key] not in named],
        [item for name in named for item in items if item[key] == name],
        [item[key] for item in old],
        key,
    )


def _interleave(
    kept: Sequence[Json], changed: Sequence[Json], order: Sequence[Any], key: str
) -> list[Json]:
    """Put what the patch names into its order, and what it does not name as late as it may be.

    An item that was kept comes before one that was changed only if it did so in the original.
    """
    result: list[Json] = []
    kept, changed = list(kept), list(changed)
    while kept and changed:
        is_earlier = changed[0][key] in order and order.index(kept[0][key]) < order.index(
            changed[0][key]
        )
        result.append((kept if is_earlier else changed).pop(0))
    return [*result, *kept, *changed]


def _index(items: Sequence[Json], key: str, value: Any) -> int | None:
    return next((at for at, item in enumerate(items) if item[key] == value), None)


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            fields = cast("Json", value).items()
            return {name: _without_nulls(part) for name, part in fields if part is not None}
        case list():
            return [_without_nulls(item) for item in cast("list[Any]", value)]
        case _:
            return value
