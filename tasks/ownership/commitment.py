"""Whether a Job was ever made the agent's live one.

A Job is created inert and committed by naming its UID on the Lease; its Secret, without which no
container of it starts, is created only after that. The Lease names the newest committed Job alone,
so of an older one other traces must tell:

- **Unfinished Jobs.** A run creates a Job only when no committed one is unfinished, and Jobs do not
  become unfinished again. So an unfinished Job which the Lease does not name was not committed
  before the one it names, and not after it either: it is uncommitted. This holds only while nobody
  deletes the Lease, so a trace that could not exist without the commit wins over the Lease's
  silence.
- **Finished Jobs.** Deleting one that has run loses a paid result; harvesting one that has not
  costs a report. So a finished Job counts as committed unless its pods are still there and all of
  them say that the agent never ran. (A Job that reached its deadline has no pods any more, run or
  not: it counts as committed.)

Traces that need a commit: the Job was harvested or adopted; its Secret exists, tombstones included,
as only committed Jobs get one; its agent's container has run, or nobody knows that it has not.
"""

from collections.abc import Sequence
from enum import StrEnum

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.names import FlowRunId, JobUid


class RunSecret(StrEnum):
    """What there is of a Job's Secret, owned by exactly this Job; `REVOKED` is a tombstone."""

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
    """Tell whether the Job was made the agent's live one.

    Args:
        job: Not of another agent.
        pods: Those of this Job that there still are.
        committed_uid: The Job that the Lease names.
        secret: `None` where nobody has looked.
    """
    if job.uid == committed_uid or _has_trace(job) or may_have_run(pods):
        return True
    if secret in {RunSecret.PRESENT, RunSecret.REVOKED}:
        return True
    return job.finished and not pods


def may_have_run(pods: Sequence[PodSnapshot]) -> bool:
    """Tell whether the agent's container has run in any of the pods, or may have."""
    return any(pod.agent is not None and pod.agent.has_run is not False for pod in pods)


def _has_trace(job: JobSnapshot) -> bool:
    adopted = job.owner_flow_run_id not in {None, job.flow_run_id}
    return adopted or job.harvested_at is not None


class NameTaken(StrEnum):
    """Whose the Job is that was there already (409) when an owner wanted to create one.

    `OURS` is what a request of our own has made whose answer was lost. `LATE` was posted by an
    earlier process of this flow run after we had looked; it can no longer be committed. `OF_LATER`
    shows that it is us who are late. Anything else is `FOREIGN`.
    """

    OURS = "ours"
    LATE = "late"
    OF_LATER = "of later"
    FOREIGN = "foreign"


def judge_taken_name(
    existing: JobSnapshot,
    *,
    flow_run_id: FlowRunId,
    attempt: int,
    owner_epoch: int,
    manifest_sha256: str,
) -> NameTaken:
    """Tell whose a Job is that has the name of the one which this process wanted to create.

    Args:
        existing: As just read.
        flow_run_id: With `attempt`, what the name is made of.
        attempt: Its number within the flow run.
        owner_epoch: Of this process's Lease.
        manifest_sha256: Of the Job that was to be created.
    """
    if (existing.flow_run_id, existing.attempt) != (flow_run_id, attempt):
        return NameTaken.FOREIGN
    if existing.owner_epoch is None or existing.finished:
        return NameTaken.FOREIGN
    if existing.owner_epoch > owner_epoch:
        return NameTaken.OF_LATER
    if existing.owner_epoch < owner_epoch:
        return NameTaken.FOREIGN if _has_trace(existing) else NameTaken.LATE
    if existing.deleting or existing.manifest_sha256 != manifest_sha256:
        return NameTaken.FOREIGN
    return NameTaken.OURS


def is_owned(job: JobSnapshot, *, uid: JobUid, flow_run_id: FlowRunId, epoch: int) -> bool:
    """Tell whether a Job, as just read, is still the one that this owner made or adopted."""
    return (job.uid, job.owner_flow_run_id, job.owner_epoch) == (uid, flow_run_id, epoch)


class RefusedAdoption(StrEnum):
    """What a Job shows whose adoption was refused (422).

    `OURS`: a try of our own has had its effect, only its answer was lost. `AGAIN`: an earlier
    owner's write came between; its tenure is over and ours is not. `OF_LATER`: we are late
    ourselves. `LOST`: it is another Job, is being deleted, or names no owner.
    """

    OURS = "ours"
    AGAIN = "again"
    OF_LATER = "of later"
    LOST = "lost"


def judge_refused_adoption(
    found: JobSnapshot, *, uid: JobUid, flow_run_id: FlowRunId, epoch: int
) -> RefusedAdoption:
    """Tell what to do about a Job that has changed before it could be adopted.

    Args:
        found: As just read.
        uid: Of the Job that was to be adopted.
        flow_run_id: Of this process.
        epoch: Of this process's Lease.
    """
    if found.uid != uid or found.owner_epoch is None:
        return RefusedAdoption.LOST
    if is_owned(found, uid=uid, flow_run_id=flow_run_id, epoch=epoch):
        return RefusedAdoption.OURS
    if found.owner_epoch > epoch:
        return RefusedAdoption.OF_LATER
    if found.deleting or found.owner_epoch == epoch:
        return RefusedAdoption.LOST
    return RefusedAdoption.AGAIN
