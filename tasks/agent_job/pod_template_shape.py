"""Whether a pod template can be merged and looked into: it has objects and lists where it must.

What else may be wrong with a field, the API server says before anything is created.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from tasks.agent_job.strategic_merge import POD_TEMPLATE, Place

Json = Mapping[str, Any]


def object_at(value: Json, name: str) -> Json:
    """Return a nested object; empty if there is none."""
    part = value.get(name)
    return cast("Json", part) if isinstance(part, Mapping) else {}


def objects_at(value: Json, name: str) -> list[Json]:
    """Return the objects in a nested list; empty if there is none."""
    part = value.get(name)
    items = cast("Sequence[Any]", part) if isinstance(part, list | tuple) else ()
    return [cast("Json", item) for item in items if isinstance(item, Mapping)]


def text_at(value: Json, name: str) -> str:
    """Return a nested text; empty if there is none."""
    part = value.get(name)
    return part if isinstance(part, str) else ""


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield everything that is neither object nor list, with its path."""
    if isinstance(value, Mapping):
        for name, part in cast("Json", value).items():
            yield from leaves(part, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("Sequence[Any]", value)):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path, value


def shape_problems(template: Json) -> list[str]:
    """Name every field of a wrong shape; empty if the template can be merged and looked into."""
    return [
        *(
            f"{name}: a pod template has `metadata` and `spec` only"
            for name in template
            if name not in POD_TEMPLATE.fields
        ),
        *_directives(template, ""),
        *_wrong_fields(template, POD_TEMPLATE, ""),
    ]


def _directives(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, part in cast("Json", value).items():
            at = f"{path}.{name}".removeprefix(".")
            if name.startswith("$"):
                yield f"{at}: directives are not supported; null removes a field"
            yield from _directives(part, at)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("Sequence[Any]", value)):
            yield from _directives(item, f"{path}[{number}]")


def _wrong_fields(value: Json, place: Place, path: str) -> Iterator[str]:
    for name, below in place.fields.items():
        part, at = value.get(name), f"{path}.{name}".removeprefix(".")
        if part is None:
            continue
        if below.merge_key is not None:
            yield from _wrong_items(part, below, below.merge_key, at)
        elif isinstance(part, Mapping):
            yield from _wrong_fields(cast("Json", part), below, at)
        else:
            yield f"{at}: must be an object"


def _wrong_items(part: Any, place: Place, key: str, path: str) -> Iterator[str]:
    if not isinstance(part, list | tuple):
        yield f"{path}: must be a list"
        return
    seen: set[str | int] = set()
    for number, item in enumerate(cast("Sequence[Any]", part)):
        at = f"{path}[{number}]"
        if not isinstance(item, Mapping):
            yield f"{at}: must be an object"
            continue
        name = cast("Json", item).get(key)
        if type(name) is not (int if key == "containerPort" else str):
            yield f"{at}.{key}: missing"
            continue
        # Ports of two protocols may have one number, and constraints one topology.
        if name in seen and key in {"name", "mountPath"}:
            yield f"{path}[{name}]: given more than once"
        seen.add(name)
        yield from _wrong_fields(cast("Json", item), place, f"{path}[{name}]")
