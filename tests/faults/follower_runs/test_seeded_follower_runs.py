"""Followers of agents on the embedded cluster, whose streams break all the time.

`many_runs` makes them by hand, with any seed.
"""

from pathlib import Path

import pytest

from tests.faults.follower_runs.many_runs import make_runs
from tests.faults.follower_runs.run_plan import plan_run
from tests.faults.world import World

_SEED = 1
_RUNS = 1000
# Of the slice: each fault in a row doubles the follower's wait, and a run of many takes a minute.
_SLICE_RUNS = 24
_SLICE_FAULTS = 7


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(300)
async def test_slice_of_the_seeded_runs_loses_and_doubles_nothing(
    world: World, tmp_path: Path
) -> None:
    plans = (plan_run(_SEED, index) for index in range(_RUNS))
    few_faults = [plan for plan in plans if len(plan.log_faults) <= _SLICE_FAULTS]
    reports = await make_runs(few_faults[:_SLICE_RUNS], world, tmp_path)

    assert len(reports) == _SLICE_RUNS
    assert [report for report in reports if report.problems] == []


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_thousand_seeded_runs_lose_and_double_nothing(world: World, tmp_path: Path) -> None:
    plans = (plan_run(_SEED, index) for index in range(_RUNS))
    reports = await make_runs(plans, world, tmp_path)

    assert len(reports) == _RUNS
    assert [report for report in reports if report.problems] == []
