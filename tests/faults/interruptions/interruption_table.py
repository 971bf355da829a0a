"""What must be left when a run is interrupted: one row for each stage and interruption."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where the run is held; in parentheses what the cluster has got of it by then."""

    GUARD = "guard"  # the Lease
    JOB = "Job"  # an inert Job, whose creation was not answered yet
    COMMIT = "commit"  # a committed Job without Secret; the commit was not answered yet
    SECRET = "Secret"  # all, and the agent starts; the Secret's creation was not answered yet
    POD_WAIT = "pod wait"  # a pod that lacks something
    STREAMING = "streaming"  # an agent that talks
    COMPLETION = "completion"  # an agent that has ended, which its node has not reported yet
    RESULT = "result"  # an ended Job; the storage has not answered yet
    CLEANUP = "cleanup"  # an ended Job and a stored result; the Job is not marked yet


class Interruption(StrEnum):
    """What happens to the run while it is held."""

    CANCEL = "cancel"
    CANCEL_IN_WORKER = "cancel in a worker"
    SIGTERM_CHILD = "SIGTERM child"
    SIGKILL_CHILD = "SIGKILL child"
    SIGTERM_PARENT = "SIGTERM parent"
    SIGKILL_PARENT = "SIGKILL parent"
    RESCHEDULE = "reschedule"
    RELINQUISH = "relinquish"
    OWN_BOUND = "own bound reached"
    PREFECT_DOWN = "Prefect API down"
    KUBERNETES_DOWN = "Kubernetes API down"


class Host(StrEnum):
    """What starts the run's process, and watches it."""

    SERVE = "serve()"
    WORKER = "process worker"
    EXECUTE = "prefect flow-run execute"  # as in the pods of a Kubernetes worker


HOSTS = {
    Interruption.CANCEL: Host.SERVE,
    Interruption.CANCEL_IN_WORKER: Host.WORKER,
    Interruption.SIGTERM_CHILD: Host.WORKER,
    Interruption.SIGKILL_CHILD: Host.SERVE,
    Interruption.SIGTERM_PARENT: Host.WORKER,
    Interruption.SIGKILL_PARENT: Host.SERVE,
    Interruption.RESCHEDULE: Host.EXECUTE,
    Interruption.RELINQUISH: Host.EXECUTE,
    Interruption.OWN_BOUND: Host.SERVE,
    Interruption.PREFECT_DOWN: Host.WORKER,
    Interruption.KUBERNETES_DOWN: Host.SERVE,
}


class Jobs(StrEnum):
    """What there is of the run's Job before anybody follows."""

    NONE = "no Job, no Secret"
    INERT = "a Job without Secret"
    ALIVE = "a Job with its Secret, neither ended nor being deleted"
    ENDED = "a Job that has ended by itself, with its Secret"


class Follows(StrEnum):
    """The run that comes after it, and what that one does; its transcript is whole in each."""

    NOBODY = "nobody: the run itself goes on to its end"
    SAME_STARTS = "the same flow run again, with an agent of its own"
    SAME_CONTINUES = "the same flow run again, with the agent there was"
    NEW_STARTS = "a new run of the task, with an agent of its own"
    NEW_CONTINUES = "a new run of the task, with the agent there was"
    NEW_KEEPS = "a new run, which first keeps the ended agent's result, then starts its own"


@dataclass(frozen=True)
class Expected:
    """How it must end.

    Attributes:
        state: Of the interrupted flow run, type and name.
        lease: Whether the Lease is still held.
    """

    state: str
    jobs: Jobs
    lease_held: bool
    follows: Follows


CANCELLED, CRASHED = "CANCELLED/Cancelled", "CRASHED/Crashed"
COMPLETED, ZOMBIE = "COMPLETED/Completed", "RUNNING/Running"
RELEASED, HELD = False, True

_CANCELLED_BEFORE_THE_END = Expected(CANCELLED, Jobs.NONE, RELEASED, Follows.NEW_STARTS)
# What the agent has done is done: its result is kept.
_CANCELLED_AFTER_THE_END = Expected(CANCELLED, Jobs.ENDED, RELEASED, Follows.NEW_STARTS)
_GOES_ON = Expected(COMPLETED, Jobs.ENDED, RELEASED, Follows.NOBODY)

