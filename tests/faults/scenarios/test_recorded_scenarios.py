"""What an adapter before us met, met by the whole flow: it ends at least as well as that did."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embedded.local_api import ROOT
from tests.faults.scenarios.recorded_case import read_recorded_cases
from tests.faults.scenarios.scenario_table import TABLE, Scenario
from tests.faults.world import World

# The first test of each kind waits for all of its kind, which are made at the same time.
pytestmark = pytest.mark.timeout(900)

QUICK = [row for row in TABLE if row.quick]
SLOW = [row for row in TABLE if not row.quick]

Reports = dict[str, list[str]]


@pytest.fixture(scope="session")
def quick_reports(lasting_world: World, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return make_scenarios(QUICK, lasting_world, tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="session")
def slow_reports(lasting_world: World, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return make_scenarios(SLOW, lasting_world, tmp_path_factory.mktemp("slow"))


def make_scenarios(rows: list[Scenario], world: World, folder: Path) -> Reports:
    """Make them in a process of their own; returns their problems by name."""
    report = folder / "report.json"
    made = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults.scenarios.many_scenarios"),
            *("--kubeconfig", world.kubeconfig, "--runs-kubeconfig", world.runs_kubeconfig),
            *("--report", report, *(row.case for row in rows)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PREFECT_API_URL": world.prefect.api_url,
            "PREFECT_HOME": str(world.prefect.home),
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            # The server's database is locked at times, when many runs begin on a busy machine.
            "PREFECT_CLIENT_MAX_RETRIES": "20",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    world.calm()
    world.leave_unjudged()
    assert report.exists(), made.stdout
    return json.loads(report.read_text())


def test_every_recorded_scenario_has_one_row() -> None:
    assert sorted(row.case for row in TABLE) == sorted(read_recorded_cases())
    assert all(row.because for row in TABLE)


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.case)
def test_recorded_scenario_ends_at_least_as_well(quick_reports: Reports, row: Scenario) -> None:
    assert quick_reports[row.case] == []


@pytest.mark.long
@pytest.mark.parametrize("row", SLOW, ids=lambda row: row.case)
def test_each_recorded_scenario_ends_at_least_as_well(slow_reports: Reports, row: Scenario) -> None:
    assert slow_reports[row.case] == []
