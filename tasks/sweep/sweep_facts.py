"""What a sweep knows about one object when it judges it, and the state of a Job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tasks.observation.beside_agent import AgentEnd, find_agent_end
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret, may_have_run
from tasks.ownership.orphans import owner_of

# Longer than the grace of any pod, which delays the deletion of its Job.
_DELETION_LIMIT = timedelta(hours=1)


class ObjectKind(StrEnum):
    """Kinds of objects that a sweep checks; flow runs are those that the other objects name."""

    JOB = "Job"
    SECRET = "Secret"
    LEASE = "Lease"
    FLOW_RUN = "flow run"


class Recognition(StrEnum):
    """Who created an object: labels only select; names and annotations must agree."""

    OURS = "ours"
    OTHER_VERSION = "other version"
    FOREIGN = "foreign"


class RunStanding(StrEnum):
    """State of the flow run that owns an object.

    `WAITING` will run, again or for the first time. `SILENT` is in state Running but shows no sign
    of life. `OVER` has ended, but not by cancellation. `DELETED` is no longer in Prefect.
    `UNKNOWN`: the object names no flow run. `UNREADABLE`: Prefect could not be read.
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


class ObjectState(StrEnum):
    """State of an object; `STATES_OF_KIND` lists the states of each kind.

    Jobs: `DELETION_STUCK` should have been deleted long ago; the TTL of `TTL_PASSED` has passed,
    counted from its own end or, where another container keeps it from finishing, from its agent's;
    the agent of `HARVESTED` and of `FINISHED` has ended, and only the former's result is stored; in
    `INERT` no agent has run, and none can without its Secret; in `LIVE` an agent works or may work.
    Secrets: the Job exists (`PAIRED`) or not (`UNPAIRED`). Leases: `IDLE` has not been renewed for
    days and its agent has no other objects; `RESTING` may still be needed.
    """

    DELETING = "deleting"
    DELETION_STUCK = "deletion stuck"
    TTL_PASSED = "TTL passed"
    HARVESTED = "harvested"
    FINISHED = "finished"
    INERT = "inert"
    LIVE = "live"
    PAIRED = "paired"
    UNPAIRED = "unpaired"
    RESTING = "resting"
    IDLE = "idle"
    RECORDED = "recorded"


STATES_OF_KIND: Mapping[ObjectKind, frozenset[ObjectState]] = {
    ObjectKind.JOB: frozenset(
        {
            ObjectState.DELETING,
            ObjectState.DELETION_STUCK,
            ObjectState.TTL_PASSED,
            ObjectState.HARVESTED,
            ObjectState.FINISHED,
            ObjectState.INERT,
            ObjectState.LIVE,
        }
    ),
    ObjectKind.SECRET: frozenset({ObjectState.PAIRED, ObjectState.UNPAIRED}),
    ObjectKind.LEASE: frozenset({ObjectState.RESTING, ObjectState.IDLE}),
    ObjectKind.FLOW_RUN: frozenset({ObjectState.RECORDED}),
}


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """Everything that the verdict on an object depends on.

    Attributes:
        run: State of the object's flow run; for a Job, of the one that owns it now.
        lease_fresh: Whether the Lease of its agent is held and has not expired, by the API server's
            clock.
        old_enough: Whether neither it nor the Lease of its agent has changed within the minimum
            age.

    Raises:
        ValueError: No object can have this combination of facts.
    """

    kind: ObjectKind
    state: ObjectState
    recognition: Recognition
    run: RunStanding
    lease_fresh: bool
    old_enough: bool

    def __post_init__(self) -> None:
        if self.state not in STATES_OF_KIND[self.kind]:
            raise ValueError(f"a {self.kind} is never {self.state}")
        unnamed = {RunStanding.UNKNOWN, RunStanding.UNREADABLE}
        if self.kind is ObjectKind.FLOW_RUN and (
            self.recognition is not Recognition.OURS or self.run in unnamed
        ):
            raise ValueError("flow runs are found in Prefect, through our objects that name them")


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
        pods: Those of this Job.
        secret: What there is of its Secret.
        server_now: By the API server's clock.
        minimum_age: How long the TTL must have passed before it counts as passed.
    """
    if job.deletion_at is not None:
        is_stuck = server_now - job.deletion_at > _DELETION_LIMIT
        return ObjectState.DELETION_STUCK if is_stuck else ObjectState.DELETING
    end = find_agent_end(job, pods)
    if _has_outlived_ttl(job, end, server_now - minimum_age):
        return ObjectState.TTL_PASSED
    if job.over or end is not None:
        return ObjectState.HARVESTED if job.harvested_at is not None else ObjectState.FINISHED
    if secret is RunSecret.PRESENT or may_have_run(pods):
        return ObjectState.LIVE
    # Nobody adopts a Job without a Secret; if it is gone by now, an agent may have read it.
    return ObjectState.INERT if owner_of(job) == job.flow_run_id else ObjectState.LIVE


def _has_outlived_ttl(job: JobSnapshot, end: AgentEnd | None, before: datetime) -> bool:
    if job.final_condition is not None:
        ended_at = job.final_condition.changed_at
    else:
        # Where nobody saw when it ended, it was not later than its result was stored.
        ended_at = (end.at or job.harvested_at) if end is not None else None
    if ended_at is None or job.ttl_seconds is None:
        return False
    return ended_at + timedelta(seconds=job.ttl_seconds) <= before
