"""All measurements, one after the other, on one cluster.

    python -m bench [--full] [--plots]

Prints every table with its goals, met or missed, and ends with 1 where one is missed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import (
    api_requests,
    end_delay,
    guard_cost,
    line_delay,
    line_loss,
    parse_speed,
    transcript_memory,
)
from bench.contestants import installed_contestants
from bench.figures import Goal, Table
from bench.plots import plot_delays
from bench.surroundings import cluster, describe, show

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    ends: int
    delay_rounds: int
    loss_rounds: int
    seconds: int
    starts: int
    memory: transcript_memory.Extent
    sizes: tuple[int, ...]


_SUBSET = Extent(
    ends=end_delay.SUBSET_ENDS,
    delay_rounds=line_delay.SUBSET_ROUNDS,
    loss_rounds=line_loss.SUBSET_ROUNDS,
    seconds=api_requests.SUBSET_SECONDS,
    starts=api_requests.SUBSET_STARTS,
    memory=transcript_memory.SUBSET,
    sizes=guard_cost.SUBSET_SIZES,
)
_FULL = Extent(
    ends=end_delay.ENDS,
    delay_rounds=line_delay.ROUNDS,
    loss_rounds=line_loss.ROUNDS,
    seconds=api_requests.SECONDS,
    starts=api_requests.STARTS,
    memory=transcript_memory.FULL,
    sizes=guard_cost.SIZES,
)


def _scenarios(kubeconfig: str, extent: Extent) -> Iterator[Callable[[], tuple[Table, ...]]]:
    who = installed_contestants()
    yield lambda: (asyncio.run(end_delay.measure(kubeconfig, who, extent.ends)),)
    yield lambda: (asyncio.run(line_delay.measure(kubeconfig, who, extent.delay_rounds)),)
    yield lambda: (asyncio.run(line_loss.measure(kubeconfig, who, extent.loss_rounds)),)
    yield lambda: api_requests.measure_with_prefect(kubeconfig, who, extent.seconds, extent.starts)
    yield lambda: (transcript_memory.measure(kubeconfig, who, extent.memory),)
    yield lambda: (parse_speed.measure(),)
    yield lambda: (asyncio.run(guard_cost.measure(kubeconfig, who, extent.sizes)),)


def main() -> int:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more of everything")
    parser.add_argument("--plots", action="store_true", help="renew the plots; --group bench")
    asked = parser.parse_args()
    extent = _FULL if asked.full else _SUBSET
    began_at, goals, broken = time.monotonic(), list[Goal](), 0
    with cluster() as kubeconfig:
        _say(asyncio.run(describe(kubeconfig)))
        for measure in _scenarios(kubeconfig, extent):
            scenario_began_at = time.monotonic()
            try:
                tables = measure()
            except Exception as error:
                # What one of them meets must not cost the others' figures.
                _say(f"### not measured: {type(error).__name__}: {error}")
                broken += 1
                continue
            for table in tables:
                show(table)
                goals += table.goals
                if asked.plots and table.plot_name:
                    plot_delays(_FOLDER / f"{table.plot_name}.svg", table.title, table.samples)
            _say(f"Measured in {time.monotonic() - scenario_began_at:.0f} s.")
    missed = [goal for goal in goals if goal.is_missed]
    met = [goal for goal in goals if goal.measured is not None and not goal.is_missed]
    _say(f"{len(met)} goals met, {len(missed)} missed, in {time.monotonic() - began_at:.0f} s")
    for goal in missed:
        _say(f"- {goal.render()}")
    return int(bool(missed or broken))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
