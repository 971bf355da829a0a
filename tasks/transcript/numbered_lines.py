"""Bytes in, the agent's stdout lines out: each once, in order, with proof.

The log API cuts, repeats and forgets. `LineSplitter` makes lines of chunks, `Transcript` drops what
it has, notices what is missing and compares the whole with the script's trailer. Memory holds one
line, what was kept of stderr and of the check (64 KiB each) and, for unnumbered output, digests of
the last lines.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from tasks.transcript.line_grammar import (
    CheckBegunLine,
    CheckLine,
    ForeignLine,
    HeaderLine,
    LineRange,
    StderrLine,
    StdoutLine,
    Trailer,
    TrailerLine,
    parse_line,
)
from tasks.transcript.plain_overlap import PlainOverlap

LONGEST_LINE_BYTES = 256 * 1024 * 1024
"""Protects the memory. Lines of 70 MB are reported of Claude Code: images in a tool's result."""

_FOREIGN_LINE_BYTES = 2_000  # what a message can quote of it


class LineSplitter:
    """Makes lines of one stream's chunks, on LF alone; any cut at any byte gives the same lines."""

    def __init__(self, longest_line_bytes: int = LONGEST_LINE_BYTES) -> None:
        self._rest = bytearray()
        self._longest = longest_line_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk, without their LF.

        Of a line above the limit only the head is kept, which by its length then is damaged.
        """
        head, *others = chunk.split(b"\n")
        self._keep(head)
        if not others:
            return []
        lines = [bytes(self._rest), *others[:-1]]
        self._rest.clear()
        self._keep(others[-1])
        return lines

    def flush(self) -> bytes:
        """Return what came after the last LF, at the end of the stream; empty when nothing did."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _keep(self, piece: bytes) -> None:
        self._rest += piece[: max(0, self._longest - len(self._rest))]


@dataclass(frozen=True, slots=True)
class TranscriptState:
    """How much of the agent's stdout was read.

    Attributes:
        complete: `True` only when count, size and SHA-256 agree with the trailer's, `False` when
            lines are known to be missing or something disagrees, `None` when nothing proves it.
        lines: Delivered lines.
        stdout_bytes: Their size as printed, LFs included.
        sha256: Over the same bytes, lowercase hex.
        missing: Line numbers that were given up or that the trailer counts and nobody saw.
    """

    complete: bool | None
    lines: int
    stdout_bytes: int
    sha256: str
    missing: tuple[LineRange, ...]


