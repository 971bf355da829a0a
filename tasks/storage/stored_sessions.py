"""Noting a task's session in the result storage, and reading the note back."""

from tasks.storage.result_storage import ResultStorage
from tasks.storage.session_memory import SessionMemory
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import StorageOwner
from tasks.storage.stored_results import read_stored_result
from tasks.vocabulary.names import FlowRunId


async def read_session_memory(
    storage: ResultStorage, owner: StorageOwner, task_id: str
) -> SessionMemory | None:
    """Return what is noted about an agent's last session on a task; `None` if nothing is.

    Raises:
        ValidationError: What is stored is no note.
        AgentRunError: Whose an earlier version's note is cannot be read.
        Exception: Whatever the storage raises.
    """
    where = owner.session(task_id)
    memory = await _read(storage, where.key)
    if memory is None:
        memory = await _read(storage, where.old_key)
        if memory is not None and not await _is_of(storage, memory, owner):
            return None
    return memory if memory is not None and memory.task_id == task_id else None


async def write_session_memory(
    storage: ResultStorage, owner: StorageOwner, memory: SessionMemory
) -> None:
    """Note an agent's last session on a task; what the storage raises is passed on."""
    await storage.write(owner.session(memory.task_id).key, memory.model_dump_json().encode())


async def _read(storage: ResultStorage, key: str) -> SessionMemory | None:
    try:
        return SessionMemory.model_validate_json(await storage.read(key))
    except StoredObjectMissing:
        return None


async def _is_of(storage: ResultStorage, memory: SessionMemory, owner: StorageOwner) -> bool:
    """Tell whether an earlier version's note is this agent's: it names a flow run, not an agent."""
    folder = owner.own_attempt(FlowRunId(memory.flow_run_id), 1)
    return await read_stored_result(storage, folder) is not None
