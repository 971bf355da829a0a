"""Log records on the local disk, from when they are written until Prefect's API has them."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class SpooledRecord:
    """One record of a flow run's log.

    Attributes:
        logged_at: To the microsecond and unlike any other record's of its spool.
    """

    logged_at: datetime
    message: str

    @property
    def lines(self) -> int:
        """How many lines people see."""
        return self.message.count("\n") + 1


@dataclass(frozen=True)
class RecordBatch:
    """The records at the front of the spool.

    Attributes:
        begin: Where they begin in the spool, in bytes.
        end: Where they end there, in bytes.
    """

    records: tuple[SpooledRecord, ...]
    begin: int
    end: int

    @property
    def size_bytes(self) -> int:
        """What the records take in the spool."""
        return self.end - self.begin


class LogSpool:
    """A queue on the disk; what memory holds of it does not grow with it.

    The file is emptied whenever all of it was sent.
    """

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            OSError: It cannot be written.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._begin = self._end = 0
        self.waiting_lines = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def append(self, record: SpooledRecord) -> None:
        """Put a record behind the others.

        Raises:
            OSError: It could not be written, as on a full disk; the others are untouched.
        """
        row = [record.logged_at.isoformat(), record.message]
        data = json.dumps(row).encode() + b"\n"
        written = 0
        # Rows cut off by a full disk are overwritten by the next one.
        while written < len(data):
            written += os.pwrite(self._file, data[written:], self._end + written)
        self._end += len(data)
        self.waiting_lines += record.lines

    def first(self, bytes_max: int) -> RecordBatch:
        """Return the first records, as many as `bytes_max` holds, but one if there is any."""
        size = bytes_max
        data = os.pread(self._file, size, self._begin)
        whole = data.rfind(b"\n") + 1
        while not whole and data:
            size *= 2
            data = os.pread(self._file, size, self._begin)
            whole = data.find(b"\n") + 1
        rows = [json.loads(row) for row in data[:whole].splitlines()]
        return RecordBatch(
            tuple(SpooledRecord(datetime.fromisoformat(at), message) for at, message in rows),
            self._begin,
            self._begin + whole,
        )

    def put_last(self, batch: RecordBatch) -> None:
        """Move the first records, which `first` has returned, behind all others.

        Raises:
            OSError: As in `append`; they then stay where they are, some of them also come last.
        """
        if batch.end < self._end:
            for record in batch.records:
                self.append(record)
            self.drop(batch)

    def drop(self, batch: RecordBatch) -> None:
        """Forget the first records, which `first` has returned."""
        self._begin = batch.end
        self.waiting_lines -= sum(record.lines for record in batch.records)
        if self._begin == self._end:
            os.ftruncate(self._file, 0)
            self._begin = self._end = 0
