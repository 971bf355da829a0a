"""The state of a Job that was found without its owner."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret, may_have_run
from tasks.ownership.orphans import owner_of
from tasks.sweep.sweep_facts import ObjectState

# Longer than any pod's grace period, which delays the deletion of its Job.
_DELETION_LIMIT = timedelta(hours=1)


def judge_job_state(
    job: JobSnapshot,
    pods: Sequence[PodSnapshot],
    secret: RunSecret,
    *,
    server_now: datetime,
    minimum_age: timedelta,
) -> ObjectState:
    """Return the state of a Job.

    Args:
        job: As just read.
        pods: The pods of this Job.
        secret: Whether its Secret exists.
        server_now: By the API server's clock.
        minimum_age: How long ago the TTL must have passed to count as passed.
    """
    if job.deletion_at is not None:
        is_stuck = server_now - job.deletion_at > _DELETION_LIMIT
        return ObjectState.DELETION_STUCK if is_stuck else ObjectState.DELETING
    if _has_outlived_ttl(job, server_now - minimum_age):
        return ObjectState.TTL_PASSED
    if job.over:
        return ObjectState.HARVESTED if job.harvested_at is not None else ObjectState.FINISHED
    if secret is RunSecret.PRESENT or may_have_run(pods):
        return ObjectState.LIVE
    # Nobody adopts a Job without a Secret. If an adopted Job has none, an agent may have read it.
    return ObjectState.INERT if owner_of(job) == job.flow_run_id else ObjectState.LIVE


def _has_outlived_ttl(job: JobSnapshot, before: datetime) -> bool:
    ended = job.final_condition
    if ended is None or ended.changed_at is None or job.ttl_seconds is None:
        return False
    return ended.changed_at + timedelta(seconds=job.ttl_seconds) <= before
