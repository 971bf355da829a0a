"""The verdicts of the guard; each gives its reason in one sentence.

`TakeLease`, `WaitForLease`, `WaitForTermination`, `DeleteUncommitted` and `Supersede` are steps:
after carrying one out, observe and decide again. The others are final.
"""

from dataclasses import dataclass
from datetime import datetime

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import JobUid


@dataclass(frozen=True, slots=True)
class TakeLease:
    """Nobody holds the Lease; take it under its resourceVersion, then read the Jobs."""

    reason: str


@dataclass(frozen=True, slots=True)
class WaitForLease:
    """The Lease is held, but its holder may be dead; read it until it changes or expires.

    Attributes:
        seconds: Time from now until it expires, unless it is renewed.
    """

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class WaitForTermination:
    """Pods of Jobs that are deleted or over still exist; look again until they are gone.

    Attributes:
        until: When the verdict changes, by the API server's clock.
    """

    pods: tuple[PodSnapshot, ...]
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class DeleteUncommitted:
    """Earlier owners left Jobs in which no agent can have run; delete each by its UID."""

    jobs: tuple[JobSnapshot, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Supersede:
    """A committed Job never got its Secret, so its agent has not started.

    First create its Secret as a tombstone (an existing tombstone is sufficient), so that a late
    create request of the former owner is rejected; then delete the Job by its UID.
    """

    job: JobSnapshot
    reason: str


@dataclass(frozen=True, slots=True)
class StartNew:
    """The agent has no live Job; create one.

    Attributes:
        attempt: Number of the attempt within this flow run, from 1; not used by any Job yet.
    """

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reattach:
    """Adopt the Job by compare-and-swap and follow it to its end.

    Attributes:
        secret_missing: The Job has no Secret yet; create it. Only for Jobs of our own flow run,
            since we know their prompt.
    """

    job: JobSnapshot
    secret_missing: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Harvest:
    """The agent has ended but its result is not stored; read its output and conclude it.

    Attributes:
        then_start: The Job belongs to another run: conclude that run, then start our own agent.
        resume_session: Resume the session of that run in ours.
    """

    job: JobSnapshot
    then_start: bool
    resume_session: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ReturnStored:
    """This run's result is in the result storage; return it and start nothing."""

    job_uid: JobUid
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """End the run with this code; nothing was created and nothing may be changed.

    Attributes:
        reason: The sentence for people.
        advice: What to do.
    """

    code: ErrorCode
    reason: str
    advice: str


GuardVerdict = (
    TakeLease
    | WaitForLease
    | WaitForTermination
    | DeleteUncommitted
    | Supersede
    | StartNew
    | Reattach
    | Harvest
    | ReturnStored
    | Blocked
)
