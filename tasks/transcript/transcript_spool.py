"""The agent's stdout on the local disk, byte by byte as it was printed."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tasks.transcript.line_grammar import StdoutLine


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
