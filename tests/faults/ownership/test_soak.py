"""Random faults, evictions and kills for a while: no invariant breaks, and every agent recovers."""

import os
import sys

import pytest

from tests.faults.ownership.soak import Soak
from tests.faults.world import World

_SEED = int(os.environ.get("SOAK_SEED", "1"))


def _check(world: World, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    report = Soak(world, _SEED, seconds).carry_out()
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert report.violations == []
    assert report.runs > 0


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(600)
def test_minute_of_faults_and_kills_breaks_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _check(world, 60, capsys)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_minutes_of_faults_and_kills_break_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _check(world, 600, capsys)
