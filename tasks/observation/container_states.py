"""What the kubelet said about a container: waiting, running or terminated.

The kubelet sometimes writes an ending that nobody observed; such a placeholder reads as unknown,
since a run's outcome must never be better than the facts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from tasks.observation.api_fields import (
    RawObject,
    instant_at,
    integer_at,
    object_at,
    objects_at,
    text_at,
)
from tasks.vocabulary.error_codes import Cause

# The kubelet gives these reasons to a container whose process was never started.
_NEVER_STARTED = frozenset({"ContainerCannotRun", "CreateContainerError", "StartError"})
# Its ending was not observed; the exit code beside it is a placeholder.
_STATUS_UNKNOWN = "ContainerStatusUnknown"
# StartError on containerd carries the zero time as the start.
_ZERO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

# Containers end by their node's clock; conditions, Events and deletions have the times of the API
# server's machine. The two differ by seconds where only NTP keeps them together.
CLOCK_SLACK = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ContainerWaiting:
    """The container has not started yet, or waits to be started again."""

    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerRunning:
    """The container's process runs."""

    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContainerTerminated:
    """The container has ended, or will never start.

    Attributes:
        exit_code: `None` where nobody observed it: the kubelet then writes a placeholder (137 with
            reason `ContainerStatusUnknown`, or on older nodes an empty state that reads as 0).
        message: The termination message that the container wrote, or the runtime's own.
        ran: Whether the process was started; `None` where that was not observed.
    """

    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    ran: bool | None = True

    @property
    def words(self) -> str:
        """How it ended, as the predicate of a sentence about it."""
        if self.ran is False:
            how = "could not be started"
        else:
            how = "ended" if self.exit_code is None else f"ended with exit code {self.exit_code}"
        return f"{how} ({self.reason})" if self.reason else how

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read `state.terminated`."""
        reason = text_at(raw, "reason")
        started_at = instant_at(raw, "startedAt")
        if started_at is not None and started_at <= _ZERO_TIME:
            started_at = None
        exit_code = integer_at(raw, "exitCode")
        evidence = [reason, started_at, text_at(raw, "finishedAt"), text_at(raw, "containerID")]
        observed = reason != _STATUS_UNKNOWN and (bool(exit_code) or any(evidence))
        return cls(
            exit_code=exit_code if observed else None,
            signal=integer_at(raw, "signal"),
            reason=reason,
            message=text_at(raw, "message"),
            started_at=started_at,
            finished_at=instant_at(raw, "finishedAt"),
            ran=_has_run(reason, started_at, observed=observed),
        )


def _has_run(reason: str | None, started_at: datetime | None, *, observed: bool) -> bool | None:
    if reason in _NEVER_STARTED:
        return False
    return True if observed or started_at is not None else None


@dataclass(frozen=True, slots=True)
class ContainerSnapshot:
    """A container's state: at most one of waiting, running and terminated is set.

    Attributes:
        was_lost: The kubelet knew it before, did not find it any more, and calls it waiting again.
        restarts: How often it was started again.
        last_terminated: How the run before the present state ended.
        runs_beside: An init container that is started again whenever it ends, a native sidecar: the
            agent's container waits for its start, not for its end.
        starts_again: Whether it is an init container that has failed, and that the kubelet starts
            again by its own restart policy, since its pod has not ended.
        started: Whether its start is complete, that is, its startup probe has succeeded; `None`
            where the kubelet does not say.
    """

    name: str
    waiting: ContainerWaiting | None = None
    running: ContainerRunning | None = None
    terminated: ContainerTerminated | None = None
    image: str | None = None
    was_lost: bool = False
    restarts: int = 0
    last_terminated: ContainerTerminated | None = None
    runs_beside: bool = False
    starts_again: bool = False
    started: bool | None = None

    @property
    def last_failure(self) -> ContainerTerminated | None:
        """How it failed last, unless it runs or has ended well since."""
        ended = self.terminated if self.terminated is not None else self.last_terminated
        return ended if ended and ended.exit_code and self.running is None else None

    @property
    def has_run(self) -> bool | None:
        """Whether its process was ever started; `None` where that cannot be told."""
        if self.terminated is not None:
            return self.terminated.ran
        # A container that is never started again was there before, and the kubelet lost it.
        return True if self.running is not None else (None if self.was_lost else False)

    @property
    def started_at(self) -> datetime | None:
        """When its process was started, by the node's clock; `None` where that was not seen."""
        if self.terminated is not None:
            return self.terminated.started_at
        return self.running.started_at if self.running is not None else None

    @classmethod
    def from_api(cls, raw: RawObject, *, runs_beside: bool = False) -> Self:
        """Read one item of `status.containerStatuses` or `status.initContainerStatuses`."""
        started = raw.get("started")
        state = object_at(raw, "state")
        waiting, running = object_at(state, "waiting"), object_at(state, "running")
        terminated = object_at(state, "terminated")
        last = object_at(object_at(raw, "lastState"), "terminated")
        return cls(
            name=text_at(raw, "name") or "",
            waiting=ContainerWaiting(text_at(waiting, "reason"), text_at(waiting, "message"))
            if isinstance(state.get("waiting"), Mapping)
            else None,
            running=ContainerRunning(instant_at(running, "startedAt"))
            if isinstance(state.get("running"), Mapping)
            else None,
            terminated=ContainerTerminated.from_api(terminated)
            if isinstance(state.get("terminated"), Mapping)
            else None,
            image=text_at(raw, "image"),
            was_lost=bool(last),
            restarts=integer_at(raw, "restartCount") or 0,
            last_terminated=ContainerTerminated.from_api(last) if last else None,
            runs_beside=runs_beside,
            started=started if isinstance(started, bool) else None,
        )


