"""What a keeper prints on its container's log: a line for each checkpoint that can be had."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

# One line is a few dozen bytes; whatever else stands in the log is cut where it is longer.
_LONGEST_LINE_BYTES = 4096
_LINE = re.compile(rb"claude-jobs-checkpoint 1 ([0-9a-z-]{1,40}) ([0-9]{1,11})")


@dataclass(frozen=True, slots=True)
class AnnouncedCheckpoint:
    """A checkpoint that the keeper holds until it makes the next one.

    Attributes:
        made_at: By the node's clock; whatever the agent had written by then is in it.
    """

    checkpoint_id: str
    made_at: datetime


class AnnouncementReader:
    """Finds the announcements in a log that comes in pieces; a cut or foreign line is none."""

    def __init__(self) -> None:
        self._line = bytearray()

    def feed(self, chunk: bytes) -> AnnouncedCheckpoint | None:
        """Return the last announcement that `chunk` completes; earlier ones cannot be had."""
        *ended, rest = chunk.split(b"\n")
        found: AnnouncedCheckpoint | None = None
        for part in ended:
            self._extend(part)
            found = _parse_line(bytes(self._line)) or found
            self._line.clear()
        self._extend(rest)
        return found

    def _extend(self, part: bytes) -> None:
        self._line += part[: _LONGEST_LINE_BYTES - len(self._line)]


def _parse_line(line: bytes) -> AnnouncedCheckpoint | None:
    found = _LINE.fullmatch(line.removesuffix(b"\r"))
    if found is None:
        return None
    return AnnouncedCheckpoint(found[1].decode(), datetime.fromtimestamp(int(found[2]), UTC))
