"""Runs of a follower by the hundred, several at a time, on one embedded cluster.

    python -m tests.faults.follower_runs.many_runs --seed 1 --runs 1000
    python -m tests.faults.follower_runs.many_runs --seed 1 --first 417 --runs 1

The agents' output, every fault and its place, and the restarts of the API server are the same
whenever the seed and the run's number are. What meets what in time is the machine's affair: a run
that failed among others is more likely to fail again among them (`--first 400 --runs 40`).
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.embedded.local_api import Space
from tests.faults.follower_runs.run_plan import ROTATION_BYTES, RunPlan, plan_run
from tests.faults.follower_runs.seeded_run import RunReport, SeededRun
from tests.faults.world import World, run_world

_AT_A_TIME = 16
_SETTINGS = {
    "rotationBytes": ROTATION_BYTES,
    "rotationIntervalSeconds": 0.2,
    "lateStatusSeconds": 2,
}


async def make_runs(plans: Iterable[RunPlan], world: World, folder: Path) -> list[RunReport]:
    """Make the runs, telling of each as it ends."""
    world.api.ok("PUT", "/_faults/settings", _SETTINGS)
    namespace = Space(world.api).name
    began = time.monotonic()
    restarting = asyncio.Lock()
    reports: list[RunReport] = []
    left = iter(plans)

    async def make_some() -> None:
        for plan in left:
            run = SeededRun(plan, world.kubeconfig, namespace, folder, restarting)
            reports.append(await run.run())
            _tell(str(reports[-1]))
            if reports[-1].problems:
                _tell(
                    "  again: uv run python -m tests.faults.follower_runs.many_runs "
                    f"--seed {plan.seed} --first {plan.index} --runs 1"
                )

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_A_TIME):
            group.create_task(make_some())
    _tell(_sum_up(reports, time.monotonic() - began))
    return reports


def _sum_up(reports: list[RunReport], seconds: float) -> str:
    totals: Counter[str] = Counter()
    for report in reports:
        totals.update(report.figures)
    wrong = sorted(report.index for report in reports if report.problems)
    return (
        f"{len(reports)} runs in {seconds:.0f} s, {len(reports) - len(wrong)} whole and proven, "
        f"{len(wrong)} wrong {wrong or ''}\n"
        + ", ".join(f"{name} {count:,}" for name, count in totals.items())
    )


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Make the runs that the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.follower_runs.many_runs")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_world(folder) as world:
            _tell(f"seed {options.seed}")
            indexes = range(options.first, options.first + options.runs)
            plans = (plan_run(options.seed, index) for index in indexes)
            reports = asyncio.run(make_runs(plans, world, folder))
    return int(any(report.problems for report in reports))


if __name__ == "__main__":
    sys.exit(main())
