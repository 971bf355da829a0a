"""Recorded scenarios by name, several at a time, on one embedded cluster.

    python -m tests.faults.scenarios.many_scenarios --report FILE [NAME ...]

Needs PREFECT_API_URL. Without names all are made. The report is JSON: problems by name.
`--kubeconfig` and `--runs-kubeconfig` name a fault cluster that runs already, as its administrator
and as the runs' user; without them one is started.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from tests.faults.scenarios.recorded_case import read_recorded_cases
from tests.faults.scenarios.scenario_run import NOT_DISTURBED, ScenarioReport, ScenarioRun
from tests.faults.scenarios.scenario_table import TABLE, Scenario
from tests.faults.world import World, run_world

_AT_A_TIME = 8
# A fault that comes too late on a busy machine proves nothing, neither way.
_MORE_TRIES = 2


async def make_scenarios(rows: list[Scenario], world: World) -> list[ScenarioReport]:
    """Make the scenarios; those that need settings of the whole cluster after the others."""
    cases = read_recorded_cases()
    places = asyncio.Semaphore(_AT_A_TIME)
    reports: list[ScenarioReport] = []

    async def make(row: Scenario) -> None:
        async with places:
            report = await make_once(row)
            for _ in range(_MORE_TRIES):
                if report.problems == (NOT_DISTURBED,):
                    report = await make_once(row)
        reports.append(report)

    async def make_once(row: Scenario) -> ScenarioReport:
        scenario = await asyncio.to_thread(ScenarioRun, world, row, cases[row.case])
        report = await scenario.run()
        _tell(str(report))
        return report

    ordered = sorted(rows, key=lambda row: row.late_status_seconds)
    for seconds, group in groupby(ordered, key=lambda row: row.late_status_seconds):
        world.api.ok("PUT", "/_faults/settings", {"lateStatusSeconds": seconds})
        async with asyncio.TaskGroup() as tasks:
            for row in group:
                tasks.create_task(make(row))
    return reports


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Make the scenarios that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.scenarios.many_scenarios")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--runs-kubeconfig", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    rows = [row for row in TABLE if not options.names or row.case in options.names]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        if options.kubeconfig is None:
            world = stack.enter_context(run_world(folder))
        else:
            world = World(options.kubeconfig, options.runs_kubeconfig, folder)
            stack.callback(world.end)
        os.environ["KUBECONFIG"] = str(world.runs_kubeconfig)
        # Each run in the main thread would want the process's signals for itself alone.
        thread = stack.enter_context(ThreadPoolExecutor(1))
        reports = thread.submit(asyncio.run, make_scenarios(rows, world)).result()
    wrong = [report for report in reports if report.problems]
    _tell(f"{len(reports)} scenarios, {len(wrong)} wrong")
    if options.report is not None:
        found = {report.case: list(report.problems) for report in reports}
        options.report.write_text(json.dumps(found))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
