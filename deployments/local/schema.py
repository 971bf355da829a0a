"""The recorded OpenAPI definitions of 1.36: which fields exist, of what type, how lists merge.

A real server decodes into fixed structures, so that fields which it does not know are dropped (it
warns of them, or refuses them when asked to be strict) and a wrong type is refused.
"""

import functools
import json
import lzma
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deployments.local.api_errors import bad_request
from deployments.local.resources import JsonObject, Resource

_RECORDED = Path(__file__).parent / "recorded"
_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
_MICRO_TIME_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), 'ReadString: expects " or n'),
    "integer": ((int,), "readUint32: unexpected character"),
    "number": ((int, float), "readNumber: unexpected character"),
    "boolean": ((bool,), "ReadBool: expect t or f"),
}
_TIME_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def read_recorded(name: str) -> bytes:
    """Return a recorded document, unpacked; `name` is its file name without `.xz`."""
    return lzma.decompress((_RECORDED / f"{name}.xz").read_bytes())


@functools.cache
def _definitions() -> dict[str, Any]:
    return json.loads(read_recorded("openapi-v2.json"))["definitions"]


@functools.cache
def _definition_name(group: str, version: str, kind: str) -> str | None:
    wanted = {"group": group, "version": version, "kind": kind}
    for name, definition in _definitions().items():
        if wanted in definition.get("x-kubernetes-group-version-kind", []):
            return name
    return None


@dataclass(frozen=True)
class Schema:
    """One place in the definitions; places that are unknown accept and keep anything."""

    raw: JsonObject

    @classmethod
    def of(cls, resource: Resource) -> "Schema":
        """Return the schema of a kind."""
        name = _definition_name(resource.group, resource.version, resource.kind)
        return cls({"$ref": f"#/definitions/{name}"} if name else {})

    @property
    def reference(self) -> str:
        """Name of the definition that this place refers to, or empty."""
        return self.raw.get("$ref", "").rpartition("/")[2]

    @property
    def definition(self) -> JsonObject:
        """What stands here, behind the reference."""
        return _definitions()[self.reference] if self.reference else self.raw

    @property
    def properties(self) -> JsonObject | None:
        """Fields of an object of a fixed structure; None for maps and values."""
        return self.definition.get("properties")

    @property
    def merges_lists(self) -> bool:
        """Whether a strategic patch merges the list here."""
        return "merge" in self.raw.get("x-kubernetes-patch-strategy", "")

    @property
    def merge_key(self) -> str:
        """Field by which the list's items are told apart; empty for plain values."""
        return self.raw.get("x-kubernetes-patch-merge-key", "")

    def field(self, name: str) -> "Schema":
        """Return the schema of a field or of a map's values."""
        if self.properties is not None:
            return Schema(self.properties.get(name, {}))
        return Schema(self.definition.get("additionalProperties", {}))

    def items(self) -> "Schema":
        """Return the schema of a list's items."""
        return Schema(self.definition.get("items", {}))


def decode(resource: Resource, body: JsonObject, unknown: list[str] | None = None) -> JsonObject:
    """Return the object as the server understands it: unknown fields and nulls gone.

    Args:
        resource: The kind.
        body: The object as it came.
        unknown: Gets the paths of the fields that are dropped.

    Raises:
        ApiError: 400, a field has the wrong type.
    """
    return _decode(
        Schema.of(resource), body, _Place(resource, (), [] if unknown is None else unknown)
    )


@dataclass(frozen=True)
class _Place:
    resource: Resource
    path: tuple[str, ...]
    unknown: list[str]

    def below(self, name: str) -> "_Place":
        return _Place(self.resource, (*self.path, name), self.unknown)

    def miss(self, name: str) -> None:
        self.unknown.append(".".join((*self.path, name)).replace(".[", "["))

    def refuse(self, why: str) -> Exception:
        kind = self.resource.kind
        where = ".".join((f"{self.resource.version}.{kind}", *self.path))
        return bad_request(
            f'{kind} in version "{self.resource.version}" cannot be handled as a {kind}: '
            f"{where}: {why}"
        )


def _decode(schema: Schema, value: Any, place: _Place) -> Any:
    if schema.reference in (_TIME, _MICRO_TIME):
        return _decode_time(schema, value, place)
    expected = schema.definition.get("type")
    if expected == "object":
        return _decode_object(schema, value, place)
    if expected == "array":
        return _decode_list(schema.items(), value, place)
    takes_anything = schema.reference.endswith(("Quantity", "IntOrString"))
    if expected in _SCALARS and not takes_anything:
        accepted, complaint = _SCALARS[expected]
        if type(value) not in accepted:
            raise place.refuse(f"{complaint}, but found {json.dumps(value)}")
    return value


def _decode_list(items: Schema, value: Any, place: _Place) -> list[Any]:
    if not isinstance(value, list):
        raise place.refuse("decode slice: expect [ or n, but found another value")
    return [
        _decode(items, item, place.below(f"[{index}]"))
        for index, item in enumerate(cast("list[Any]", value))
    ]


def _decode_object(schema: Schema, value: Any, place: _Place) -> JsonObject:
    if not isinstance(value, dict):
        raise place.refuse("readObjectStart: expect { or n, but found another value")
    known = schema.properties
    is_map = "additionalProperties" in schema.definition
    decoded: JsonObject = {}
    for key, item in cast("dict[str, Any]", value).items():
        if not (known is None or key in known):
            place.miss(key)
            continue
        if item is None:
            continue
        if known is None and not is_map:
            decoded[key] = item
        else:
            decoded[key] = _decode(schema.field(key), item, place.below(key))
    return decoded


def _decode_time(schema: Schema, value: Any, place: _Place) -> str:
    form, layout = _TIME_FORM, "2006-01-02T15:04:05Z07:00"
    if schema.reference == _MICRO_TIME:
        form, layout = _MICRO_TIME_FORM, "2006-01-02T15:04:05.000000Z07:00"
    if not isinstance(value, str) or not form.fullmatch(value):
        raise place.refuse(f'unmarshalerDecoder: parsing time {json.dumps(value)} as "{layout}"')
    return value
