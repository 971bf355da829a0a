"""Prefect's own blocks over real protocols: what is missing is told from what cannot be read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from google.api_core import exceptions as google_errors
from prefect.filesystems import LocalFileSystem, WritableFileSystem
from pydantic import PrivateAttr

from tasks.storage.block_storage import BlockStorage
from tasks.storage.storage_errors import StorageMissing, StoredObjectMissing
from tasks.vocabulary.errors import InputInvalid
from tests.unit.storage.object_stores import S3Server


async def test_object_never_written_is_missing(block_storage: BlockStorage) -> None:
    with pytest.raises(StoredObjectMissing, match="nothing is stored at kind/name/a/b"):
        await block_storage.read("a/b.json")


async def test_object_is_missing_beside_others_and_until_it_is_written(
    block_storage: BlockStorage,
) -> None:
    await block_storage.write("a/b.json", b"first")
    await block_storage.write("a/b.json", b"second")

    assert await block_storage.find("*/*.json") == ["a/b.json"]
    for key in ("a/c.json", "a/b.json.gz", "a/b"):
        with pytest.raises(StoredObjectMissing):
            await block_storage.read(key)
    await block_storage.write("a/c.json", b"third")

    assert await block_storage.read("a/b.json") == b"second"
    assert await block_storage.read("a/c.json") == b"third"


async def test_object_is_read_into_a_file_in_place_of_what_was_there(
    block_storage: BlockStorage, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"longer than what comes")
    with pytest.raises(StoredObjectMissing):
        await block_storage.read_file("a/b.bundle", target)
    await block_storage.write("a/b.bundle", b"\x00\xff\r\n")

    await block_storage.read_file("a/b.bundle", target)

    assert target.read_bytes() == b"\x00\xff\r\n"


async def test_keys_are_found_by_a_pattern_whose_star_spans_no_slash(
    block_storage: BlockStorage,
) -> None:
    for key in ("b/usage/1.json", "a/usage/1.json", "a/x/usage/1.json", "a/usage/1.json.gz"):
        await block_storage.write(key, b"{}")

    assert await block_storage.find("*/usage/*.json") == ["a/usage/1.json", "b/usage/1.json"]
    assert await block_storage.find("*/sessions/*.json") == []


async def test_keys_of_a_folder_with_a_longer_name_are_not_found(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    await BlockStorage("s3/longer", s3_server.s3_block(bucket, "agents2")).write("a/b.json", b"")

    assert await BlockStorage("s3/x", s3_server.s3_block(bucket, "agents")).find("*/*.json") == []


@pytest.mark.parametrize("kind", ["s3_block", "minio_block", "remote_block"])
async def test_bucket_that_does_not_exist_is_no_missing_object(
    s3_server: S3Server, kind: str
) -> None:
    storage = BlockStorage("kind/name", getattr(s3_server, kind)("no-such-bucket"))

    for call in (storage.read("a/b.json"), storage.find("*/*.json")):
        with pytest.raises(StorageMissing, match=r"container of block kind/name .* create"):
            await call


async def test_bucket_that_does_not_exist_cannot_be_written(s3_server: S3Server) -> None:
    with pytest.raises(StorageMissing):
        await BlockStorage("s3/x", s3_server.s3_block("no-such-bucket")).write("a", b"")


async def test_server_that_does_not_answer_is_no_missing_object(s3_server: S3Server) -> None:
    away = S3Server("http://127.0.0.1:9")
    block = away.s3_block("results")
    block.credentials.aws_client_parameters.config = {"retries": {"total_max_attempts": 1}}

    with pytest.raises(Exception, match="Could not connect") as caught:
        await BlockStorage("s3/x", block).read("a/b.json")
    assert not isinstance(caught.value, StoredObjectMissing | StorageMissing)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        pytest.param("a", "is not a file", id="directory"),
        pytest.param("../a.json", "outside of the base path", id="outside"),
    ],
)
async def test_local_path_that_is_no_file_of_the_block_is_no_missing_object(
    tmp_path: Path, key: str, why: str
) -> None:
    root = tmp_path / "results"
    (root / "a").mkdir(parents=True)
    (tmp_path / "a.json").touch()

    with pytest.raises(ValueError, match=why):
        await BlockStorage("local/x", LocalFileSystem(basepath=str(root))).read(key)


class RaisingBlock(WritableFileSystem):
    """A block of somebody's own, which raises what it is given."""

    _error: Exception = PrivateAttr()

    @classmethod
    def of(cls, error: Exception) -> Self:
        block = cls()
        block._error = error
        return block

    async def read_path(self, path: str) -> bytes:
        raise self._error

    async def write_path(self, path: str, content: bytes) -> Any:
        raise self._error


class BlobBlock(RaisingBlock):
    """A block that lists as those of Google and Azure do."""

    bucket_folder: str = "of/agents"
    names: tuple[str, ...] = ()
    listing_fails: bool = False

    async def list_blobs(self, folder: str = "") -> list[Any]:
        if self.listing_fails:
            raise self._error
        if "b" in folder:
            return []
        return [SimpleNamespace(name=name) for name in self.names]


def google_says(status: int) -> Exception:
    # The library carries no annotations.
    return cast("Any", google_errors).from_http_status(status, "Not found.")


async def test_object_that_google_does_not_find_is_missing_where_its_bucket_is_there() -> None:
    block = BlobBlock.of(google_says(404))

    with pytest.raises(StoredObjectMissing):
        await BlockStorage("gcs/x", block).read("a/b")


async def test_object_that_google_does_not_find_in_no_bucket_is_an_error() -> None:
    block = BlobBlock.of(google_says(404))
    block.listing_fails = True

    for call in (BlockStorage("gcs/x", block).read("a/b"), BlockStorage("gcs/x", block).find("*")):
        with pytest.raises(StorageMissing):
            await call


async def test_keys_of_a_block_that_lists_blobs_are_found() -> None:
    block = BlobBlock.of(google_says(404))
    block.names = ("of/agents/a/1.json", "of/agents2/a/1.json", "of/agents/a/b/1.json")

    assert await BlockStorage("gcs/x", block).find("*/*.json") == ["a/1.json"]


async def test_write_that_google_does_not_find_a_place_for_stays_an_error() -> None:
    error = google_says(404)

    with pytest.raises(type(error)) as caught:
        await BlockStorage("gcs/x", BlobBlock.of(error)).write("a/b", b"")
    assert caught.value is error


@pytest.mark.parametrize("error", [ValueError("not a number"), KeyError("x"), PermissionError()])
async def test_other_errors_of_a_block_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await BlockStorage("own/x", RaisingBlock.of(error)).read("a")
    assert caught.value is error


async def test_block_that_cannot_list_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputInvalid, match="name the same place as a path"):
        await BlockStorage("own/x", RaisingBlock.of(ValueError())).find("*/*.json")