class Transcript:
    """Delivers each stdout line of one pod once and in order.

    Numbered lines come from any source in any overlap. Unnumbered ones (the header says so) come
    from log streams only, best read from their start, and are told apart by `plain_overlap`.

    Attributes:
        header: The script's first line, once seen.
        trailer: Its last, once seen or learnt.
        check_begun: What it said when the check began.
        gap: Lines that a stream left out and that must come from elsewhere before anything
            further is delivered.
        next_number: Number of the next line to deliver, from 1.
        foreign_line: The first line of the log that has no place in a numbered output.
    """

    def __init__(self, token: str) -> None:
        self.header: HeaderLine | None = None
        self.trailer: Trailer | None = None
        self.check_begun: CheckBegunLine | None = None
        self.gap: LineRange | None = None
        self.next_number = 1
        self.foreign_line: bytes | None = None
        self._token = token
        self._stderr: dict[int, bytes] = {}
        self._check: dict[int, bytes] = {}
        self._missing: list[LineRange] = []
        self._plain = PlainOverlap()
        self._delivered = 0
        self._bytes_with_newlines = 0
        self._hash = hashlib.sha256()

    @property
    def numbered(self) -> bool:
        """Whether lines carry numbers; assumed until a header says otherwise."""
        return self.header is None or self.header.numbered

    @property
    def stderr_lines(self) -> tuple[bytes, ...]:
        """The kept stderr, in order; it is printed after the agent's end."""
        return tuple(self._stderr[number] for number in sorted(self._stderr))

    @property
    def check_lines(self) -> tuple[bytes, ...]:
        """What was kept of the check's output, in order; it is printed after the check's end."""
        return tuple(self._check[number] for number in sorted(self._check))

    @property
    def is_at_end(self) -> bool:
        """Whether the trailer is known and no line is to come: delivered, or named missing."""
        if self.trailer is None:
            return False
        return not self.numbered or self.next_number > self.trailer.lines

    @property
    def missing_range(self) -> LineRange | None:
        """What is known to be missing next: the gap, else what the trailer counts beyond."""
        if self.gap is None and self.trailer is not None and not self.is_at_end:
            return LineRange(self.next_number, self.trailer.lines)
        return self.gap

    @property
    def lacks_final_newline(self) -> bool:
        """Whether the trailer tells that the last stdout line ended without LF."""
        return (
            self.trailer is not None
            and self._delivered > 0
            and self._bytes_with_newlines == self.trailer.stdout_bytes + 1
        )

    def begin_stream(self) -> None:
        """Say that the next line comes from a new log stream, whose start may overlap or be cut."""
        self._plain.begin_read()

    def accept(self, line: bytes) -> Sequence[StdoutLine]:
        """Take one line and return what can be delivered now, usually this one or nothing."""
        parsed = parse_line(line, self._token)
        match parsed:
            case StdoutLine() as stdout:
                return self._accept_numbered(stdout)
            case StderrLine(number, payload):
                self._stderr[number] = payload
            case CheckBegunLine():
                self.check_begun = parsed
            case CheckLine(number, payload):
                self._check[number] = payload
            case HeaderLine() as header:
                self._accept_header(header)
            case TrailerLine(trailer):
                self.trailer = trailer
            case ForeignLine(payload, damaged):
                return self._accept_foreign(payload, damaged)
            case _:
                assert_never(parsed)
        return ()

    def end_stream(self, rest: bytes) -> Sequence[StdoutLine]:
        """Take what a stream ended with after its last LF; a cut line is left out.

        A line of the grammar proves that it is whole. An unnumbered one does not: it is left to the
        next read, and lost when there is none.
        """
        if isinstance(parse_line(rest, self._token), ForeignLine):
            return ()
        return self.accept(rest)

    def learn_trailer(self, trailer: Trailer) -> None:
        """Take the trailer of the termination message, for when the log has lost it."""
        self.trailer = self.trailer or trailer

    def skip_missing(self) -> None:
        """Give up what is missing next: name it, and go on behind it."""
        if (missing := self.missing_range) is not None:
            self._missing.append(missing)
            self.next_number = missing.last + 1
            self.gap = None

    def proof(self) -> TranscriptState:
        """Compare what was delivered with the trailer; may be asked at any time."""
        digest = self._hash.copy()
        size = self._bytes_with_newlines - self.lacks_final_newline
        if self._delivered and not self.lacks_final_newline:
            digest.update(b"\n")
        missing = _join([*self._missing, *self._not_delivered()])
        sha256 = digest.hexdigest()
        complete = self._judge(size, sha256, missing)
        return TranscriptState(complete, self._delivered, size, sha256, missing)

    def _not_delivered(self) -> Sequence[LineRange]:
        if self.trailer is not None and not self.is_at_end:
            return (LineRange(self.next_number, self.trailer.lines),)
        return () if self.gap is None else (self.gap,)

    def _judge(self, size: int, sha256: str, missing: Sequence[LineRange]) -> bool | None:
        if missing:
            return False
        if self.trailer is None or not self.numbered:
            return None
        if (self._delivered, size) != (self.trailer.lines, self.trailer.stdout_bytes):
            return False
        return None if self.trailer.sha256 is None else sha256 == self.trailer.sha256

    def _accept_header(self, header: HeaderLine) -> None:
        self.header = header
        self._plain.note_header()

    def _accept_foreign(self, payload: bytes, damaged: bool) -> Sequence[StdoutLine]:
        if self.numbered or damaged:
            if self.foreign_line is None and payload.strip() and not damaged:
                self.foreign_line = payload[:_FOREIGN_LINE_BYTES]
            return ()
        if not self._plain.is_new(payload):
            return ()
        line = StdoutLine(self.next_number, payload)
        self._deliver(payload)
        return (line,)

    def _accept_numbered(self, line: StdoutLine) -> Sequence[StdoutLine]:
        if line.number < self.next_number:
            return ()
        if line.number > self.next_number:
            last = line.number - 1 if self.gap is None else min(self.gap.last, line.number - 1)
            self.gap = LineRange(self.next_number, last)
            return ()
        self._deliver(line.payload)
        self.gap = None
        return (line,)

    def _deliver(self, payload: bytes) -> None:
        # The LF goes in before the next line: whether the last one has one is known at the end.
        if self._delivered:
            self._hash.update(b"\n")
        self._hash.update(payload)
        self._delivered += 1
        self._bytes_with_newlines += len(payload) + 1
        self.next_number += 1


def _join(ranges: Sequence[LineRange]) -> tuple[LineRange, ...]:
    """Merge neighbours; the ranges come in ascending order."""
    joined: list[LineRange] = []
    for following in ranges:
        if joined and joined[-1].last + 1 >= following.first:
            joined[-1] = LineRange(joined[-1].first, max(joined[-1].last, following.last))
        else:
            joined.append(following)
    return tuple(joined)