def init_containers_at(spec: RawObject, status: RawObject) -> tuple[ContainerSnapshot, ...]:
    """Read a pod's init containers, with what its spec says of their restarts.

    Args:
        spec: The pod's.
        status: The pod's; while its phase is Pending, an init container may be started again.
    """
    specs = {text_at(item, "name"): item for item in objects_at(spec, "initContainers")}
    may_start = text_at(status, "phase") == "Pending"
    found: list[ContainerSnapshot] = []
    for item in objects_at(status, "initContainerStatuses"):
        own = specs.get(text_at(item, "name"), {})
        read = ContainerSnapshot.from_api(item, runs_beside=own.get("restartPolicy") == "Always")
        code = read.terminated.exit_code if read.terminated else None
        again = may_start and not read.runs_beside and _restarts_after(own, code)
        found.append(replace(read, starts_again=again))
    return tuple(found)


def _restarts_after(spec: RawObject, exit_code: int | None) -> bool:
    """Tell whether a container is started again after it failed with this code.

    The first rule that names the code decides, else the container's own policy; the pod's is Never.
    """
    if not exit_code:
        return False
    for rule in objects_at(spec, "restartPolicyRules"):
        codes = object_at(rule, "exitCodes")
        values = codes.get("values")
        is_named = isinstance(values, list) and exit_code in values
        if is_named is (text_at(codes, "operator") != "NotIn"):
            return text_at(rule, "action") == "Restart"
    return text_at(spec, "restartPolicy") == "OnFailure"


def without_passed(containers: Sequence[ContainerSnapshot]) -> tuple[ContainerSnapshot, ...]:
    """Return the init containers but the native sidecars that the pod's start has passed.

    A later init container has run, so they had started; the kubelet starts them again beside it.
    """
    return tuple(
        item
        for number, item in enumerate(containers)
        if not (item.runs_beside and any(map(_has_ever_run, containers[number + 1 :])))
    )


def _has_ever_run(container: ContainerSnapshot) -> bool:
    return bool(container.running or container.terminated or container.last_terminated)


def cause_of_failed_init(ended: ContainerTerminated | None) -> Cause:
    """Return why an init container has failed; `None` where it is not known how it ended."""
    if ended is not None and ended.ran is False:
        return Cause.CONFIG_ERROR
    return Cause.OOM_KILLED if ended and ended.reason == "OOMKilled" else Cause.APP_EXIT


def find_failed(containers: Iterable[ContainerSnapshot]) -> ContainerSnapshot | None:
    """Return the first init container that ended with another exit code than 0, if one did.

    Those that the kubelet starts again do not count: native sidecars, and others whose own restart
    policy says so.
    """
    return next(
        (
            item
            for item in containers
            if not (item.runs_beside or item.starts_again)
            and item.terminated
            and item.terminated.exit_code
        ),
        None,
    )
