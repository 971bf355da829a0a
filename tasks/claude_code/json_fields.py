"""Reading single fields of a JSON object from outside: the right type, or `None`.

A field of another type than announced is as unknown as one that is missing; nothing here raises.
"""

import json
import re
import sys
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, cast

JsonObject = Mapping[str, object]

_EMPTY: JsonObject = {}
_WHITE_SPACE = " \t\n\r"
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LARGEST = sys.float_info.max
DEPTH_LIMIT = 100
"""Deeper lists and objects are left out: readers and writers of JSON fail from 200 levels on."""

TOO_DEEP = f"[left out: more than {DEPTH_LIMIT} levels deep]"
STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|(?P<open>\\?\Z))'
"""A string of JSON, for DOTALL; one without an end counts as well, so that none is seen twice."""

_STRING_OR_BRACKET = re.compile(STRING + r"|[\[{\]}]", re.DOTALL)
_NO_BRACKET = re.compile(STRING + r'|[^"\[{\]}]++', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE = re.compile("[\ud800-\udfff]")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` makes one for each text, which takes a quarter of a short line's time.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(text: str) -> object | None:
    """Return the value of one JSON text, or `None` where it is none (or is the literal `null`).

    Halves of surrogate pairs, which JSON can name but no encoding can carry, become U+FFFD; what is
    nested deeper than `DEPTH_LIMIT` becomes the text `TOO_DEEP`.
    """
    values = parse_json_values(text, at_most=2)
    return values[0] if len(values) == 1 else None


def parse_json_values(text: str, at_most: int = sys.maxsize) -> list[object]:
    """Return the JSON values that stand back to back in a text; none where anything else does.

    Reads no more than the first ones if it is told how many.
    """
    # What `decode` does, without two regular expressions for the white space around it.
    bare = _without_depths(text.strip(_WHITE_SPACE))
    values: list[object] = []
    end = 0
    while end < len(bare) and len(values) < at_most:
        try:
            value, end = _DECODER.raw_decode(bare, end)
        except (ValueError, RecursionError):
            return []
        values.append(value)
        end += len(bare[end : end + 1]) - len(bare[end : end + 1].lstrip(_WHITE_SPACE))
    if _SURROGATE_ESCAPE.search(bare):
        return [_without_surrogates(value) for value in values]
    return values


def holds_gap(value: object) -> bool:
    """Tell whether something was left out of a value because it was nested too deep."""
    match value:
        case str():
            return value == TOO_DEEP
        case list():
            return any(map(holds_gap, cast("list[object]", value)))
        case dict():
            return any(map(holds_gap, cast("JsonObject", value).values()))
        case _:
            return False


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


def _without_depths(text: str) -> str:
    """Return a JSON text with what is nested too deep replaced, however deep it is.

    A text that is as deep and does not close all that it opens is no JSON: nothing is left of it.
    """
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return text
    # Most texts with so many brackets are wide and not deep, which this tells in little time.
    levels = list(accumulate(map(_STEPS.__getitem__, _NO_BRACKET.sub("", text))))
    if max(levels, default=0) <= DEPTH_LIMIT:
        return text
    return _cut_at_depth(text) if levels[-1] == 0 else ""


def _cut_at_depth(text: str) -> str:
    kept: list[str] = []
    depth = kept_to = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        step = _STEPS.get(text[found.start()], 0)
        if step > 0 and depth == DEPTH_LIMIT:
            kept += [text[kept_to : found.start()], f'"{TOO_DEEP}"']
        depth += step
        if step < 0 and depth == DEPTH_LIMIT:
            kept_to = found.end()
    return "".join([*kept, text[kept_to:]])


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
