"""JSON patch, JSON merge patch and strategic merge patch. Pure: documents in, a new document out.

JSON patch follows the library that API servers use where it is more lenient than RFC 6902:
`replace` of a missing key adds it, and `test` of a missing key against null passes.
"""

import copy
from typing import Any, cast

from deployments.local.api_errors import bad_request, patch_refused
from deployments.local.objects import listed
from deployments.local.resources import JsonObject
from deployments.local.schema import Schema

_MISSING = object()


def apply_json_patch(document: JsonObject, operations: Any) -> JsonObject:
    """Apply RFC 6902 operations.

    Raises:
        ApiError: 422 when an operation does not apply (`test` included); 400 for no patch at all.
    """
    if not isinstance(operations, list):
        kind = "object" if isinstance(operations, dict) else "value"
        raise bad_request(f"json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch")
    result: Any = copy.deepcopy(document)
    for operation in cast("list[Any]", operations):
        if not isinstance(operation, dict):
            raise bad_request(
                "json: cannot unmarshal value into Go value of type jsonpatch.Operation"
            )
        try:
            result = _apply(result, cast("dict[str, Any]", operation))
        except (KeyError, IndexError, ValueError, TypeError):
            raise patch_refused() from None
    return result


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "test":
            if _get(document, path, default=None) != operation.get("value"):
                raise ValueError
        case "add":
            _put(document, path, operation.get("value"), insert=True)
        case "replace":
            _put(document, path, operation.get("value"), insert=False)
        case "remove":
            _remove(document, path)
        case "move":
            source = _pointer(operation["from"])
            value = _get(document, source)
            _remove(document, source)
            _put(document, path, value, insert=True)
        case "copy":
            value = copy.deepcopy(_get(document, _pointer(operation["from"])))
            _put(document, path, value, insert=True)
        case _:
            raise ValueError
    return document


def _pointer(text: str) -> list[str]:
    if not text.startswith("/"):
        raise ValueError
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: list[str], default: Any = _MISSING) -> Any:
    for position, part in enumerate(path):
        if isinstance(document, list):
            document = cast("list[Any]", document)[int(part)]
        elif isinstance(document, dict) and part in document:
            document = cast("dict[str, Any]", document)[part]
        elif isinstance(document, dict) and position == len(path) - 1 and default is not _MISSING:
            return default
        else:
            raise KeyError(part)
    return document


def _put(document: Any, path: list[str], value: Any, *, insert: bool) -> None:
    parent = _get(document, path[:-1])
    key = path[-1]
    if isinstance(parent, list):
        items = cast("list[Any]", parent)
        if key == "-" and insert:
            items.append(value)
            return
        index = int(key)
        if index > len(items) or (not insert and index == len(items)):
            raise IndexError
        if insert:
            items.insert(index, value)
        else:
            items[index] = value
    elif isinstance(parent, dict):
        parent[key] = value
    else:
        raise TypeError


def _remove(document: Any, path: list[str]) -> None:
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        del cast("list[Any]", parent)[int(path[-1])]
    else:
        del parent[path[-1]]


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """Apply RFC 7396: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged: dict[str, Any] = (
        dict(cast("dict[str, Any]", document)) if isinstance(document, dict) else {}
    )
    for key, value in cast("dict[str, Any]", patch).items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply_merge_patch(merged.get(key), value)
    return merged


def apply_strategic_patch(document: Any, patch: JsonObject, schema: Schema) -> JsonObject:
    """Apply a strategic merge patch: lists with a merge key merge by it.

    Understands `$patch: delete|replace`, `$deleteFromPrimitiveList/…` and `$setElementOrder/…`
    (whose order is not imposed).
    """
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged: JsonObject = (
        dict(cast("dict[str, Any]", document)) if isinstance(document, dict) else {}
    )
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            merged[field] = [item for item in listed(merged, field) if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_field(merged.get(key), value, schema.field(key))
    return merged


def _merge_field(old: Any, value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        return apply_strategic_patch(old, cast("JsonObject", value), schema)
    if not isinstance(value, list) or not schema.merges_lists:
        return copy.deepcopy(cast("Any", value))
    items = cast("list[Any]", value)
    olds = list(cast("list[Any]", old or []))
    key = schema.merge_key
    if not key:
        return olds + [item for item in items if item not in olds]
    return _merge_lists(olds, items, key, schema.items())


def _merge_lists(olds: list[Any], patches: list[Any], key: str, schema: Schema) -> list[Any]:
    if any(patch.get("$patch") == "replace" for patch in patches):
        return [patch for patch in patches if "$patch" not in patch]
    merged = list(olds)
    for patch in patches:
        place = next((i for i, item in enumerate(merged) if item.get(key) == patch.get(key)), None)
        if patch.get("$patch") == "delete":
            if place is not None:
                del merged[place]
        elif place is None:
            merged.append(apply_strategic_patch({}, patch, schema))
        else:
            merged[place] = apply_strategic_patch(merged[place], patch, schema)
    return merged
