"""Whether a run may take over a live Job that has no owner any more."""

from dataclasses import dataclass

from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.guard_verdicts import Blocked, Reattach
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import AgentId, FlowRunId, SessionId, TaskId


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The run that wants to start an agent; an empty task or session id is unknown."""

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
    """Return whether a run may take over a live Job of another run that has no process any more.

    It may only if both name the same task, and not if both name a session and these differ.
    """
    task = me.known_task
    if task is None or job.task_id is None:
        lacking = "this run" if task is None else "it"
        why = f"its run has no process any more, and {lacking} names no task"
        return blocked_by(job, why, ErrorCode.ORPHAN_TASK_UNKNOWN)
    if task != job.task_id:
        return blocked_by(job, f"it works on task {job.task_id}, not {task}")
    if not may_share_session(job, me):
        why = f"it works in session {job.session_id}, not {me.known_session}"
        return blocked_by(job, why, ErrorCode.ORPHAN_SESSION_MISMATCH)
    return Reattach(
        job,
        secret_missing=False,
        reason=f"Job {job.name} works on the same task {task}, and its run {owner_of(job)} has "
        "no process any more.",
    )


def may_share_session(job: JobSnapshot, me: RunIdentity) -> bool:
    """Return whether the sessions are the same, or one of them is unknown."""
    return None in {me.known_session, job.session_id} or me.known_session == job.session_id


def owner_of(job: JobSnapshot) -> FlowRunId | None:
    """Return the flow run that owns a Job now."""
    return job.owner_flow_run_id or job.flow_run_id


def blocked_by(
    job: JobSnapshot, why: str, code: ErrorCode = ErrorCode.CONCURRENT_RUN_BLOCKED
) -> Blocked:
    """Return the verdict that a Job of the same agent blocks the run."""
    return Blocked(
        code,
        f"Job {job.name} of the same agent blocks this run: {why}.",
        "Wait until that Job has finished, or delete it if you do not need its work.",
    )
