"""What a follower of a pod's log can see, do and come back with."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class PodView:
    """How the agent's pod is seen right now.

    Attributes:
        container_started: The agent's container runs or has run.
        container_ended: It has ended.
        pod_gone: Deleted, or unknown to the API; an API that cannot be reached is neither.
        termination_message: The container's, once it has ended.
    """

    container_started: bool
    container_ended: bool
    pod_gone: bool
    termination_message: str | None = None


@dataclass(frozen=True)
class FollowLog:
    """Read the log and go on as it grows.

    Attributes:
        since_seconds: How far back to begin; None for the start of what the node has.
        silence_seconds: When to take the silence for a dead connection.
    """

    since_seconds: int | None
    silence_seconds: float


@dataclass(frozen=True)
class ReadLog:
    """Read the log as it is now.

    Attributes:
        since_seconds: As in `FollowLog`.
        silence_seconds: As in `FollowLog`.
        skips_gaps: Lines that are missing here are nowhere: give them up and read on.
    """

    since_seconds: int | None
    silence_seconds: float
    skips_gaps: bool = False


@dataclass(frozen=True)
class ReadCopy:
    """Read the pod's own copy from this line on, and the trailer if it is written.

    Attributes:
        holds: Have the script wait for an acknowledgement at its end, however little was printed:
            what the log does not tell is in the copy alone, and that goes with the container.
    """

    first_line: int
    holds: bool = False


@dataclass(frozen=True)
class SkipMissing:
    """Give up what is known to be missing next."""


@dataclass(frozen=True)
class Acknowledge:
    """Tell the script that nothing in the pod is needed any more."""


@dataclass(frozen=True)
class Pause:
    """Look again after this time, or when the pod's state has changed."""

    seconds: float


@dataclass(frozen=True)
class Stop:
    """Nothing more can be read.

    Attributes:
        gave_up: Why not all of it was read; None when the end was reached.
    """

    gave_up: str | None = None


LogRead = FollowLog | ReadLog
Attempt = LogRead | ReadCopy | Acknowledge
ReadStep = Attempt | SkipMissing | Pause | Stop


class ReadEnd(StrEnum):
    """How a read, or the acknowledgement, ended."""

    END_OF_FILE = "end_of_file"
    TRAILER = "trailer"
    GAP = "gap"
    SILENT = "silent"
    REPLACED = "replaced"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class ReadOutcome:
    """What an attempt brought.

    Attributes:
        end: How it ended.
        had_bytes: Whether anything came at all.
        progressed: Whether something new came.
        detail: What the server said to a failure, a sentence.
        retry_after_seconds: What the server asked for.
    """

    end: ReadEnd
    had_bytes: bool = False
    progressed: bool = False
    detail: str = ""
    retry_after_seconds: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it was refused or cut, rather than that it ended."""
        return self.end in _FAILURES


_FAILURES = {
    ReadEnd.NOT_FOUND,
    ReadEnd.FORBIDDEN,
    ReadEnd.REFUSED,
    ReadEnd.SERVER_ERROR,
    ReadEnd.UNAVAILABLE,
}
