from pathlib import Path

from tasks.storage.pushed_commits import StoredPushes
from tasks.storage.result_storage import ResultStorage, open_result_storage
from tasks.storage.storage_keys import StorageOwner
from tasks.vocabulary.names import AgentId

OWNER = StorageOwner("agents", AgentId("a"))


def pushes(storage: ResultStorage, remote: str = "https://h/r", branch: str = "b") -> StoredPushes:
    return StoredPushes(storage, OWNER.pushes(remote, branch), remote, branch)


async def test_pushes_are_noted_in_order_and_by_branch(tmp_path: Path) -> None:
    storage = await open_result_storage(str(tmp_path))
    for commit in ("one", "two", "one"):
        await pushes(storage).add(commit)

    assert await pushes(storage).read() == ("two", "one")
    assert await pushes(storage, branch="other").read() == ()
    assert await pushes(storage, remote="https://other/r").read() == ()


async def test_note_keeps_the_latest(tmp_path: Path) -> None:
    storage = await open_result_storage(str(tmp_path))
    for number in range(60):
        await pushes(storage).add(f"c{number}")

    noted = await pushes(storage).read()

    assert (len(noted), noted[-1]) == (50, "c59")


async def test_note_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    storage = await open_result_storage(str(tmp_path))
    await storage.write(OWNER.pushes("https://h/r", "b"), b"{")

    assert await pushes(storage).read() == ()
