"""Deleting an agent's Job, and only as it was seen."""

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectConflict, ObjectNotFound
from tasks.cluster.kinds.api_objects import Propagation
from tasks.cluster.kinds.jobs import delete_job, read_job
from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.commitment import is_owned
from tasks.run.lease_keeper import LeaseLost
from tasks.run.run_context import RunContext
from tasks.vocabulary.names import JobName, JobUid

# Every change of a Job between a look at it and its deletion refuses the latter.
_LOOKS = 4


async def delete_job_as_seen(
    client: ClusterClient, namespace: str, job: JobSnapshot, propagation: Propagation
) -> bool:
    """Delete a Job, if nobody has changed it since it was read; tell whether that was so.

    A run that has taken it over meanwhile keeps it.

    Raises:
        ClusterError: It was not deleted, or nobody knows.
    """
    try:
        await delete_job(
            client,
            namespace,
            job.name,
            uid=job.uid,
            resource_version=job.resource_version,
            propagation=propagation,
        )
    except (ObjectNotFound, ObjectConflict):
        return False
    return True


async def delete_owned_job(
    context: RunContext, job_name: JobName, job_uid: JobUid, propagation: Propagation
) -> None:
    """Delete a Job, unless another process has made it its own; nothing if it is gone already.

    By the version just read: an adoption in between, however late this process is, refuses it.

    Raises:
        LeaseLost: Another process owns the Job or the agent; it is left as it is.
        WritesPaused: Whether we still own the agent is not known.
        ClusterError: It was not deleted, or nobody knows.
    """
    client, namespace = context.client, context.namespace
    looks_left = _LOOKS
    while True:
        looks_left -= 1
        try:
            # Once: whoever calls this asks again, and the time to end an agent is short.
            raw = await read_job(client, namespace, job_name, retry=RETRY_NEVER)
            found = JobSnapshot.from_api(raw)
            if found.uid != job_uid:
                return
            me, epoch = context.prepared.flow_run_id, context.lease.lease.epoch
            if not is_owned(found, uid=job_uid, flow_run_id=me, epoch=epoch):
                raise LeaseLost("")
            context.lease.check_may_write()
            return await delete_job(
                client,
                namespace,
                job_name,
                uid=job_uid,
                resource_version=found.resource_version,
                propagation=propagation,
            )
        except ObjectNotFound:
            return
        except ObjectConflict:
            # Perhaps only a pod was counted.
            if not looks_left:
                raise
