"""Noting the last checkpoint of an attempt's work in the result storage, and reading the note back.

Two sets of keys take turns, so that a checkpoint which is only half written leaves the last one
whole. The note is written last.
"""

from datetime import datetime
from typing import Literal

from tasks.outcome.run_result import FrozenModel, WorkResult
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import checkpoint_key

Turn = Literal[1, 2]


class StoredCheckpoint(FrozenModel):
    """The last checkpoint that lies in the result storage whole.

    Attributes:
        turn: Which of the two sets of keys it has.
        made_at: By the node's clock; what the agent wrote later is not in it.
        work: As it would be told of if nothing came after it.
    """

    version: int = 1
    turn: Turn
    made_at: datetime
    work: WorkResult


async def read_checkpoint(storage: ResultStorage, path: str) -> StoredCheckpoint | None:
    """Return what is noted about an attempt's last checkpoint; `None` if nothing is.

    Args:
        storage: Where it lies.
        path: The attempt's folder.

    Raises:
        ValidationError: What is stored is no note.
        Exception: Whatever the storage raises.
    """
    try:
        return StoredCheckpoint.model_validate_json(await storage.read(checkpoint_key(path)))
    except StoredObjectMissing:
        return None


async def write_checkpoint(storage: ResultStorage, path: str, checkpoint: StoredCheckpoint) -> None:
    """Note an attempt's last checkpoint; what the storage raises is passed on."""
    await storage.write(checkpoint_key(path), checkpoint.model_dump_json().encode())


def turn_after(last: StoredCheckpoint | None) -> Turn:
    """Return the set of keys that the last checkpoint does not have."""
    return 2 if last is not None and last.turn == 1 else 1
