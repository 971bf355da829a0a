"""Keeping known secrets out of what people read."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any, cast

MASK = "[redacted]"

# Shorter values are words; masking them would make logs unreadable and hide nothing.
_SHORTEST_SECRET = 8

# Anthropic's own key shapes, for keys that the flow never learns because only the pod has them.
_KEY_SHAPES = r"sk-ant-[A-Za-z0-9_-]{16,}"


class Redactor:
    """Masks secret values in text and JSON, in the forms in which they are usually printed.

    A value is found as it is, JSON-escaped and base64-encoded. Values shorter than 8 characters are
    left alone.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            stripped = secret.strip()
            if len(stripped) >= _SHORTEST_SECRET:
                forms.add(stripped)
                forms.add(json.dumps(stripped)[1:-1])
                forms.add(json.dumps(stripped, ensure_ascii=False)[1:-1])
                forms.add(b64encode(stripped.encode()).decode())
        # Longest first: a secret may be part of another one.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, ordered), _KEY_SHAPES]))

    def text(self, text: str) -> str:
        """Return `text` with every known secret masked."""
        return self._pattern.sub(MASK, text)

    def json(self, value: Any) -> Any:
        """Return a JSON value with every known secret masked, in keys too."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.json(item) for item in cast("list[Any]", value)]
            case dict():
                return {
                    self.text(key): self.json(item)
                    for key, item in cast("dict[str, Any]", value).items()
                }
            case _:
                return value
