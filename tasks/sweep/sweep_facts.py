"""What a sweep knows of one object when it judges it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


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
