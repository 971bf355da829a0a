"""Where transcripts and results live after the pod has gone.

A storage is a folder (a volume, in a cluster) or a Prefect file-system block. Keys are the same in
both, so a hook, a later run or a reader finds a run's files from its ids alone.
"""

import asyncio
import gzip
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem
from prefect.settings import get_current_settings

from tasks.vocabulary.errors import InputInvalid

_COPY_BYTES = 1 << 20
_FILE_MODE = 0o640
_BLOCK_REFERENCE = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


class StoredObjectMissing(Exception):
    """Nothing is stored under the key."""


class ResultStorage(Protocol):
    """Somewhere that outlives the pod; every write replaces the whole object or leaves the old."""

    @property
    def description(self) -> str:
        """Where people find the objects."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder that holds the objects; `None` where it is none of this machine."""
        ...

    async def write(self, key: str, content: bytes) -> None:
        """Store `content` under `key`, replacing what was there.

        Raises:
            OSError: The storage cannot be written.
        """
        ...

    async def write_file(self, key: str, source: Path) -> None:
        """Store the content of a local file under `key`, replacing what was there."""
        ...

    async def read(self, key: str) -> bytes:
        """Return what is stored under `key`.

        Raises:
            StoredObjectMissing: Nothing is.
        """
        ...

    async def find(self, pattern: str) -> list[str]:
        """Return the keys that match a pattern, in order; `*` stands for no slash.

        Raises:
            InputInvalid: This kind of storage cannot tell what is in it.
            OSError: The storage cannot be read.
        """
        ...


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

    async def find(self, pattern: str) -> list[str]:
        """See `ResultStorage.find`; a folder that is not there yet has no keys."""
        return await asyncio.to_thread(_find_files, self._root, pattern)

    def _write(self, key: str, content: bytes) -> None:
        with self._replacing(key) as out:
            out.write(content)

    def _copy(self, key: str, source: Path) -> None:
        with self._replacing(key) as out, source.open("rb") as content:
            shutil.copyfileobj(content, out, _COPY_BYTES)

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


class BlockStorage:
    """A Prefect file-system block (local, S3, GCS, Azure, …), named `block-type/block-name`."""

    def __init__(self, reference: str, block: WritableFileSystem) -> None:
        self._reference = reference
        self._block = block

    @property
    def description(self) -> str:
        """The block's name."""
        return f"block {self._reference}"

    @property
    def folder(self) -> Path | None:
        """See `ResultStorage.folder`."""
        if isinstance(self._block, LocalFileSystem):
            return _expanded(self._block.basepath or ".")
        return None

    async def write(self, key: str, content: bytes) -> None:
        """See `ResultStorage.write`."""
        await self._block.write_path(key, content)

    async def write_file(self, key: str, source: Path) -> None:
        """See `ResultStorage.write_file`; blocks take bytes, so the file is held in memory once."""
        await self._block.write_path(key, await asyncio.to_thread(source.read_bytes))

    async def read(self, key: str) -> bytes:
        """See `ResultStorage.read`."""
        try:
            return await self._block.read_path(key)
        except (FileNotFoundError, ValueError) as error:
            raise StoredObjectMissing(f"nothing is stored at {self._reference}/{key}") from error

    async def find(self, pattern: str) -> list[str]:
        """See `ResultStorage.find`; only local and remote file systems of Prefect can tell."""
        match self._block:
            case LocalFileSystem():
                root = _expanded(self._block.basepath or "~")
                return await asyncio.to_thread(_find_files, root, pattern)
            case RemoteFileSystem():
                return await asyncio.to_thread(_find_remote, self._block, pattern)
            case _:
                raise InputInvalid(
                    f"The block {self._reference!r} cannot list what is stored in it; name the "
                    "same place as a path, or as a local or remote file system block."
                )


async def open_result_storage(reference: str | None) -> ResultStorage:
    """Return the storage that a runtime names.

    Args:
        reference: An absolute path (`~` allowed), a Prefect block as `block-type/block-name`, or
            `None` for a folder beside Prefect's own local results.

    Raises:
        InputInvalid: No such block, or it cannot be written to.
    """
    if reference is None:
        return FolderStorage(_default_folder())
    if reference.startswith(("/", "~")):
        return FolderStorage(_expanded(reference))
    if not _BLOCK_REFERENCE.fullmatch(reference):
        raise _no_storage(reference)
    try:
        block = await Block.aload(reference)
    except ValueError as error:
        raise _no_storage(reference) from error
    if not isinstance(block, WritableFileSystem):
        raise InputInvalid(f"The block {reference!r} cannot be written to: it is no file system.")
    return BlockStorage(reference, block)


def _find_files(root: Path, pattern: str) -> list[str]:
    # `glob` leaves out what it may not read; a folder that cannot be read must not look empty.
    if root.exists():
        next(root.iterdir(), None)
    return sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))


def _find_remote(block: RemoteFileSystem, pattern: str) -> list[str]:
    # The library below carries no annotations.
    base = cast("Any", block.filesystem)._strip_protocol(block.basepath).rstrip("/")
    found = cast("Any", block.filesystem).glob(f"{base}/{pattern}")
    return sorted(str(path).removeprefix(f"{base}/") for path in found)


def _no_storage(reference: str) -> InputInvalid:
    return InputInvalid(
        f"The result storage {reference!r} is neither an absolute path nor a saved block; give a "
        "path that outlives the pod, or `block-type/block-name`."
    )


def _default_folder() -> Path:
    return _expanded(str(get_current_settings().results.local_storage_path)) / "claude-jobs"


def _expanded(path: str) -> Path:
    return Path(path).expanduser()


def compress_file(source: Path, target: Path) -> None:
    """Write `source` gzip-compressed to `target`, in pieces of 1 MiB; deterministic bytes."""
    with (
        source.open("rb") as plain,
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed, _COPY_BYTES)
