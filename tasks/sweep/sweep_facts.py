"""What a sweep knows of one object when it judges it, and how far a Job has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret, may_have_run
from tasks.ownership.orphans import owner_of

# Longer than the grace of any pod, which delays the deletion of its Job.
_DELETION_LIMIT = timedelta(hours=1)


class ObjectKind(StrEnum):
    """What is swept; the flow runs are those that the objects name."""

    JOB = "Job"
    SECRET = "Secret"
    LEASE = "Lease"
    FLOW_RUN = "flow run"


class Recognition(StrEnum):
    """Whose an object is: labels only select, names and annotations must agree."""

    OURS = "ours"
    OTHER_VERSION = "other version"
    FOREIGN = "foreign"


class RunStanding(StrEnum):
    """How the flow run that owns an object stands.

    `WAITING` will run, again or for the first time. `SILENT` is running by its state and shows no
    sign of life. `OVER` ended other than by cancellation. `DELETED` is not in Prefect any more.
    `UNKNOWN`: the object names none. `UNREADABLE`: Prefect did not say.
    """

    WAITING = "waiting"
    RUNNING = "running"
    SILENT = "silent"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    OVER = "over"
    DELETED = "deleted"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


class Stage(StrEnum):
    """How far an object has come; which kinds have which says `STAGES`.

    Of Jobs: `DELETION_STUCK` was to be deleted long ago, `TTL_PASSED` should have been collected,
    the result of a `HARVESTED` one is stored and that of an `ENDED` one is not, in an `INERT` one
    no agent has run and none can without its Secret, and in a `LIVE` one an agent works or may.
    Of Secrets: their Job is there (`PAIRED`) or not. Of Leases: an `IDLE` one was touched by
    nobody for days, and nothing of its agent is left; a `RESTING` one may still be of use.
    """

    DELETING = "deleting"
    DELETION_STUCK = "deletion stuck"
    TTL_PASSED = "TTL passed"
    HARVESTED = "harvested"
    ENDED = "ended"
    INERT = "inert"
    LIVE = "live"
    PAIRED = "paired"
    UNPAIRED = "unpaired"
    RESTING = "resting"
    IDLE = "idle"
    RECORDED = "recorded"


STAGES: Mapping[ObjectKind, frozenset[Stage]] = {
    ObjectKind.JOB: frozenset(
        {
            Stage.DELETING,
            Stage.DELETION_STUCK,
            Stage.TTL_PASSED,
            Stage.HARVESTED,
            Stage.ENDED,
            Stage.INERT,
            Stage.LIVE,
        }
    ),
    ObjectKind.SECRET: frozenset({Stage.PAIRED, Stage.UNPAIRED}),
    ObjectKind.LEASE: frozenset({Stage.RESTING, Stage.IDLE}),
    ObjectKind.FLOW_RUN: frozenset({Stage.RECORDED}),
}


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """All that the verdict on an object depends on.

    Attributes:
        run: Of a Job the flow run that owns it now.
        lease_fresh: Whether the Lease of its agent is held and has not run out, by the API server's
            clock.
        old_enough: Whether it and the Lease of its agent have been left alone for the minimum age.

    Raises:
        ValueError: No object can have these facts together.
    """

    kind: ObjectKind
    stage: Stage
    recognition: Recognition
    run: RunStanding
    lease_fresh: bool
    old_enough: bool

    def __post_init__(self) -> None:
        if self.stage not in STAGES[self.kind]:
            raise ValueError(f"a {self.kind} is never {self.stage}")
        unnamed = {RunStanding.UNKNOWN, RunStanding.UNREADABLE}
        if self.kind is ObjectKind.FLOW_RUN and (
            self.recognition is not Recognition.OURS or self.run in unnamed
        ):
            raise ValueError("flow runs are found in Prefect, by objects of ours that name them")


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
