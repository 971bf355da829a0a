"""Reading single fields of a JSON object from outside: the right type, or `None`.

A field of another type than announced is as unknown as one that is missing; nothing here raises.
"""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, cast

JsonObject = Mapping[str, object]

_EMPTY: JsonObject = {}
_WHITE_SPACE = " \t\n\r"
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LARGEST = sys.float_info.max
_SURROGATE = re.compile("[\ud800-\udfff]")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` makes one for each text, which takes a quarter of a short line's time.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(text: str) -> object | None:
    """Return the value of one JSON text, or `None` where it is none (or is the literal `null`).

    Halves of surrogate pairs, which JSON can name but no encoding can carry, become U+FFFD.
    """
    # What `decode` does, without two regular expressions for the white space around it.
    bare = text.strip(_WHITE_SPACE)
    try:
        value, end = _DECODER.raw_decode(bare)
    except (ValueError, RecursionError):
        return None
    if end != len(bare):
        return None
    return _without_surrogates(value) if _SURROGATE_ESCAPE.search(text) else value


def as_object(value: object) -> JsonObject | None:
    """Return a JSON object, or `None` for anything else."""
    return cast("JsonObject", value) if isinstance(value, dict) else None


def object_field(source: JsonObject, name: str) -> JsonObject:
    """Return an object, empty where the field is missing or none."""
    return as_object(source.get(name)) or _EMPTY


def list_field(source: JsonObject, name: str) -> list[object] | None:
    """Return a list, or `None`."""
    value = source.get(name)
    return cast("list[object]", value) if isinstance(value, list) else None


def text_field(source: JsonObject, name: str) -> str | None:
    """Return a text, or `None`; an empty text stays one."""
    value = source.get(name)
    return value if isinstance(value, str) else None


def count_field(source: JsonObject, name: str) -> int | None:
    """Return a whole number, or `None`; `true` is no number, `3.0` is one."""
    value = number_field(source, name)
    if value is None or type(value) is int:
        return value
    return int(value) if value == int(value) else None


def number_field(source: JsonObject, name: str) -> float | None:
    """Return a finite number, or `None`, as for one beyond any double."""
    value = source.get(name)
    if type(value) is not int and type(value) is not float:
        return None
    return value if -_LARGEST <= value <= _LARGEST else None


def flag_field(source: JsonObject, name: str) -> bool | None:
    """Return a truth value, or `None`."""
    value = source.get(name)
    return value if isinstance(value, bool) else None


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATE.sub("�", value)
        case list():
            return [_without_surrogates(item) for item in cast("list[Any]", value)]
        case dict():
            return {
                _without_surrogates(key): _without_surrogates(item)
                for key, item in cast("dict[str, Any]", value).items()
            }
        case _:
            return value
