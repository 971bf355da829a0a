"""A result storage that is a Prefect file-system block (local, S3, GCS, Azure, …)."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from prefect.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem

from tasks.storage.folder_storage import find_files
from tasks.storage.storage_errors import (
    Absence,
    StorageError,
    StorageMissing,
    StoredObjectMissing,
    find_absence,
)
from tasks.vocabulary.errors import InputInvalid

# fsspec's file systems in which the first part of a path is a bucket or container.
_BUCKET_SCHEMES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}


class BlockStorage:
    """A Prefect file-system block, named `block-type/block-name`.

    Prefect has no interface for listing, so those of the kinds that can list are asked by the
    public method that they have: `list_objects` (S3) or `list_blobs` (Google, Azure).
    """

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
            return Path(self._block.basepath or ".").expanduser()
        return None

    async def write(self, key: str, content: bytes) -> None:
        """See `ResultStorage.write`."""
        async with self._naming_missing_place(key):
            await self._block.write_path(key, content)

    async def write_file(self, key: str, source: Path) -> None:
        """See `ResultStorage.write_file`; blocks take bytes, so the file is held in memory once."""
        await self.write(key, await asyncio.to_thread(source.read_bytes))

    async def read(self, key: str) -> bytes:
        """See `ResultStorage.read`."""
        async with self._naming_missing_place(key):
            try:
                return await self._block.read_path(key)
            except Exception as error:
                if not await self._is_missing(error, key):
                    raise
                if find_absence(error) is Absence.EITHER:
                    await self._look_for_place(key)
                raise StoredObjectMissing(
                    f"nothing is stored at {self._reference}/{key}"
                ) from error

    async def read_file(self, key: str, target: Path) -> None:
        """See `ResultStorage.read_file`; blocks give bytes, so these are held in memory once."""
        await asyncio.to_thread(target.write_bytes, await self.read(key))

    async def find(self, pattern: str) -> list[str]:
        """See `ResultStorage.find`; not every kind of block can tell."""
        if self.folder is not None:
            return await asyncio.to_thread(find_files, self.folder, pattern)
        async with self._naming_missing_place(pattern):
            if isinstance(self._block, RemoteFileSystem):
                found = await asyncio.to_thread(_find_remote, self._block, pattern)
                if not found:
                    # To fsspec, a bucket that does not exist is one in which nothing is found.
                    await self._look_for_place(pattern)
            else:
                found = _matching(await self._list_keys(), pattern)
        return sorted(found)

    @asynccontextmanager
    async def _naming_missing_place(self, key: str) -> AsyncGenerator[None, None]:
        """Raise `StorageMissing` where a library says that the bucket is not there."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            absence = find_absence(error)
            if absence is Absence.PLACE:
                raise StorageMissing(self.description) from error
            if absence is Absence.EITHER:
                await self._look_for_place(key)
            raise

    async def _is_missing(self, error: Exception, key: str) -> bool:
        """Tell whether an error says that there is no such object, or may say so."""
        if self.folder is not None and isinstance(error, ValueError):
            # Prefect's local block raises it for much; the folder itself tells.
            return not await asyncio.to_thread((self.folder / key).exists)
        return find_absence(error) in {Absence.OBJECT, Absence.EITHER}

    async def _look_for_place(self, key: str) -> None:
        """Ask for the bucket itself, as far as this kind of block can be asked.

        Raises:
            StorageMissing: It does not exist.
        """
        try:
            if isinstance(self._block, RemoteFileSystem):
                await asyncio.to_thread(_look_for_bucket, self._block)
            elif hasattr(self._block, "list_objects"):
                await cast("Any", self._block).list_objects(key, max_items=1)
            elif hasattr(self._block, "bucket_folder") and hasattr(self._block, "list_blobs"):
                await cast("Any", self._block).list_blobs(key)
        except Exception as error:
            # Who may not look there has the first answer: the object was not found.
            if find_absence(error) is not None:
                raise StorageMissing(self.description) from error

    async def _list_keys(self) -> list[str]:
        """Return all keys of a block that can list.

        Raises:
            InputInvalid: This one cannot.
        """
        # Their libraries carry no annotations, and are not installed everywhere.
        block = cast("Any", self._block)
        if hasattr(block, "list_objects"):
            found = [str(item["Key"]) for item in await block.list_objects()]
        elif hasattr(block, "list_blobs"):
            found = [str(getattr(item, "name", item)) for item in await block.list_blobs()]
        else:
            raise InputInvalid(
                f"The block {self._reference!r} cannot list what is stored in it; name the same "
                "place as a path, or as a local or remote file system block."
            )
        base = getattr(block, "bucket_folder", None) or getattr(block, "base_folder", None) or ""
        prefix = f"{base.strip('/')}/" if base.strip("/") else ""
        return [key.removeprefix(prefix) for key in found if key.startswith(prefix)]


def _matching(keys: Iterable[str], pattern: str) -> list[str]:
    matches = re.compile("[^/]*".join(map(re.escape, pattern.split("*")))).fullmatch
    return [key for key in keys if matches(key)]


def _find_remote(block: RemoteFileSystem, pattern: str) -> list[str]:
    # The library below carries no annotations.
    file_system = cast("Any", block.filesystem)
    # It remembers what it has listed, and would take what others store later for missing.
    file_system.invalidate_cache()
    found = file_system.glob(f"{block.basepath.rstrip('/')}/{pattern}")
    file_system.invalidate_cache()
    # Paths come without the protocol. `*` spans no slash, so the key is as long as the pattern.
    parts = pattern.count("/") + 1
    return ["/".join(str(path).split("/")[-parts:]) for path in found]


def _look_for_bucket(block: RemoteFileSystem) -> None:
    place = urlsplit(block.basepath)
    if place.scheme in _BUCKET_SCHEMES:
        cast("Any", block.filesystem).info(f"{place.scheme}://{place.netloc}")
