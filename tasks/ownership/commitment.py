"""Whether a Job was ever committed, that is, made the agent's live Job.

A Job is created inert and committed by writing its UID to the Lease. Its Secret, without which none
of its containers starts, is created only after that. The Lease names only the newest committed Job,
so other evidence must show whether an older one was committed:

- **Unfinished Jobs.** A run creates a Job only if no committed Job is unfinished, and finished Jobs
  never become unfinished again. So an unfinished Job that the Lease does not name was committed
  neither before nor after the one that it names: it is uncommitted. This is true only as long as
  nobody deletes the Lease, so evidence that cannot exist without a commit outranks the Lease.
- **Finished Jobs.** Deleting a Job whose agent has run loses a paid result; harvesting one whose
  agent has not run only produces an unnecessary report. So a finished Job counts as committed
  unless its pods still exist and all of them show that the agent never ran. (A Job that reached its
  deadline has no pods any more, whether its agent ran or not, and counts as committed.)

Evidence of a commit: the Job was harvested or adopted; its Secret or a tombstone exists, since only
committed Jobs get one; its agent's container has run, or may have run.
"""

from collections.abc import Sequence
from enum import StrEnum

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.names import FlowRunId, JobUid


class RunSecret(StrEnum):
    """The Secret that belongs to exactly this Job; `REVOKED` means that it is a tombstone."""

    ABSENT = "absent"
    PRESENT = "present"
    REVOKED = "revoked"


def is_committed(
    job: JobSnapshot,
    pods: Sequence[PodSnapshot],
    *,
    committed_uid: JobUid | None,
    secret: RunSecret | None,
) -> bool:
    """Return whether the Job was committed.

    Args:
        job: A Job of this agent.
        pods: The pods of this Job that still exist.
        committed_uid: UID of the Job that the Lease names.
        secret: `None` if it was not read.
    """
    if job.uid == committed_uid or _has_trace(job) or may_have_run(pods):
        return True
    if secret in {RunSecret.PRESENT, RunSecret.REVOKED}:
        return True
    return job.finished and not pods


def may_have_run(pods: Sequence[PodSnapshot]) -> bool:
    """Return whether the agent's container has run, or may have run, in any of the pods."""
    return any(pod.agent is not None and pod.agent.has_run is not False for pod in pods)


def _has_trace(job: JobSnapshot) -> bool:
    adopted = job.owner_flow_run_id not in {None, job.flow_run_id}
    return adopted or job.harvested_at is not None


class NameTaken(StrEnum):
    """Owner of the Job that already has this name (409).

    `OURS` was created by one of our own requests whose answer was lost. `LATE` was created by an
    earlier process of this flow run after we had looked; it can no longer be committed.
    `OF_SUCCESSOR` was created by a later owner, so this process has lost the agent. All others are
    `FOREIGN`.
    """

    OURS = "ours"
    LATE = "late"
    OF_SUCCESSOR = "of successor"
    FOREIGN = "foreign"


def judge_taken_name(
    existing: JobSnapshot,
    *,
    flow_run_id: FlowRunId,
    attempt: int,
    owner_epoch: int,
    manifest_sha256: str,
) -> NameTaken:
    """Return who created the Job that has the name this process wanted to use.

    Args:
        existing: The Job with this name, as just read.
        flow_run_id: Part of the name, like `attempt`.
        attempt: Number of the attempt within the flow run.
        owner_epoch: Epoch of this process's Lease.
        manifest_sha256: Hash of the Job that this process wanted to create.
    """
    if (existing.flow_run_id, existing.attempt) != (flow_run_id, attempt):
        return NameTaken.FOREIGN
    if existing.owner_epoch is None or existing.finished:
        return NameTaken.FOREIGN
    if existing.owner_epoch > owner_epoch:
        return NameTaken.OF_SUCCESSOR
    if existing.owner_epoch < owner_epoch:
        return NameTaken.FOREIGN if _has_trace(existing) else NameTaken.LATE
    if existing.deleting or existing.manifest_sha256 != manifest_sha256:
        return NameTaken.FOREIGN
    return NameTaken.OURS


def is_owned(job: JobSnapshot, *, uid: JobUid, flow_run_id: FlowRunId, epoch: int) -> bool:
    """Return whether a Job, as just read, is still owned by this owner."""
    return (job.uid, job.owner_flow_run_id, job.owner_epoch) == (uid, flow_run_id, epoch)


class RefusedAdoption(StrEnum):
    """State of a Job whose adoption was rejected (422).

    `OURS`: an earlier try of ours succeeded, but its answer was lost. `AGAIN`: an earlier owner
    wrote to the Job in between; its tenure is over, so we may try again. `OF_SUCCESSOR`: a later
    owner has the Job. `LOST`: it is another Job, is being deleted, or names no owner.
    """

    OURS = "ours"
    AGAIN = "again"
    OF_SUCCESSOR = "of successor"
    LOST = "lost"


def judge_refused_adoption(
    found: JobSnapshot, *, uid: JobUid, flow_run_id: FlowRunId, epoch: int
) -> RefusedAdoption:
    """Return the state of a Job that changed before it could be adopted.

    Args:
        found: The Job as just read.
        uid: UID of the Job to adopt.
        flow_run_id: Flow run of this process.
        epoch: Epoch of this process's Lease.
    """
    if found.uid != uid or found.owner_epoch is None:
        return RefusedAdoption.LOST
    if is_owned(found, uid=uid, flow_run_id=flow_run_id, epoch=epoch):
        return RefusedAdoption.OURS
    if found.owner_epoch > epoch:
        return RefusedAdoption.OF_SUCCESSOR
    if found.deleting or found.owner_epoch == epoch:
        return RefusedAdoption.LOST
    return RefusedAdoption.AGAIN