# Each row is in the order of the stages.
_ROWS: dict[Interruption, tuple[Expected | str, ...]] = {
    Interruption.CANCEL: (
        *(_CANCELLED_BEFORE_THE_END,) * 7,
        *(_CANCELLED_AFTER_THE_END,) * 2,
    ),
    Interruption.CANCEL_IN_WORKER: (
        *(_CANCELLED_BEFORE_THE_END,) * 7,
        *(_CANCELLED_AFTER_THE_END,) * 2,
    ),
    Interruption.SIGTERM_CHILD: (
        Expected(CRASHED, Jobs.NONE, RELEASED, Follows.SAME_STARTS),
        Expected(CRASHED, Jobs.INERT, RELEASED, Follows.SAME_STARTS),
        Expected(CRASHED, Jobs.INERT, RELEASED, Follows.SAME_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, RELEASED, Follows.SAME_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, RELEASED, Follows.SAME_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, RELEASED, Follows.SAME_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, RELEASED, Follows.SAME_CONTINUES),
        Expected(CRASHED, Jobs.ENDED, RELEASED, Follows.SAME_CONTINUES),
        Expected(CRASHED, Jobs.ENDED, RELEASED, Follows.SAME_CONTINUES),
    ),
    Interruption.SIGKILL_CHILD: (
        Expected(CRASHED, Jobs.NONE, HELD, Follows.NEW_STARTS),
        Expected(CRASHED, Jobs.INERT, HELD, Follows.NEW_STARTS),
        Expected(CRASHED, Jobs.INERT, HELD, Follows.NEW_STARTS),
        Expected(CRASHED, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(CRASHED, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(CRASHED, Jobs.ENDED, HELD, Follows.NEW_KEEPS),
        Expected(CRASHED, Jobs.ENDED, HELD, Follows.NEW_KEEPS),
    ),
    # The parent kills its children and says nothing: the run stays in its state for ever.
    Interruption.SIGTERM_PARENT: (
        Expected(ZOMBIE, Jobs.NONE, HELD, Follows.NEW_STARTS),
        Expected(ZOMBIE, Jobs.INERT, HELD, Follows.NEW_STARTS),
        Expected(ZOMBIE, Jobs.INERT, HELD, Follows.NEW_STARTS),
        Expected(ZOMBIE, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ALIVE, HELD, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ENDED, HELD, Follows.NEW_KEEPS),
        Expected(ZOMBIE, Jobs.ENDED, HELD, Follows.NEW_KEEPS),
    ),
    # The child notices nothing.
    Interruption.SIGKILL_PARENT: (_GOES_ON,) * 9,
    # The run is put back into the queue, where the next process finds it: see `follows` alone.
    Interruption.RESCHEDULE: (
        Expected(COMPLETED, Jobs.ENDED, RELEASED, Follows.SAME_STARTS),
        Expected(COMPLETED, Jobs.ENDED, RELEASED, Follows.SAME_STARTS),
        *(Expected(COMPLETED, Jobs.ENDED, RELEASED, Follows.SAME_CONTINUES),) * 7,
    ),
    Interruption.RELINQUISH: (
        Expected(ZOMBIE, Jobs.NONE, RELEASED, Follows.NEW_STARTS),
        Expected(ZOMBIE, Jobs.INERT, RELEASED, Follows.NEW_STARTS),
        Expected(ZOMBIE, Jobs.INERT, RELEASED, Follows.NEW_STARTS),
        Expected(ZOMBIE, Jobs.ALIVE, RELEASED, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ALIVE, RELEASED, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ALIVE, RELEASED, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ALIVE, RELEASED, Follows.NEW_CONTINUES),
        Expected(ZOMBIE, Jobs.ENDED, RELEASED, Follows.NEW_KEEPS),
        Expected(ZOMBIE, Jobs.ENDED, RELEASED, Follows.NEW_KEEPS),
    ),
    Interruption.OWN_BOUND: (
        Expected("FAILED/Guard unreachable", Jobs.NONE, RELEASED, Follows.NEW_STARTS),
        # One call's bound: it is made again, and its own first try recognised.
        *(_GOES_ON,) * 3,
        Expected("FAILED/Pod not started", Jobs.NONE, RELEASED, Follows.NEW_STARTS),
        Expected("FAILED/TimedOut", Jobs.ENDED, RELEASED, Follows.NEW_STARTS),
        "an agent that has ended is known to have ended, if not from its node then from the Job; "
        "the bound around both is the sum of all limits",
        "every write has 120 s: tests of the result storage wait for less",
        # The result stands; the Job is left to its TTL, or to who comes next.
        Expected(COMPLETED, Jobs.ENDED, RELEASED, Follows.NEW_KEEPS),
    ),
    Interruption.PREFECT_DOWN: (_GOES_ON,) * 9,
    Interruption.KUBERNETES_DOWN: (_GOES_ON,) * 9,
}

TABLE: dict[tuple[Interruption, Stage], Expected] = {
    (interruption, stage): expected
    for interruption, row in _ROWS.items()
    for stage, expected in zip(Stage, row, strict=True)
    if isinstance(expected, Expected)
}
IMPOSSIBLE: dict[tuple[Interruption, Stage], str] = {
    (interruption, stage): why
    for interruption, row in _ROWS.items()
    for stage, why in zip(Stage, row, strict=True)
    if isinstance(why, str)
}
