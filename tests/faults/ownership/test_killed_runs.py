"""Runs killed after each of their calls in turn: the next run succeeds, and never beside a twin."""

import pytest

from tests.faults.ownership.rival_runs import Rivals
from tests.faults.run_processes import RunProcess
from tests.faults.world import World

_RUN_SECONDS = 120.0
# More calls than a run makes, so that the count is the run's own.
_MOST_CALLS = 200


def _kill_after(rivals: Rivals, calls: int) -> RunProcess | None:
    """Kill a run when it makes its next call; `None` where it makes no more than these."""
    barrier = rivals.hold({}, skip=calls, drop=True)
    run = rivals.start(prompt="The first prompt.")
    rivals.until(lambda: rivals.is_held(barrier, 0.2) or run.outcome is not None, _RUN_SECONDS)
    if run.outcome is not None and not rivals.is_held(barrier):
        assert run.outcome["error_code"] is None, rivals.describe()
        return None
    run.kill()
    rivals.release(barrier)
    rivals.expire_lease()
    return run


def _kill_and_check(world: World, calls: int, *, same_run: bool) -> bool:
    """Tell whether there was a run to be killed after so many calls."""
    rivals = Rivals(world)
    try:
        killed = _kill_after(rivals, calls)
        if killed is None:
            return False
        prompt = "The first prompt." if same_run else "Another prompt."
        follower = rivals.start(killed.flow_run_id if same_run else None, prompt)
        outcome = follower.wait(_RUN_SECONDS)
        assert outcome["error_code"] is None, rivals.describe()
        assert outcome["transcript"]["complete"], rivals.describe()
        rivals.check_nothing_is_left()
        # Each prompt was handed over once.
        started = [pod for pod in world.record.pods_of(rivals.agent_id) if pod.exit_code == 0]
        assert 1 <= len(started) <= (1 if same_run else 2), rivals.describe()
    finally:
        rivals.clear_away()
    return True


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(300)
@pytest.mark.parametrize("calls", [3, 5, 8, 12])
def test_run_killed_after_a_call_is_continued_by_itself(world: World, calls: int) -> None:
    assert _kill_and_check(world, calls, same_run=True)


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(300)
@pytest.mark.parametrize("calls", [4, 6, 10])
def test_run_killed_after_a_call_is_followed_by_another(world: World, calls: int) -> None:
    assert _kill_and_check(world, calls, same_run=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("same_run", [True, False], ids=["itself", "another run"])
def test_run_killed_after_any_call_is_followed(world: World, same_run: bool) -> None:
    calls = 0
    while _kill_and_check(world, calls, same_run=same_run):
        calls += 1
        assert calls < _MOST_CALLS
    assert calls > 10
