"""Delivers lines: first to the disk, then to the display, in order and each once."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tasks.transcript.line_grammar import StdoutLine

OnLines = Callable[[Sequence[StdoutLine]], Awaitable[None]]


class TranscriptSpool:
    """A file that grows with the transcript, so that memory need not."""

    def __init__(self, path: Path) -> None:
        """Write nothing yet."""
        self._path = path
        self._is_begun = False

    @contextmanager
    def writing(self) -> Generator["SpoolWriter", None, None]:
        """Open the file: anew the first time, then behind what was written.

        Raises:
            OSError: The file cannot be written.
        """
        with self._path.open("ab" if self._is_begun else "wb") as file:
            self._is_begun = True
            yield SpoolWriter(file)


class SpoolWriter:
    """The open file; readers see what was written at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def append(self, lines: Iterable[StdoutLine]) -> None:
        """Write lines, each with LF.

        Raises:
            OSError: They could not be written, as on a full disk.
        """
        self._file.write(b"".join([line.payload + b"\n" for line in lines]))
        self._file.flush()

    def cut_to(self, size: int) -> None:
        """Take back what was written beyond, such as an LF that the agent did not print."""
        self._file.truncate(size)


class LineDelivery:
    """Spools and delivers; cancelling the one who waits for a delivery does not cancel it.

    Where an event loop is torn down every task is cancelled, a delivery's too: lines whose taker
    had not begun are then handed over again, lines whose taker had begun are the taker's.
    """

    def __init__(self, spool: Path, on_lines: OnLines) -> None:
        """Deliver nothing yet.

        Args:
            spool: File to write the lines to; begun anew by the first `open`.
            on_lines: Takes the next lines; the next ones come when it has returned.
        """
        self._spool = TranscriptSpool(spool)
        self._on_lines = on_lines
        self._untaken: Sequence[StdoutLine] = ()
        self._taking: asyncio.Task[None] | None = None

    @contextmanager
    def open(self) -> Generator[SpoolWriter, None, None]:
        """Open the spool.

        Raises:
            OSError: It cannot be written.
        """
        with self._spool.writing() as writer:
            yield writer

    async def deliver(self, lines: Sequence[StdoutLine], spool: SpoolWriter) -> None:
        """Spool the lines, hand them over, and wait until they were taken.

        Nothing is awaited before they are safe; for that, `settle` what was cancelled first.

        Raises:
            OSError: They could not be spooled.
            Exception: Whatever the taker raised.
        """
        spool.append(lines)
        self._untaken = lines
        self._taking = asyncio.ensure_future(self._take())
        await self.settle()

    async def settle(self) -> None:
        """Wait until the lines that were handed over last are taken."""
        while self._taking is not None:
            # Neither cancels the taking when this is cancelled, nor the other way round.
            await asyncio.wait({self._taking})
            if not self._taking.cancelled():
                self._taking.result()
            self._taking = asyncio.ensure_future(self._take()) if self._untaken else None

    async def _take(self) -> None:
        lines, self._untaken = self._untaken, ()
        await self._on_lines(lines)
