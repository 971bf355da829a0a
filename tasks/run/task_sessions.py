"""Saves a task's session in the result storage, and reads it back."""

import asyncio

from tasks.outcome.run_result import AgentRunResult
from tasks.run.agent_run import AgentRun
from tasks.storage.session_memory import (
    SessionMemory,
    clear_recurring,
    recall,
    remember,
    remembers_sessions,
)
from tasks.storage.stored_sessions import read_session_memory, write_session_memory

_STORAGE_SECONDS = 30.0


async def resume_remembered_session(run: AgentRun) -> AgentRun:
    """Return the run, resuming the task's last session if the request names none.

    If the saved session cannot be read, a new one is started.
    """
    request = run.prepared.request
    if request.asked_session is not None or request.task_id is None:
        return run
    if request.asks_for_fresh_session or not remembers_sessions(run.prepared):
        return run
    memory = await _read(run, request.task_id, "a new session is started")
    recalled = recall(run.prepared, memory)
    if recalled.note is not None:
        run.outside.say(recalled.note)
    return run if recalled.session_id is None else run.resuming(recalled.session_id)


async def clear_session_if_it_recurs(run: AgentRun, result: AgentRunResult) -> AgentRunResult:
    """Return the result with its session cleared if the session has ended like this before."""
    task_id = run.prepared.request.task_id
    if task_id is None or not result.recurs_in_session or not remembers_sessions(run.prepared):
        return result
    memory = await _read(run, task_id, "its session is kept")
    return clear_recurring(run.prepared, result, memory)


async def note_session(run: AgentRun, result: AgentRunResult) -> None:
    """Save the session that the task's next run resumes, or that there is none to resume.

    Only the owner of the agent's Lease calls this. If the storage cannot be written, the next run
    starts a new session, but the verdict of this run does not change.
    """
    memory = remember(run.prepared, result)
    if memory is None:
        return
    try:
        run.outside.lease.check_may_write()
        async with asyncio.timeout(run.outside.controls.bounded(_STORAGE_SECONDS)):
            await write_session_memory(run.outside.storage, run.storage_owner, memory)
    except Exception as error:
        run.outside.say(f"The task's session could not be saved ({error or type(error).__name__}).")


async def _read(run: AgentRun, task_id: str, otherwise: str) -> SessionMemory | None:
    try:
        async with asyncio.timeout(_STORAGE_SECONDS):
            return await read_session_memory(run.outside.storage, run.storage_owner, task_id)
    except Exception as error:
        run.outside.say(
            f"The task's last session could not be read ({type(error).__name__}); {otherwise}."
        )
        return None
