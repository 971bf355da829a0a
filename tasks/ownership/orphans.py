"""May a run take over a live Job whose own run is gone?"""

from dataclasses import dataclass

from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.guard_verdicts import Blocked, Reattach
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import AgentId, FlowRunId, SessionId, TaskId


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Who wants to start an agent; an empty task or session id is an unknown one."""

    agent_id: AgentId
    flow_run_id: FlowRunId
    task_id: TaskId | None = None
    session_id: SessionId | None = None

    @property
    def known_task(self) -> TaskId | None:
        """The task id, if there is one."""
        return self.task_id if self.task_id and self.task_id.strip() else None

    @property
    def known_session(self) -> SessionId | None:
        """The session id, if there is one."""
        return self.session_id if self.session_id and self.session_id.strip() else None


def decide_orphan(job: JobSnapshot, me: RunIdentity) -> Reattach | Blocked:
    """Tell whether a run may take over a live Job of another run, which is gone.

    Only for the same task, both sides knowing theirs, and not when both know their sessions and
    these differ.
    """
    task = me.known_task
    if task is None or job.task_id is None:
        lacking = "this run" if task is None else "it"
        why = f"its run is gone, and {lacking} names no task"
        return blocked_by(job, why, ErrorCode.ORPHAN_TASK_UNKNOWN)
    if task != job.task_id:
        return blocked_by(job, f"it works on task {job.task_id}, not {task}")
    if not may_share_session(job, me):
        why = f"it works in session {job.session_id}, not {me.known_session}"
        return blocked_by(job, why, ErrorCode.ORPHAN_SESSION_MISMATCH)
    return Reattach(
        job,
        secret_missing=False,
        reason=f"Job {job.name} works on the same task {task}, and its run {owner_of(job)} "
        "is gone.",
    )


def may_share_session(job: JobSnapshot, me: RunIdentity) -> bool:
    """Tell whether the sessions are the same, as far as both are known."""
    return None in {me.known_session, job.session_id} or me.known_session == job.session_id


def owner_of(job: JobSnapshot) -> FlowRunId | None:
    """Return the flow run that owns a Job now."""
    return job.owner_flow_run_id or job.flow_run_id


def blocked_by(
    job: JobSnapshot, why: str, code: ErrorCode = ErrorCode.CONCURRENT_RUN_BLOCKED
) -> Blocked:
    """Return the verdict that a Job of the same agent is in the way."""
    return Blocked(
        code,
        f"Job {job.name} of the same agent blocks this run: {why}.",
        "Wait for that Job to end, or delete it if its work is not wanted.",
    )
