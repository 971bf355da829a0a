"""Hands lines on: to the disk first, then to whoever shows them, in order and each once."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.claude_code.line_grammar import StdoutLine
from tasks.transcript_spool import SpoolWriter, TranscriptSpool

OnLines = Callable[[Sequence[StdoutLine]], Awaitable[None]]


class LineDelivery:
    """Spools and delivers; cancelling the one who waits for a delivery does not cancel it."""

    def __init__(self, spool: Path, on_lines: OnLines) -> None:
        """Deliver nothing yet.

        Args:
            spool: File to write the lines to; begun anew by the first `open`.
            on_lines: Takes the next lines; the next ones come when it has returned.
        """
        self._spool = TranscriptSpool(spool)
        self._on_lines = on_lines
        self._writer: SpoolWriter | None = None
        self._handed_over: asyncio.Task[None] | None = None

    @contextmanager
    def open(self) -> Generator[SpoolWriter, None, None]:
        """Open the spool; lines can be delivered until the block is left.

        Raises:
            OSError: It cannot be written.
        """
        with self._spool.writing() as self._writer:
            yield self._writer

    async def deliver(self, lines: Sequence[StdoutLine]) -> None:
        """Spool the lines, hand them over, and wait until they were taken.

        Call `settle` before lines are made that must not be lost when this is cancelled.

        Raises:
            OSError: They could not be spooled.
            Exception: Whatever the taker raised.
        """
        if not lines:
            return
        if self._writer is None or self._handed_over is not None:
            raise RuntimeError("Lines were delivered before the delivery was open and settled.")
        self._writer.append(lines)
        self._handed_over = asyncio.ensure_future(self._on_lines(lines))
        await self.settle()

    async def settle(self) -> None:
        """Wait for lines whose taking was not waited for to its end."""
        if self._handed_over is not None:
            await asyncio.shield(self._handed_over)
            self._handed_over = None
