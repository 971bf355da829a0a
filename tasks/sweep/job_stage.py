"""How far a Job has come, for whoever finds it without its owner."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret, may_have_run
from tasks.ownership.orphans import owner_of
from tasks.sweep.sweep_facts import Stage

# Longer than the grace of any pod, which delays the deletion of its Job.
_DELETION_LIMIT = timedelta(hours=1)


def judge_stage(
    job: JobSnapshot,
    pods: Sequence[PodSnapshot],
    secret: RunSecret,
    *,
    server_now: datetime,
    minimum_age: timedelta,
) -> Stage:
    """Tell how far a Job has come.

    Args:
        job: As just read.
        pods: Those of this Job.
        secret: What there is of its Secret.
        server_now: By the API server's clock.
        minimum_age: How long the TTL must have passed before it counts as passed.
    """
    if job.deletion_at is not None:
        is_stuck = server_now - job.deletion_at > _DELETION_LIMIT
        return Stage.DELETION_STUCK if is_stuck else Stage.DELETING
    if _has_outlived_ttl(job, server_now - minimum_age):
        return Stage.TTL_PASSED
    if job.over:
        return Stage.HARVESTED if job.harvested_at is not None else Stage.ENDED
    if secret is RunSecret.PRESENT or may_have_run(pods):
        return Stage.LIVE
    # Nobody adopts a Job without a Secret; if it is gone by now, an agent may have read it.
    return Stage.INERT if owner_of(job) == job.flow_run_id else Stage.LIVE


def _has_outlived_ttl(job: JobSnapshot, before: datetime) -> bool:
    ended = job.final_condition
    if ended is None or ended.changed_at is None or job.ttl_seconds is None:
        return False
    return ended.changed_at + timedelta(seconds=job.ttl_seconds) <= before
