"""A run's process is stopped at one of its writes, another takes over, and the first goes on.

Stopped in two ways: its call is already on the way and takes effect late, or it has had its effect
and the process does not know yet. What it does when it goes on must neither delete nor change
anything of its successor's.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import pytest

from tests.faults.ownership.rival_runs import Rivals
from tests.faults.run_processes import RunProcess
from tests.faults.world import World

_RUN_SECONDS = 180.0
_JOB_GONE = "k8s_job_deleted_externally"
_BLOCKED = "k8s_concurrent_run_blocked"
# With it an agent lives until its next owner has come.
_SLOW_LINE_SECONDS = 0.5
_AT_ONCE = 6


class Orphan(StrEnum):
    """What a run that is gone has left before."""

    NOTHING = "nothing"
    INERT = "a Job"
    COMMITTED = "a committed Job"
    LIVE = "a live agent"


@dataclass(frozen=True)
class Write:
    """One write of a run.

    Attributes:
        skip: How many of this kind it makes before.
        finds: What the run finds when it begins.
        is_cancelled: It makes this write because it is cancelled.
        is_last: Its agent has ended well by then, so that the run may do so too.
    """

    name: str
    verb: str
    resource: str
    skip: int = 0
    finds: Orphan = Orphan.NOTHING
    is_cancelled: bool = False
    is_last: bool = False


_WRITES = (
    Write("take the first Lease", "create", "leases"),
    Write("take an expired Lease", "update", "leases", finds=Orphan.INERT),
    Write("delete an uncommitted Job", "delete", "jobs", finds=Orphan.INERT),
    Write("revoke a Secret", "create", "secrets", finds=Orphan.COMMITTED),
    Write("delete a revoked Job", "delete", "jobs", finds=Orphan.COMMITTED),
    Write("adopt a Job", "patch", "jobs", finds=Orphan.LIVE),
    Write("create the Job", "create", "jobs"),
    Write("commit the Job", "update", "leases"),
    Write("create the Secret", "create", "secrets"),
    Write("end a cancelled agent", "delete", "jobs", is_cancelled=True),
    Write("mark the Job", "patch", "jobs", is_last=True),
    Write("release the Lease", "update", "leases", skip=1, is_last=True),
)


@dataclass(frozen=True)
class Case:
    """One write, how it is interrupted, and who comes next."""

    write: Write
    is_late: bool
    same_run: bool

    def __str__(self) -> str:
        how = "late" if self.is_late else "unheard"
        return f"{self.write.name}, {how}, {'itself' if self.same_run else 'another run'} follows"


def _cases() -> Iterator[Case]:
    for write in _WRITES:
        for is_late in (True, False):
            for same_run in (True, False):
                yield Case(write, is_late, same_run)


_QUICK = (
    "delete an uncommitted Job, late, itself follows",
    "adopt a Job, late, another run follows",
    "create the Job, late, itself follows",
    "create the Job, unheard, another run follows",
    "commit the Job, late, itself follows",
    "commit the Job, unheard, another run follows",
    "create the Secret, late, another run follows",
    "end a cancelled agent, late, itself follows",
    "mark the Job, late, another run follows",
)


def _leave(rivals: Rivals, orphan: Orphan) -> None:
    """Have an earlier run leave something and be gone."""
    held = {Orphan.INERT: ("create", "jobs"), Orphan.COMMITTED: ("update", "leases")}
    if orphan is Orphan.NOTHING:
        return
    verb, resource = held.get(orphan, ("none", "none"))
    barrier = rivals.hold({"verb": verb, "resource": resource}, after=True)
    former = rivals.start()
    if orphan is Orphan.LIVE:
        rivals.until(rivals.is_live)
    else:
        rivals.until(lambda: rivals.is_held(barrier))
    former.kill()
    rivals.release(barrier)
    rivals.expire_lease()


def _stop_at(world: World, rivals: Rivals, case: Case) -> tuple[RunProcess, str]:
    """Start a run and stop its process at its write; returns the barrier as well."""
    write = case.write
    match = {"verb": write.verb, "resource": write.resource}
    barrier = rivals.hold(match, skip=write.skip, after=not case.is_late)
    run = rivals.start()
    if write.is_cancelled:
        rivals.until(rivals.is_live)
        world.record.allow_deletions(rivals.name)
        run.signal(signal.SIGUSR1)
    rivals.until(lambda: rivals.is_held(barrier), 60)
    run.signal(signal.SIGSTOP)
    return run, barrier


def _check(world: World, case: Case, *, in_real_time: bool) -> None:
    """Carry out a case.

    Args:
        world: The cluster.
        case: The case.
        in_real_time: Let the Lease's duration pass; otherwise the Lease is made to look old, and
            the stopped process does not learn by its clock how long it was away.
    """
    rivals = Rivals(world, _SLOW_LINE_SECONDS)
    try:
        _leave(rivals, case.write.finds)
        stopped, barrier = _stop_at(world, rivals, case)
        former_holder = rivals.lease_holder
        if not case.is_late:
            rivals.release(barrier)
        if not in_real_time:
            rivals.expire_lease()
        follower = rivals.start(stopped.flow_run_id if case.same_run else None)
        rivals.wait_for_successor(former_holder, follower)
        if case.is_late:
            rivals.release(barrier)
        stopped.signal(signal.SIGCONT)
        _check_outcomes(rivals, case, stopped, follower, in_real_time=in_real_time)
        rivals.check_nothing_is_left()
    finally:
        rivals.clear_away()


def _check_outcomes(
    rivals: Rivals,
    case: Case,
    stopped: RunProcess,
    follower: RunProcess,
    *,
    in_real_time: bool,
) -> None:
    theirs, ours = follower.wait(_RUN_SECONDS), stopped.wait(_RUN_SECONDS)
    assert theirs["error_code"] is None, rivals.describe()
    assert theirs["transcript"]["complete"], rivals.describe()
    if ours["error_code"] == _BLOCKED:
        return
    # It may have waited for its successor's end, or it had only to read on; in time it steps back.
    waited = case.write.resource == "leases" and case.write.name.startswith("take")
    read_on = case.write.is_last or not in_real_time
    assert waited or read_on or case.write.is_cancelled, rivals.describe()
    # Another run clears a Job away that has no prompt yet: seen before the Lease is renewed.
    is_cleared_away = not case.same_run and not in_real_time
    allowed = {None: True, "cancelled": case.write.is_cancelled, _JOB_GONE: is_cleared_away}
    assert allowed.get(ours["error_code"]), rivals.describe()


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(400)
@pytest.mark.parametrize("case", [case for case in _cases() if str(case) in _QUICK], ids=str)
def test_stopped_run_leaves_its_successor_alone(world: World, case: Case) -> None:
    _check(world, case, in_real_time=False)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [case for case in _cases() if str(case) not in _QUICK], ids=str)
def test_run_stopped_at_any_write_leaves_its_successor_alone(world: World, case: Case) -> None:
    _check(world, case, in_real_time=False)


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(300)
@pytest.mark.parametrize("same_run", [True, False], ids=["itself", "another run"])
def test_run_whose_call_fails_while_its_successor_works_is_blocked(
    world: World, same_run: bool
) -> None:
    """It may learn of that before its next renewal is refused."""
    rivals = Rivals(world, _SLOW_LINE_SECONDS)
    adoption = {"verb": "patch", "resource": "jobs"}
    try:
        _leave(rivals, Orphan.LIVE)
        barrier = rivals.hold(adoption, drop=True)
        stopped = rivals.start()
        rivals.until(lambda: rivals.is_held(barrier), 60)
        stopped.signal(signal.SIGSTOP)
        former_holder = rivals.lease_holder
        rivals.expire_lease()
        follower = rivals.start(stopped.flow_run_id if same_run else None)
        rivals.wait_for_successor(former_holder, follower)
        rivals.refuse(adoption)
        rivals.release(barrier)
        stopped.signal(signal.SIGCONT)
        outcome = stopped.wait(_RUN_SECONDS)
        assert outcome["error_code"] == _BLOCKED, rivals.describe()
        assert ("steps back" in stopped.log) is same_run, rivals.describe()
        assert follower.wait(_RUN_SECONDS)["error_code"] is None, rivals.describe()
    finally:
        rivals.clear_away()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_run_stopped_for_longer_than_its_lease_steps_back(world: World) -> None:
    """All cases, several at once, since each waits for a minute."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        checks = {
            str(case): pool.submit(_check, world, case, in_real_time=True) for case in _cases()
        }
    errors = {name: check.exception() for name, check in checks.items()}
    failures = [f"{name}: {error}" for name, error in errors.items() if error is not None]
    assert not failures, "\n\n".join(failures)
