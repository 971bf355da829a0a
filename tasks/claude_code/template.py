"""Prompt templates: `{{ dotted.name }}` and nothing else.

No template engine: engines execute what they read, and `{%` or `{#` in a prompt must stay what they
are. Inserted values are never looked at again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from tasks.vocabulary.errors import InputInvalid

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*\}\}", re.ASCII)
_LISTED_NAMES = 60


def render_template(template: str, values: Mapping[str, Any]) -> str:
    """Return `template` with its names replaced; everything else stays as it is, braces too.

    Text goes in as it is, a known name without a value as nothing, numbers, truth values, lists and
    objects as JSON.

    Args:
        template: Names stand in double braces, with or without spaces.
        values: JSON values by name; objects are entered by dots.

    Raises:
        InputInvalid: A name is not known; the message gives all of these and the known ones.
    """
    names = dict.fromkeys(match[1] for match in _PLACEHOLDER.finditer(template))
    unknown = [name for name in names if not _is_known(values, name)]
    if unknown:
        known = sorted(_dotted_names(values, ""))
        more = ", …" if len(known) > _LISTED_NAMES else ""
        raise InputInvalid(
            f"The template has unknown names: {', '.join(unknown)}; "
            f"known are {', '.join(known[:_LISTED_NAMES])}{more}."
        )
    return _PLACEHOLDER.sub(lambda match: _text_of(_look_up(values, match[1])), template)


def _is_known(values: Mapping[str, Any], name: str) -> bool:
    try:
        _look_up(values, name)
    except KeyError:
        return False
    return True


def _look_up(values: Mapping[str, Any], name: str) -> Any:
    value: Any = values
    for part in name.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(name)
        value = cast("Mapping[str, Any]", value)[part]
    return value


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _dotted_names(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if not _PLACEHOLDER.fullmatch(f"{{{{{name}}}}}"):
            continue
        yield name
        if isinstance(value, Mapping):
            yield from _dotted_names(cast("Mapping[str, Any]", value), f"{name}.")
