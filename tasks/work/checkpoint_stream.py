r"""The stream of a checkpoint, version 1: what the keeper prints and the flow receives.

    claude-jobs-work 1 ID\n     ID: 1 to 40 characters of a-z, 0-9 and `-`
    NAME SIZE SHA256\n          one line for each part; SIZE in bytes, SHA256 in 64 hex digits
    \n                          an empty line ends the header
    the bytes of each part in that order, with nothing between them and nothing after

`facts` is always there; `notes`, `files`, `pack` and `patch` where there is something to say. The
stream of one checkpoint is the same however often it is printed, so that a reader whose connection
was cut goes on at the byte where it stopped.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

STREAM_VERSION = 1

_MAGIC = b"claude-jobs-work "
_FIRST_LINE = re.compile(rb"claude-jobs-work ([0-9]{1,9}) ([0-9a-z-]{1,40})")
# Fifteen digits: far above any size, and exact in an awk that counts in doubles.
_PART_LINE = re.compile(rb"([a-z]{1,20}) (0|[1-9][0-9]{0,14}) ([0-9a-f]{64})")
_LONGEST_LINE_BYTES = 120


class WorkDamaged(Exception):
    """What came is not a checkpoint, or not the one that was sent; `str()` is a sentence."""


class PartName(StrEnum):
    """What a checkpoint may consist of; also the names of the files that hold it."""

    FACTS = "facts"
    NOTES = "notes"
    FILES = "files"
    PACK = "pack"
    PATCH = "patch"


class PartPiece(NamedTuple):
    """The next bytes of a part; none for a part that is empty, which comes once."""

    name: PartName
    content: memoryview


# Of notes 200 of each of a dozen kinds, each with a path of 4 KiB, take 10 MB.
_OWN_LIMITS = {PartName.FACTS: 64 * 1024, PartName.NOTES: 16 * 1024 * 1024}


@dataclass(frozen=True, slots=True)
class _Part:
    name: PartName
    size_bytes: int
    sha256: str


@dataclass
class CheckpointDecoder:
    """Takes a stream in pieces of any size and gives the bytes of its parts, in order.

    What it has given is proven only when the part has ended: a hash that is wrong is found then.

    Attributes:
        limit_bytes: Most bytes of the parts together, `facts` and `notes` not counted.
        checkpoint_id: From the first line; `None` until it was there.
        received_bytes: Of the stream, from its beginning: where to resume it.
    """

    limit_bytes: int
    checkpoint_id: str | None = None
    received_bytes: int = 0
    _line: bytearray = field(default_factory=bytearray)
    _parts: list[_Part] = field(default_factory=list[_Part])
    _header_ended: bool = False
    _at: int = 0
    _left_bytes: int = 0
    _digest: Any = None
    _damage: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every part is there, with its size and hash."""
        return self._header_ended and self._at == len(self._parts)

    def feed(self, chunk: bytes) -> list[PartPiece]:
        """Take the next bytes of the stream; return what they hold of its parts.

        Raises:
            WorkDamaged: The stream breaks its form. Whatever follows is refused likewise.
        """
        if self._damage is not None:
            raise WorkDamaged(self._damage)
        try:
            pieces = self._take(chunk)
        except WorkDamaged as damage:
            self._damage = str(damage)
            raise
        self.received_bytes += len(chunk)
        return pieces

    def _take(self, chunk: bytes) -> list[PartPiece]:
        pieces: list[PartPiece] = []
        at = 0
        while at < len(chunk) and not self._header_ended:
            at = self._take_line(chunk, at, pieces)
        view = memoryview(chunk)
        while at < len(chunk):
            if self.is_complete:
                raise WorkDamaged("More bytes follow the end of the checkpoint.")
            piece = view[at : at + self._left_bytes]
            self._digest.update(piece)
            self._left_bytes -= len(piece)
            at += len(piece)
            pieces.append(PartPiece(self._parts[self._at].name, piece))
            if not self._left_bytes:
                self._end_part(pieces)
        return pieces

    def _take_line(self, chunk: bytes, at: int, pieces: list[PartPiece]) -> int:
        """Take what the chunk has of the current line; return where the next one begins."""
        end = chunk.find(b"\n", at, at + _LONGEST_LINE_BYTES)
        is_whole = end >= 0
        if not is_whole:
            end = min(len(chunk), at + _LONGEST_LINE_BYTES)
        self._line += chunk[at:end]
        starts_well = _MAGIC.startswith(self._line[: len(_MAGIC)])
        if self.checkpoint_id is None and not starts_well:
            raise WorkDamaged("What came from the keeper does not begin like a checkpoint.")
        if len(self._line) > _LONGEST_LINE_BYTES:
            raise WorkDamaged("A line in the header of the checkpoint is too long.")
        if is_whole:
            line = bytes(self._line)
            self._line.clear()
            self._read_line(line, pieces)
        return end + is_whole

    def _read_line(self, line: bytes, pieces: list[PartPiece]) -> None:
        if self.checkpoint_id is None:
            self.checkpoint_id = _parse_first_line(line)
        elif line:
            self._add_part(line)
        elif not any(part.name is PartName.FACTS for part in self._parts):
            raise WorkDamaged("The checkpoint has no facts.")
        else:
            self._header_ended = True
            self._begin_part(pieces)

    def _add_part(self, line: bytes) -> None:
        found = _PART_LINE.fullmatch(line)
        if found is None:
            raise WorkDamaged("A line in the header of the checkpoint cannot be read.")
        try:
            name = PartName(found[1].decode())
        except ValueError:
            said = found[1].decode()
            raise WorkDamaged(f"The checkpoint has a part “{said}”, which is unknown.") from None
        if any(part.name is name for part in self._parts):
            raise WorkDamaged(f"The checkpoint has the part “{name}” twice.")
        self._parts.append(_Part(name, int(found[2]), found[3].decode()))
        self._refuse_what_is_too_large()

    def _refuse_what_is_too_large(self) -> None:
        for part in self._parts:
            if part.size_bytes > _OWN_LIMITS.get(part.name, part.size_bytes):
                raise WorkDamaged(
                    f"The part “{part.name}” of the checkpoint has {part.size_bytes:,} bytes, "
                    f"above its limit of {_OWN_LIMITS[part.name]:,}."
                )
        counted = sum(part.size_bytes for part in self._parts if part.name not in _OWN_LIMITS)
        if counted > self.limit_bytes:
            raise WorkDamaged(
                f"The checkpoint has {counted:,} bytes, above the limit of {self.limit_bytes:,}."
            )

    def _begin_part(self, pieces: list[PartPiece]) -> None:
        if self._at == len(self._parts):
            return
        self._digest = hashlib.sha256()
        self._left_bytes = self._parts[self._at].size_bytes
        if not self._left_bytes:
            pieces.append(PartPiece(self._parts[self._at].name, memoryview(b"")))
            self._end_part(pieces)

    def _end_part(self, pieces: list[PartPiece]) -> None:
        part = self._parts[self._at]
        if self._digest.hexdigest() != part.sha256:
            raise WorkDamaged(
                f"The part “{part.name}” of the checkpoint does not match its SHA-256."
            )
        self._at += 1
        self._begin_part(pieces)


