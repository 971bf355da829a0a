"""Which session a task's next run goes on in: noted at the end of a run, read before the next one.

Only where HOME and the working directory outlive the pod: Claude Code keeps a session in HOME, by
the directory in which it was held.
"""

import posixpath
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.agent_job.prepared_run import PreparedRun
from tasks.outcome.run_result import AgentRunResult
from tasks.vocabulary.error_codes import ErrorCode


class SessionMemory(BaseModel):
    """What is noted about the last session of an agent on a task.

    Attributes:
        session_id: Null when it must not be resumed.
        flow_run_id: The run that noted it.
        recurring: Code of the session's last ending, if the session itself may be why.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    task_id: str
    session_id: str | None
    cwd: str
    flow_run_id: str
    recurring: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class RememberedSession:
    """What the note says to a run.

    Attributes:
        session_id: The session to go on in; `None` for a fresh one.
        note: The sentence people read; `None` where there is nothing to say.
    """

    session_id: str | None = None
    note: str | None = None


def remembers_sessions(run: PreparedRun) -> bool:
    """Tell whether the session of this run can still be resumed after its pod has gone."""
    if run.runtime.home_claim is None or run.request.task_id is None:
        return False
    cwd = PurePosixPath(posixpath.normpath(run.working_directory))
    return cwd.is_relative_to(posixpath.normpath(run.runtime.home_path))


def remember(run: PreparedRun, result: AgentRunResult) -> SessionMemory | None:
    """Return what to note after a run; `None` to leave what is noted."""
    task_id = run.request.task_id
    if task_id is None or not remembers_sessions(run):
        return None
    # Whether the session is lost shows the fresh attempt: it may fail for the same reason.
    if result.error_code is ErrorCode.SESSION_UNAVAILABLE:
        return None
    if result.session_id is None and not result.clear_session:
        return None
    return SessionMemory(
        task_id=task_id,
        session_id=None if result.clear_session else result.session_id,
        cwd=run.working_directory,
        flow_run_id=result.flow_run_id,
        recurring=result.error_code if result.recurs_in_session else None,
    )


def clear_recurring(
    run: PreparedRun, result: AgentRunResult, memory: SessionMemory | None
) -> AgentRunResult:
    """Return the result, its session cleared if that ended likewise the last time.

    An ending such as a full context, or a request that the API rejects, comes again on each resume.
    """
    if not result.recurs_in_session or memory is None or result.session_id is None:
        return result
    noted = (memory.task_id, memory.session_id, memory.recurring)
    if noted != (run.request.task_id, result.session_id, result.error_code):
        return result
    said = (
        f"Session {result.session_id} has ended like this twice, so it has been cleared; the next "
        "run starts a fresh one."
    )
    advice = f"{result.advice} {said}" if result.advice else said
    return result.model_copy(update={"clear_session": True, "advice": advice})


def recall(run: PreparedRun, memory: SessionMemory | None) -> RememberedSession:
    """Tell in which session a run that asks for none goes on."""
    if memory is None or memory.task_id != run.request.task_id or memory.session_id is None:
        return RememberedSession()
    noted = f"The task's last session, {memory.session_id} of flow run {memory.flow_run_id},"
    if memory.cwd != run.working_directory:
        return RememberedSession(
            note=f"{noted} was held in {memory.cwd}, this run works in {run.working_directory}: "
            "a fresh one is started."
        )
    return RememberedSession(memory.session_id, f"{noted} is resumed by a new attempt.")
