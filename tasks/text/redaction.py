"""Keeping known secrets out of what people read."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, cast

MASK = "[redacted]"

# Shorter values are words; masking them would make logs unreadable and hide nothing.
_SHORTEST_SECRET = 8
# Lines of a key file are longer; shorter ones are brackets and common words.
_SHORTEST_LINE = 16

# More of one file would make every line that people see slow to look through.
_MOST_PIECES = 500
_MOST_CHARACTERS = 16_384
# Between words such as `production` and most passwords.
_SHORTEST_ASSIGNED = 12
_ASSIGNED = re.compile(r"[=:]\s*[\"']?(?P<value>[^\s\"',]+)")

# What stands where text was cut off or folded (`tasks.text.safe_text`).
_CUT = "…"

# Anthropic's own key shapes, for keys that the flow never learns because only the pod has them.
_KEY_PREFIX = "sk-ant-"
_KEY_SHAPES = _KEY_PREFIX + r"[A-Za-z0-9_-]{16,}"

# So many are found sooner one by one than by a pattern, which looks at every character.
_FEW_FORMS = 10


class Redactor:
    """Masks secret values in text and JSON, in the forms in which they are usually printed.

    A value is found as it is, JSON-escaped and base64-encoded, line by line where it has several
    (people see text indented), and by its beginning or end where text was cut in the middle of it.
    Values shorter than 8 characters are left alone.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret.strip())}
        # Longest first: a secret may be part of another one.
        self._forms = sorted(forms, key=len, reverse=True)
        self._needles = [*self._forms, _KEY_PREFIX] if len(forms) <= _FEW_FORMS else None
        self._pattern = re.compile("|".join([*map(re.escape, self._forms), _KEY_SHAPES]))

    def text(self, text: str) -> str:
        """Return `text` with every known secret masked."""
        masked = self._pattern.sub(MASK, text) if self._may_be_in(text) else text
        if not self._forms or _CUT not in masked:
            return masked
        first, *others = masked.split(_CUT)
        pieces = [first, *map(self._mask_cut_on, others)]
        return _CUT.join([*map(self._mask_cut_off, pieces[:-1]), pieces[-1]])

    def _may_be_in(self, text: str) -> bool:
        if self._needles is None:
            return True
        for needle in self._needles:  # noqa: SIM110 - `any` takes as long as two searches
            if needle in text:
                return True
        return False

    def _mask_cut_off(self, text: str) -> str:
        """Mask the beginning of a secret at the very end of `text`."""
        for form in self._forms:
            for length in range(min(len(form), len(text)), _SHORTEST_SECRET - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + MASK
        return text

    def _mask_cut_on(self, text: str) -> str:
        """Mask the end of a secret at the very beginning of `text`."""
        for form in self._forms:
            for length in range(min(len(form), len(text)), _SHORTEST_SECRET - 1, -1):
                if text.startswith(form[-length:]):
                    return MASK + text[length:]
        return text

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


def pieces_of_file(content: str) -> tuple[str, ...]:
    """Return by what a file full of secrets may be told when a part of it is printed.

    The file as it is, whatever its lines assign (`KEY=value`, `token: value`), and the texts of a
    JSON document: tools print one value of a key file far more often than the whole. Bounded: of a
    very long file only the beginning is looked through.
    """
    head = content[:_MOST_CHARACTERS]
    assigned = (found["value"] for line in head.splitlines() for found in _ASSIGNED.finditer(line))
    pieces = [
        head,
        *(piece for piece in assigned if len(piece) >= _SHORTEST_ASSIGNED),
        *_texts(head),
    ]
    return tuple(dict.fromkeys(pieces))[:_MOST_PIECES]


def _texts(content: str) -> Iterator[str]:
    try:
        waiting: list[Any] = [json.loads(content)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and len(value) >= _SHORTEST_ASSIGNED:
            yield value
        elif isinstance(value, list):
            waiting += cast("list[Any]", value)
        elif isinstance(value, dict):
            waiting += cast("dict[str, Any]", value).values()


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < _SHORTEST_SECRET:
        return
    yield b64encode(secret.encode()).decode()
    for part in (secret, *map(str.strip, secret.splitlines())):
        if part == secret or len(part) >= _SHORTEST_LINE:
            yield part
            yield json.dumps(part)[1:-1]
            yield json.dumps(part, ensure_ascii=False)[1:-1]
