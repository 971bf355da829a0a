"""Joining rendered lines into log records.

Prefect stores about a thousand records a second whatever their size, so lines are joined; a reader
still sees them within a second.
"""

from dataclasses import dataclass, field

FLUSH_AFTER_SECONDS = 1.0
FLUSH_AT_BYTES = 64 * 1024
# Far below Prefect's limit of 1,000,000 characters, where it would cut the record.
RECORD_BYTES_MAX = 200_000


@dataclass
class RecordBuffer:
    """Lines on their way into records; every line added comes out in exactly one or more records.

    Instants are seconds of any monotonic clock, the caller's.
    """

    _lines: list[str] = field(default_factory=list[str])
    _bytes: int = 0
    _oldest_at: float | None = None

    def add(self, line: str, now: float) -> list[str]:
        """Take one line; return the records that are full because of it."""
        records: list[str] = []
        for piece in _pieces(line):
            size = _size_bytes(piece) + 1
            if self._bytes and self._bytes + size > RECORD_BYTES_MAX:
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


def _size_bytes(text: str) -> int:
    # JSON may escape half of a surrogate pair, which has no UTF-8 of its own.
    return len(text.encode("utf-8", errors="replace"))


def _pieces(line: str) -> list[str]:
    """Cut a line that no record could hold; four bytes are the most that a character takes."""
    if _size_bytes(line) < RECORD_BYTES_MAX:
        return [line]
    limit = RECORD_BYTES_MAX // 4
    return [line[start : start + limit] for start in range(0, len(line), limit)]
