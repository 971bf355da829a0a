"""A result storage that is a folder, such as a volume of the cluster."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tasks.storage.storage_errors import StoredObjectMissing

COPY_BYTES = 1 << 20
_FILE_MODE = 0o640


class FolderStorage:
    """A folder; objects appear under their key whole or not at all (write aside, then rename)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def description(self) -> str:
        """The folder's path."""
        return str(self._root)

    @property
    def folder(self) -> Path | None:
        """See `ResultStorage.folder`."""
        return self._root

    async def write(self, key: str, content: bytes) -> None:
        """See `ResultStorage.write`."""
        await asyncio.to_thread(self._write, key, content)

    async def write_file(self, key: str, source: Path) -> None:
        """See `ResultStorage.write_file`; copied in pieces, so that memory does not grow."""
        await asyncio.to_thread(self._copy, key, source)

    async def read(self, key: str) -> bytes:
        """See `ResultStorage.read`."""
        path = self._root / key
        try:
            return await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError as error:
            raise StoredObjectMissing(f"nothing is stored at {path}") from error

    async def read_file(self, key: str, target: Path) -> None:
        """See `ResultStorage.read_file`; copied in pieces, so that memory does not grow."""
        try:
            await asyncio.to_thread(_copy_out, self._root / key, target)
        except FileNotFoundError as error:
            raise StoredObjectMissing(f"nothing is stored at {self._root / key}") from error

    async def find(self, pattern: str) -> list[str]:
        """See `ResultStorage.find`; a folder that is not there yet has no keys."""
        return await asyncio.to_thread(find_files, self._root, pattern)

    def _write(self, key: str, content: bytes) -> None:
        with self._replacing(key) as out:
            out.write(content)

    def _copy(self, key: str, source: Path) -> None:
        with self._replacing(key) as out, source.open("rb") as content:
            shutil.copyfileobj(content, out, COPY_BYTES)

    @contextmanager
    def _replacing(self, key: str) -> Generator[BinaryIO, None, None]:
        """Open a file that takes the key's place when all went well, and is removed if not."""
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
            # Hooks and readers may run as another user of the volume's group.
            aside.chmod(_FILE_MODE)
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def _copy_out(path: Path, target: Path) -> None:
    with path.open("rb") as content, target.open("wb") as out:
        shutil.copyfileobj(content, out, COPY_BYTES)


def find_files(root: Path, pattern: str) -> list[str]:
    """Return the paths below `root` that match a pattern, in order, relative to it.

    Raises:
        OSError: The folder is there and cannot be read.
    """
    # `glob` leaves out what it may not read; a folder that cannot be read must not look empty.
    if root.exists():
        next(root.iterdir(), None)
    return sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