def _parse_first_line(line: bytes) -> str:
    found = _FIRST_LINE.fullmatch(line)
    if found is None:
        raise WorkDamaged("The first line of the checkpoint cannot be read.")
    if int(found[1]) != STREAM_VERSION:
        raise WorkDamaged(
            f"The checkpoint has version {int(found[1])}, and only {STREAM_VERSION} is known here."
        )
    return found[2].decode()


class CheckpointReceiver:
    """Writes the parts of a stream to files of their names, as they come; memory stays flat.

    No file is open between two calls, so a receiver can be dropped at any time.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Begin.

        Args:
            folder: Exists, and is nobody else's.
            limit_bytes: Most bytes of the parts together, `facts` and `notes` not counted.
        """
        self._folder = folder
        self._limit_bytes = limit_bytes
        self.restart()

    @property
    def is_complete(self) -> bool:
        """Whether every part lies in the folder, with the size and hash that the stream told."""
        return self._decoder.is_complete

    @property
    def checkpoint_id(self) -> str | None:
        """Of the checkpoint that is received; `None` while there is nothing to resume."""
        return self._decoder.checkpoint_id

    @property
    def received_bytes(self) -> int:
        """The offset to resume from."""
        return self._decoder.received_bytes

    def restart(self) -> None:
        """Forget what was received, for another checkpoint's stream from its beginning."""
        for name in PartName:
            (self._folder / name).unlink(missing_ok=True)
        self._decoder = CheckpointDecoder(self._limit_bytes)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream, after a cut those from `received_bytes` on.

        Raises:
            WorkDamaged: The stream breaks its form; only `restart` helps.
            OSError: A part cannot be written; what was received can then not be resumed.
        """
        for name, content in self._decoder.feed(chunk):
            with (self._folder / name).open("ab") as part:
                part.write(content)

    def close(self) -> None:
        """Take note that the stream has ended by itself, not by a cut.

        Raises:
            WorkDamaged: It has begun and is not complete.
        """
        if self.received_bytes and not self.is_complete:
            raise WorkDamaged(
                f"The checkpoint ended after {self.received_bytes:,} bytes, before its end."
            )
