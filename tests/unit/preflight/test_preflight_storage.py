"""What a preflight finds out about a result storage by using it."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prefect.filesystems import WritableFileSystem
from pydantic import PrivateAttr

from tasks.preflight.preflight_reads import read_storage
from tasks.preflight.surroundings_checks import judge_storage
from tasks.storage.block_storage import BlockStorage
from tasks.storage.folder_storage import FolderStorage
from tests.unit.storage.object_stores import BLOCK_KINDS, S3Server, make_block, running_s3_server


@pytest.fixture(scope="module")
def s3_server() -> Generator[S3Server, None, None]:
    with running_s3_server() as server:
        yield server


class OddBlock(WritableFileSystem):
    """A block of somebody's own.

    Attributes:
        says: What a read of a key that was never written does.
        keeps: Whether it keeps what is written.
    """

    says: str = "FileNotFoundError"
    keeps: bool = True
    _kept: dict[str, bytes] = PrivateAttr(default_factory=dict[str, bytes])

    async def read_path(self, path: str) -> bytes:
        if path in self._kept:
            return self._kept[path]
        match self.says:
            case "FileNotFoundError":
                raise FileNotFoundError(path)
            case "LookupError":
                raise LookupError(f"https://key:secret@storage/{path}")
            case "PermissionError":
                raise PermissionError(13, "Permission denied")
            case _:
                return b""

    async def write_path(self, path: str, content: bytes) -> Any:
        if self.keeps:
            self._kept[path] = content


@pytest.mark.parametrize("kind", BLOCK_KINDS)
async def test_every_kind_of_block_that_prefect_has_can_be_used(
    kind: str, s3_server: S3Server, tmp_path: Path
) -> None:
    storage = BlockStorage("kind/name", make_block(kind, s3_server, tmp_path))

    assert (await read_storage(storage, in_pod=False)).problem is None


async def test_folder_can_be_used(tmp_path: Path) -> None:
    assert (await read_storage(FolderStorage(tmp_path), in_pod=False)).problem is None


@pytest.mark.parametrize(
    ("says", "keeps", "problem"),
    [
        pytest.param("FileNotFoundError", True, None, id="as_python_says_it"),
        pytest.param(
            "LookupError",
            True,
            "what was never stored there is not reported as missing but with LookupError, "
            "so a run could not tell whether it has a result already.",
            id="missing_is_not_understood",
        ),
        pytest.param("PermissionError", True, "Permission denied.", id="denied"),
        pytest.param(
            "nothing", True, "something is read under a key that was never written.", id="empty"
        ),
        pytest.param("FileNotFoundError", False, "what was written is not there.", id="forgets"),
    ],
)
async def test_block_of_somebodys_own_is_found_out(
    says: str, keeps: bool, problem: str | None
) -> None:
    storage = BlockStorage("own/x", OddBlock(says=says, keeps=keeps))

    assert (await read_storage(storage, in_pod=False)).problem == problem


async def test_bucket_that_does_not_exist_is_named(s3_server: S3Server) -> None:
    storage = BlockStorage("s3-bucket/results", s3_server.s3_block("no-such-bucket"))

    found = judge_storage(await read_storage(storage, in_pod=False))

    assert found.level.value == "error"
    assert found.finding == (
        "Results cannot be kept in block s3-bucket/results: The bucket or container of block "
        "s3-bucket/results does not exist; create it, or correct the name in the block."
    )
