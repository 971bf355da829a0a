"""Noting a task's session in the result storage, and reading it back."""

import asyncio

from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_context import RunContext
from tasks.storage.session_memory import SessionMemory, recall, remember, remembers_sessions
from tasks.storage.storage_keys import StorageOwner
from tasks.storage.stored_sessions import read_session_memory, write_session_memory

_STORAGE_SECONDS = 30.0


async def resume_remembered_session(context: RunContext) -> None:
    """Go on in the task's last session if the request names none; an unreadable note is none."""
    request = context.prepared.request
    if request.session_id is not None or request.task_id is None:
        return
    if not remembers_sessions(context.prepared):
        return
    recalled = recall(context.prepared, await _read(context, request.task_id))
    if recalled.note is not None:
        context.say(recalled.note)
    if recalled.session_id is not None:
        context.resume(recalled.session_id)


async def note_session(context: RunContext, result: AgentRunResult) -> None:
    """Note the session in which the task's next run goes on, or that there is none to go on in.

    Only the owner of the agent's Lease calls this. A storage that cannot be written costs the next
    run its session, not this one its verdict.
    """
    memory = remember(context.prepared, result)
    if memory is None:
        return
    owner = StorageOwner(context.namespace, context.prepared.agent_id)
    try:
        context.lease.check_may_write()
        async with asyncio.timeout(context.bounded(_STORAGE_SECONDS)):
            await write_session_memory(context.storage, owner, memory)
    except Exception as error:
        context.say(f"The task's session could not be noted ({error or type(error).__name__}).")


async def _read(context: RunContext, task_id: str) -> SessionMemory | None:
    owner = StorageOwner(context.namespace, context.prepared.agent_id)
    try:
        async with asyncio.timeout(_STORAGE_SECONDS):
            return await read_session_memory(context.storage, owner, task_id)
    except Exception as error:
        context.say(
            "The task's last session could not be read "
            f"({type(error).__name__}); a fresh one is started."
        )
        return None
