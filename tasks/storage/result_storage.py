"""Where transcripts and results live after the pod has gone.

A storage is a folder (a volume, in a cluster) or a Prefect file-system block. Keys are the same in
both, so a hook, a later run or a reader finds a run's files from its ids alone.
"""

import gzip
import re
import shutil
from pathlib import Path
from typing import Protocol

from prefect.blocks.core import Block
from prefect.filesystems import WritableFileSystem
from prefect.settings import get_current_settings

from tasks.storage.block_storage import BlockStorage
from tasks.storage.folder_storage import COPY_BYTES, FolderStorage
from tasks.vocabulary.errors import InputInvalid

_BLOCK_REFERENCE = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


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
            StorageMissing: The bucket or container does not exist.
            Exception: The storage cannot be written; a block raises whatever its library does.
        """
        ...

    async def write_file(self, key: str, source: Path) -> None:
        """Store the content of a local file under `key`, replacing what was there."""
        ...

    async def read(self, key: str) -> bytes:
        """Return what is stored under `key`.

        Raises:
            StoredObjectMissing: Nothing is.
            StorageMissing: The bucket or container does not exist.
            Exception: The storage cannot be read; a block raises whatever its library does.
        """
        ...

    async def read_file(self, key: str, target: Path) -> None:
        """Write what is stored under `key` to a local file; raises what `read` does."""
        ...

    async def find(self, pattern: str) -> list[str]:
        """Return the keys that match a pattern, in order; `*` stands for no slash.

        Raises:
            InputInvalid: This kind of storage cannot tell what is in it.
            StorageMissing: The bucket or container does not exist.
            Exception: The storage cannot be read; a block raises whatever its library does.
        """
        ...


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
        raise InputInvalid(
            f"The block {reference!r} cannot be written to: it is not a file system."
        )
    return BlockStorage(reference, block)


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
        shutil.copyfileobj(plain, packed, COPY_BYTES)
