"""What the guard may tell a run to do; each verdict says why in one sentence.

`TakeLease`, `WaitForLease`, `WaitForTermination`, `DeleteUncommitted` and `Supersede` are steps:
carry one out, look again and decide again. The others are final.
"""

from dataclasses import dataclass
from datetime import datetime

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import JobUid


@dataclass(frozen=True, slots=True)
class TakeLease:
    """Nobody holds the Lease; take it under its resourceVersion, then look at the Jobs."""

    reason: str


@dataclass(frozen=True, slots=True)
class WaitForLease:
    """Somebody holds the Lease and may live or not; read it again until it changes or expires.

    Attributes:
        seconds: When it expires unless it is renewed, from now.
    """

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class WaitForTermination:
    """Pods of ended or deleted Jobs are still there; look again until they have gone.

    Attributes:
        until: By the API server's clock; the verdict is another one from then on.
    """

    pods: tuple[PodSnapshot, ...]
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class DeleteUncommitted:
    """Owners that are gone left Jobs in which no agent can have run; delete each by its UID."""

    jobs: tuple[JobSnapshot, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Supersede:
    """A committed Job never got its Secret, so its agent has not started.

    Create the Secret as a tombstone first (an existing tombstone will do), so that a late create of
    the former owner is refused; then delete the Job by its UID.
    """

    job: JobSnapshot
    reason: str


@dataclass(frozen=True, slots=True)
class StartNew:
    """Nothing of this agent is alive; create a Job.

    Attributes:
        attempt: Number of the attempt within this flow run, from 1, used by no Job so far.
    """

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reattach:
    """Make the Job ours by compare-and-swap and follow it to its end.

    Attributes:
        secret_missing: The pair is incomplete; create the Secret of this very Job. Only for Jobs
            of our own flow run, whose prompt is ours.
    """

    job: JobSnapshot
    secret_missing: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Harvest:
    """The Job has ended and nobody has stored its result; read its output and conclude.

    Attributes:
        then_start: The Job is another run's: conclude it under that run, look again and start ours.
        resume_session: Start ours in the session in which that run ended.
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
    """End the run with this code; nothing was created and nothing may be touched.

    Attributes:
        reason: The sentence people read.
        advice: What to do about it.
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
