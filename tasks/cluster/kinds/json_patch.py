"""Operations of a JSON patch (RFC 6902), the only form of patch we send: it can test first."""

from collections.abc import Sequence
from typing import Any

from tasks.cluster.json_objects import JsonObject

JsonPatch = Sequence[JsonObject]


def expect(path: str, value: Any) -> JsonObject:
    """Refuse the whole patch unless `path` holds `value`."""
    return {"op": "test", "path": path, "value": value}


def put(path: str, value: Any) -> JsonObject:
    """Set a member, whether it exists or not; its parent must exist."""
    return {"op": "add", "path": path, "value": value}


def annotation_path(key: str) -> str:
    """Return the pointer to one annotation."""
    return f"/metadata/annotations/{_escaped(key)}"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
