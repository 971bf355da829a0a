from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.outcome.run_result import WorkResult
from tasks.storage.folder_storage import FolderStorage
from tasks.storage.storage_keys import bundle_key, checkpoint_key, patch_key, work_files_key
from tasks.storage.stored_checkpoints import (
    StoredCheckpoint,
    Turn,
    read_checkpoint,
    turn_after,
    write_checkpoint,
)

PATH = "agent/run/1"


def checkpoint(turn: Turn) -> StoredCheckpoint:
    work = WorkResult(collected=True, commits=2, bundle_key=bundle_key(PATH, turn))
    return StoredCheckpoint(turn=turn, made_at=datetime(2026, 11, 30, 7, 0, tzinfo=UTC), work=work)


async def test_note_is_read_back(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    assert await read_checkpoint(storage, PATH) is None
    for turn in (1, 2):
        await write_checkpoint(storage, PATH, checkpoint(turn))
        assert await read_checkpoint(storage, PATH) == checkpoint(turn)


async def test_note_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await storage.write(checkpoint_key(PATH), b"[]")
    with pytest.raises(ValidationError):
        await read_checkpoint(storage, PATH)


def test_last_checkpoint_is_never_overwritten() -> None:
    assert turn_after(None) == 1
    assert turn_after(checkpoint(1)) == 2
    assert turn_after(checkpoint(2)) == 1
    keys = {make(PATH, turn) for make in (bundle_key, patch_key, work_files_key) for turn in (1, 2)}
    assert len(keys) == 6
