"""No silence, no dropped stream, no late or failed read ends a live run or deletes its Job.

The rows are in `disturbance_table.py`. Longer silences than six minutes are judged by an injected
clock in `unit/observation/test_completion_rules.py` and `follower/test_log_follower_patience.py`.
"""

from pathlib import Path

import pytest

from tests.faults.live_runs.disturbance_table import TABLE, Disturbance
from tests.faults.live_runs.live_run import LiveRun, printed_lines
from tests.faults.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def live_run(world: World, tmp_path: Path) -> LiveRun:
    tmp_path.chmod(0o755)
    return LiveRun(world, tmp_path)


QUICK = [row for row in TABLE if row.quick]
SLOW = [row for row in TABLE if not row.quick]


def assert_run_goes_on(live_run: LiveRun, row: Disturbance) -> None:
    outcome = live_run.carry_out(row)

    assert outcome["error_code"] is None, outcome["message"]
    assert outcome["transcript"]["complete"] is True
    assert outcome["transcript"]["missing"] == []
    words = outcome["transcript"]["lines"] - 2
    assert words >= 3
    assert live_run.world.stored_lines(outcome) == printed_lines(words)
    assert live_run.logged_words() == list(range(1, words + 1))


@pytest.mark.slice
@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.name)
def test_run_goes_on_to_its_success(live_run: LiveRun, row: Disturbance) -> None:
    assert_run_goes_on(live_run, row)


@pytest.mark.parametrize("row", SLOW, ids=lambda row: row.name)
def test_each_run_goes_on_to_its_success(live_run: LiveRun, row: Disturbance) -> None:
    assert_run_goes_on(live_run, row)
