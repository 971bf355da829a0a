"""Container logs as the container runtime writes them and the kubelet reads them.

One file per container, one line per piece: `TIME STREAM F|P CONTENT`. A line is cut into pieces of
16 KiB (`P`, the last one `F`); the file is replaced at 10 MiB, and nothing reads the old one.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 16 * 1024
_BLOCK_BYTES = 256 * 1024
_SEARCH_BLOCK_BYTES = 64 * 1024
FOLLOW_LOOK_SECONDS = 0.1


@dataclass
class LogSettings:
    """How logs rotate; tests change it while the cluster runs.

    Attributes:
        rotation_bytes: Size from which a file is replaced.
        rotation_interval_seconds: How often sizes are looked at.
    """

    rotation_bytes: int = 10 * 1024 * 1024
    rotation_interval_seconds: float = 10.0


def format_log_time(nanoseconds: int) -> str:
    """Write a time as the runtime does, nine decimals."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


class LogFile:
    """One container's log; written by the node, read by any number of requests."""

    def __init__(self, path: Path, settings: LogSettings) -> None:
        self.path = path
        self.is_closed = False
        self.generation = 0
        self._settings = settings
        self._file = path.open("ab", buffering=0)
        self._checked_at = 0.0
        self._partial: dict[str, bytes] = {}

    def write(self, stream: str, chunk: bytes, nanoseconds: int) -> None:
        """Take output of `stdout` or `stderr` as it came."""
        data = self._partial.pop(stream, b"") + chunk
        pieces: list[bytes] = []
        start = 0
        while True:
            end = data.find(b"\n", start, start + PIECE_BYTES + 1)
            if end >= 0:
                pieces.append(_piece(stream, b"F", data[start:end], nanoseconds + len(pieces)))
                start = end + 1
            elif len(data) - start > PIECE_BYTES:
                cut = data[start : start + PIECE_BYTES]
                pieces.append(_piece(stream, b"P", cut, nanoseconds + len(pieces)))
                start += PIECE_BYTES
            else:
                break
        if start < len(data):
            self._partial[stream] = data[start:]
        self._file.write(b"".join(pieces))

    def end_stream(self, stream: str, nanoseconds: int) -> None:
        """Write what a stream left without a newline."""
        rest = self._partial.pop(stream, b"")
        if rest:
            # The runtime marks an unterminated end as a piece, so that readers add no newline.
            self._file.write(_piece(stream, b"P", rest, nanoseconds))

    def close(self) -> None:
        """Say that the container has ended."""
        self.is_closed = True
        self._file.close()

    def remove(self) -> None:
        """Delete the file with its container; who follows it has read it already."""
        if not self.is_closed:
            self.close()
        self.path.unlink(missing_ok=True)

    def rotate_when_due(self, monotonic: float) -> None:
        """Replace the file if it is time to look and it is too large."""
        if self.is_closed or monotonic - self._checked_at < (
            self._settings.rotation_interval_seconds
        ):
            return
        self._checked_at = monotonic
        if os.fstat(self._file.fileno()).st_size > self._settings.rotation_bytes:
            self._file.close()
            self.path.unlink()
            self._file = self.path.open("ab", buffering=0)
            self.generation += 1


def _piece(stream: str, tag: bytes, content: bytes, nanoseconds: int) -> bytes:
    head = f"{format_log_time(nanoseconds)} {stream} ".encode()
    return b"%b%b %b\n" % (head, tag, content)


@dataclass(frozen=True)
class LogRequest:
    """What a client wants to read.

    Attributes:
        follow: Go on until the container has ended.
        timestamps: Put the time before every line.
        since: Only pieces from this instant on.
        tail_lines: Only the last lines; None for all.
        limit_bytes: Stop after as many bytes; None for no limit.
    """

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


@dataclass
class LogReader:
    """Reads one log for one request.

    Attributes:
        log: The container's log.
        request: What is wanted.
    """

    log: LogFile
    request: LogRequest
    _sent_bytes: int = field(default=0, init=False)
    _is_inside: bool = field(default=False, init=False)

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield output as it comes.

        A follow ends with the container, and without a word at a rotation, as the kubelet's does.
        """
        try:
            file = self.log.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            generation = self.log.generation
            _seek_tail(file, self.request.tail_lines)
            rest = b""
            while not self._is_full:
                # Asked before the read: what an ended container wrote is in the file.
                was_closed = self.log.is_closed or generation != self.log.generation
                data = file.read(_BLOCK_BYTES)
                if data:
                    block, rest = self._content(rest + data)
                    if block:
                        yield block
                    await asyncio.sleep(0)
                elif not self.request.follow or was_closed:
                    break
                else:
                    await asyncio.sleep(FOLLOW_LOOK_SECONDS)

    @property
    def _is_full(self) -> bool:
        limit = self.request.limit_bytes
        return limit is not None and self._sent_bytes >= limit

    def _content(self, data: bytes) -> tuple[bytes, bytes]:
        whole, _, rest = data.rpartition(b"\n")
        if not whole:
            return b"", data
        block = b"".join(self._lines(whole))
        limit = self.request.limit_bytes
        if limit is not None:
            block = block[: limit - self._sent_bytes]
        self._sent_bytes += len(block)
        return block, rest

    def _lines(self, whole: bytes) -> Iterator[bytes]:
        since = self.request.since
        earliest = since.strftime("%Y-%m-%dT%H:%M:%S.%f").encode() if since else b""
        for line in whole.split(b"\n"):
            # Times are of one width, so that they compare as bytes.
            time, _, tag, content = line.split(b" ", 3)
            if since and time < earliest:
                continue
            if self.request.timestamps and not self._is_inside:
                yield time + b" "
            yield content
            self._is_inside = tag == b"P"
            if tag == b"F":
                yield b"\n"


def _seek_tail(file: BinaryIO, tail_lines: int | None) -> None:
    """Go to where the last `tail_lines` lines of the file begin; pieces count as lines."""
    if tail_lines is None:
        return
    position = file.seek(0, os.SEEK_END)
    if tail_lines == 0:
        return
    missing = tail_lines + 1  # the newline at the end of the file is the first one met
    while position > 0:
        start = max(0, position - _SEARCH_BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start)
        while (at := block.rfind(b"\n")) >= 0:
            missing -= 1
            if missing == 0:
                file.seek(start + at + 1)
                return
            block = block[:at]
        position = start
    file.seek(0)
