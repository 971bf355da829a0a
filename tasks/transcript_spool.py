"""The agent's stdout on the local disk, byte by byte as it was printed."""

from collections.abc import Iterable
from pathlib import Path

from tasks.claude_code.line_grammar import StdoutLine


class TranscriptSpool:
    """A file that grows with the transcript, so that memory need not."""

    def __init__(self, path: Path) -> None:
        """Begin anew; what the file held before is gone.

        Raises:
            OSError: The file cannot be written.
        """
        self._file = path.open("wb")
        self._is_ended = False

    def append(self, lines: Iterable[StdoutLine]) -> None:
        """Write lines, each with LF; readers of the file see them at once.

        Raises:
            OSError: They could not be written, as on a full disk.
        """
        self._file.writelines(part for line in lines for part in (line.payload, b"\n"))
        self._file.flush()

    def drop_last_newline(self) -> None:
        """Take back the LF of the last line, which the agent did not print; nothing may follow."""
        if not self._is_ended:
            self._is_ended = True
            self._file.truncate(self._file.tell() - 1)

    def close(self) -> None:
        """Write no more."""
        self._file.close()
