import gzip
import tracemalloc
from pathlib import Path

import pytest

from tasks.storage.folder_storage import COPY_BYTES, FolderStorage
from tasks.storage.result_storage import compress_file, open_result_storage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.vocabulary.errors import InputInvalid


async def test_folder_object_written_twice_is_replaced_whole(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await storage.write("agent/run/1/result.json", b"first and longer")
    await storage.write("agent/run/1/result.json", b"second")

    assert await storage.read("agent/run/1/result.json") == b"second"
    assert [path.name for path in (tmp_path / "agent/run/1").iterdir()] == ["result.json"]


async def test_folder_object_never_written_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoredObjectMissing, match="nothing is stored"):
        await FolderStorage(tmp_path).read("agent/run/1/result.json")


async def test_file_stored_compressed_is_read_back(tmp_path: Path) -> None:
    source, packed = tmp_path / "transcript", tmp_path / "packed"
    content = b'{"type":"assistant"}\n' * 200_000
    source.write_bytes(content)
    compress_file(source, packed)
    storage = FolderStorage(tmp_path / "store")
    await storage.write_file("t.jsonl.gz", packed)

    stored = await storage.read("t.jsonl.gz")

    assert gzip.decompress(stored) == content
    assert len(stored) < len(content) / 100


async def test_folder_object_is_read_into_a_file_without_holding_it(tmp_path: Path) -> None:
    storage, target = FolderStorage(tmp_path), tmp_path / "target"
    with pytest.raises(StoredObjectMissing, match="nothing is stored"):
        await storage.read_file("agent/run/1/work.bundle", target)
    size = 64 * COPY_BYTES
    stored = tmp_path / "agent/run/1/work.bundle"
    stored.parent.mkdir(parents=True)
    with stored.open("wb") as content:
        content.truncate(size)

    tracemalloc.start()
    await storage.read_file("agent/run/1/work.bundle", target)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert target.stat().st_size == size
    assert most_bytes < 4 * COPY_BYTES


async def test_storage_without_reference_is_beside_prefects_results() -> None:
    storage = await open_result_storage(None)

    assert storage.description.endswith("claude-jobs")


async def test_storage_given_as_home_path_is_expanded() -> None:
    assert not (await open_result_storage("~/results")).description.startswith("~")


async def test_storage_of_no_known_kind_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputInvalid, match="neither an absolute path nor a saved block"):
        await open_result_storage("relative")
