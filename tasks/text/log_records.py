"""Joining rendered lines into log records.

Prefect stores about a thousand records a second whatever their size, so lines are joined; a reader
still sees them within a second.
"""

import json
from dataclasses import dataclass, field

FLUSH_AFTER_SECONDS = 1.0
FLUSH_AT_BYTES = 64 * 1024
# Far below Prefect's limit of 1,000,000, where it would cut the record.
RECORD_BYTES_MAX = 200_000

# What JSON writes as it is.
_UNESCAPED_ASCII = bytes(code for code in range(0x20, 0x7F) if chr(code) not in '"\\')


@dataclass
class RecordBuffer:
    """Lines on their way into records; every line added comes out in exactly one or more records.

    Bytes are those of the record's text as JSON, which is how it travels and how Prefect measures
    it. Instants are seconds of any monotonic clock, the caller's.
    """

    record_bytes_max: int = RECORD_BYTES_MAX
    _lines: list[str] = field(default_factory=list[str])
    _bytes: int = 0
    _oldest_at: float | None = None

    def add(self, line: str, now: float) -> list[str]:
        """Take one line; return the records that are full because of it."""
        records: list[str] = []
        for piece, size in _cut(line, self.record_bytes_max):
            if self._bytes and self._bytes + size > self.record_bytes_max:
                records += self.flush()
            if self._oldest_at is None:
                self._oldest_at = now
            self._lines.append(piece)
            self._bytes += size
            if self._bytes >= FLUSH_AT_BYTES:
                records += self.flush()
        return records

    def due_at(self) -> float | None:
        """Return the instant at which the oldest line has waited long enough; null if none does."""
        return None if self._oldest_at is None else self._oldest_at + FLUSH_AFTER_SECONDS

    def flush(self) -> list[str]:
        """Return what waits as at most one record, and start anew."""
        if not self._lines:
            return []
        record = "\n".join(self._lines)
        self._lines, self._bytes, self._oldest_at = [], 0, None
        return [record]


def json_bytes(text: str) -> int:
    """Return how many bytes a text takes as JSON: up to six for one of a control character."""
    if not text.isascii():
        return len(json.dumps(text))
    raw = text.encode()
    escaped = raw.translate(None, _UNESCAPED_ASCII)
    return len(raw) - len(escaped) + len(json.dumps(escaped.decode()))


def cut_text(text: str, bytes_max: int) -> list[str]:
    """Cut a text into pieces that take no more than `bytes_max` as JSON, at least 16."""
    return [piece for piece, _ in _cut(text, bytes_max)]


def _cut(text: str, bytes_max: int) -> list[tuple[str, int]]:
    """Return the pieces with the bytes that each takes."""
    size = json_bytes(text)
    if size <= bytes_max:
        return [(text, size)]
    middle = len(text) // 2
    return [*_cut(text[:middle], bytes_max), *_cut(text[middle:], bytes_max)]
