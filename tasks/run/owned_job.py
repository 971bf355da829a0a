"""Deleting the Job at work, as the owner of its agent."""

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.kinds.api_objects import Propagation
from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.commitment import is_owned
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.job_deletion import Deletion, delete_job_when
from tasks.run.lease_keeper import LeaseLost


async def delete_owned_job(run: AgentRun, work: AttemptAtWork, propagation: Propagation) -> None:
    """Delete a Job, unless another process has made it its own; nothing if it is gone already.

    By the version just read: an adoption in between, however late this process is, refuses it.

    Raises:
        LeaseLost: Another process owns the Job or the agent; it is left as it is.
        WritesPaused: Whether we still own the agent is not known.
        ClusterError: It was not deleted, or nobody knows.
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
