"""Tells new lines from repeated ones where the lines carry no numbers.

Without perl or an awk in the image the agent's stdout passes plain, and a reconnect repeats it. A
read that begins with the header is laid over what was delivered by counting. Where the header has
been rotated away only content is left: an event is known by its `uuid`, which no two events share
(a `message.id` they do), any other line by its text until the read's first new line.

Nothing here is proof: a line lost between two reads leaves no trace.
"""

import hashlib
import json
from typing import cast

REMEMBERED_LINES = 65_536
"""Delivered lines that are recognised at least; twice as many digests of 16 bytes are kept."""


class PlainOverlap:
    """Keeps digests of what was delivered last, and where the current read stands."""

    def __init__(self, remembered_lines: int = REMEMBERED_LINES) -> None:
        self._remembered_lines = remembered_lines
        self._delivered = 0
        self._known: set[bytes] = set()
        self._older: set[bytes] = set()
        # Lines of this read so far, if it began with the header.
        self._place: int | None = None
        self._is_past_overlap = False
        self._is_first_line = True

    def begin_read(self) -> None:
        """Say that the next line may repeat what was read, or begin inside a line."""
        self._place = None
        self._is_past_overlap = self._delivered == 0
        self._is_first_line = True

    def note_header(self) -> None:
        """Say that the next line is the first that the agent printed."""
        self._place = 0

    def is_new(self, line: bytes) -> bool:
        """Tell whether a line is to be delivered, and remember it if so."""
        is_first_line, self._is_first_line = self._is_first_line, False
        key, is_event = _key_of(line)
        if self._place is not None:
            self._place += 1
            is_new = self._place > self._delivered
        else:
            is_new = self._is_new_by_content(key, is_event, is_first_line)
        if is_new:
            self._remember(key)
        return is_new

    def _is_new_by_content(self, key: bytes, is_event: bool, is_first_line: bool) -> bool:
        if (is_event or not self._is_past_overlap) and (key in self._known or key in self._older):
            return False
        if is_first_line and not is_event and self._delivered > 0:
            # More likely the rest of a known line than a new one: reads overlap on purpose.
            return False
        self._is_past_overlap = True
        return True

    def _remember(self, key: bytes) -> None:
        self._delivered += 1
        if len(self._known) >= self._remembered_lines:
            self._known, self._older = set(), self._known
        self._known.add(key)


def _key_of(line: bytes) -> tuple[bytes, bool]:
    """Return what a line is recognised by, and whether that is an event's `uuid`."""
    uuid = _uuid_of(line)
    content = line if uuid is None else b"uuid " + uuid.encode()
    return hashlib.blake2b(content, digest_size=16).digest(), uuid is not None


def _uuid_of(line: bytes) -> str | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        event = cast("dict[str, object]", json.loads(line))
    except (ValueError, RecursionError):
        return None
    uuid = event.get("uuid")
    return uuid if isinstance(uuid, str) and uuid else None
