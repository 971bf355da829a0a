"""The one way to delete an agent's Job: look, judge, delete that version of it.

A run, a stop, a sweep and a withdrawal differ in what they may delete and in what they do about the
answer; between the look and the deletion they must all lose to whoever changes the Job, such as a
run that takes it over.
"""

import inspect
from collections.abc import Awaitable, Callable
from enum import StrEnum

from tasks.cluster.call_retry import RETRY_NEVER, RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, ObjectConflict, ObjectNotFound
from tasks.cluster.kinds.api_objects import Propagation
from tasks.cluster.kinds.jobs import delete_job, read_job
from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.commitment import is_owned
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.lease_keeper import LeaseLost
from tasks.vocabulary.names import JobUid

# Every change of a Job between a look and its deletion refuses the latter, also one of a counter.
_LOOKS = 4


class Deletion(StrEnum):
    """What became of the wish to delete a Job.

    `DELETED` was accepted; its pods may take their grace. `GONE`: there is no Job of that UID.
    `KEPT`: as it is now, it is not to be deleted. `CHANGED`: somebody changed it after every look.
    """

    DELETED = "deleted"
    GONE = "gone"
    KEPT = "kept"
    CHANGED = "changed"


async def delete_job_when(
    client: ClusterClient,
    namespace: str,
    name: str,
    *,
    uid: JobUid,
    is_right: Callable[[JobSnapshot], bool | Awaitable[bool]],
    propagation: Propagation,
    may_write: Callable[[], None] | None = None,
    retry: RetryPolicy | None = None,
) -> Deletion:
    """Delete a Job if it is still right to, and only the version of it that was found so.

    Args:
        client: The connection.
        namespace: Of the Job.
        name: Of the Job.
        uid: Of the Job; another one of its name is left alone.
        is_right: Tells of the Job as just read whether to delete it; what it raises ends this.
        propagation: What becomes of its pods.
        may_write: Called right before each deletion; what it raises ends this.
        retry: For the reads. A deletion is tried once: the right to it may run out meanwhile.

    Raises:
        ClusterError: The Job could not be read; or it is unknown whether it was deleted.
    """
    for _ in range(_LOOKS):
        try:
            found = JobSnapshot.from_api(await read_job(client, namespace, name, retry=retry))
        except ObjectNotFound:
            return Deletion.GONE
        if found.uid != uid:
            return Deletion.GONE
        answer = is_right(found)
        if not (await answer if inspect.isawaitable(answer) else answer):
            return Deletion.KEPT
        if may_write is not None:
            may_write()
        try:
            await delete_job(
                client,
                namespace,
                name,
                uid=uid,
                resource_version=found.resource_version,
                propagation=propagation,
            )
        except ObjectNotFound:
            return Deletion.GONE
        except ObjectConflict:
            continue
        return Deletion.DELETED
    return Deletion.CHANGED


async def delete_owned_job(run: AgentRun, work: AttemptAtWork, propagation: Propagation) -> None:
    """Delete a Job, unless another process has made it its own; nothing if it is gone already.

    By the version just read: an adoption in between, however late this process is, refuses it.

    Raises:
        LeaseLost: Another process owns the Job or the agent; it is left as it is.
        WritesPaused: Whether we still own the agent is not known.
        ClusterError: It was not deleted, or it is unknown whether it was.
    """
    outside, me = run.outside, run.prepared.flow_run_id

    def is_ours(found: JobSnapshot) -> bool:
        epoch = outside.lease.lease.epoch
        if not is_owned(found, uid=work.job_uid, flow_run_id=me, epoch=epoch):
            raise LeaseLost("")
        return True

    deletion = await delete_job_when(
        outside.client,
        outside.namespace,
        work.job_name,
        uid=work.job_uid,
        is_right=is_ours,
        propagation=propagation,
        may_write=outside.lease.check_may_write,
        # Once: whoever calls this asks again, and the time to end an agent is short.
        retry=RETRY_NEVER,
    )
    if deletion is Deletion.CHANGED:
        raise ClusterError(f"Job {work.job_name} kept changing while it was to be deleted.")
