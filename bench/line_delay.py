"""From an agent's print to the line in somebody's hands, at 50 and 5,000 lines a second.

    python -m bench.line_delay

Both instants are of this machine's clock, so the cluster's node must be this machine. The embedded
cluster looks at its log files every 100 ms, so a real node says more.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contestants import (
    BLOCK_DEFAULT,
    CONTESTANTS,
    KUBECTL,
    OWN,
    carry_out,
    installed_contestants,
    name_gaps,
)
from bench.figures import SPREAD_COLUMNS, Goal, Table, median, spread_rows
from bench.surroundings import cluster, namespace_of_own, python_image, show
from tasks.cluster.cluster_client import ClusterClient

RATES = (50, 5_000)
ROUNDS = 10
SUBSET_ROUNDS = 3
_SECONDS = 1.5
_REST_SECONDS = 0.5  # between one rate and the next
_P50_RATIO_MAX = 2.0
# Whoever looks every second has begun to follow by then.
_LATECOMERS_SECONDS = 2.0
_PRINT = """exec python3 -u -c '
import time
time.sleep({wait})
for rate in {rates}:
    start = time.time()
    for number in range(int(rate * {seconds})):
        early = start + number / rate - time.time()
        if early > 0:
            time.sleep(early)
        print(rate, time.time())
    time.sleep({rest})
'"""


@dataclass
class Delays:
    """Of one contestant's lines, in milliseconds.

    Attributes:
        values: By rate.
        failures: Why it gave up, where it did.
    """

    values: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    failures: list[str] = field(default_factory=list[str])

    def take(self, payload: bytes) -> None:
        """Note a line that has come now."""
        now = time.time()
        rate, _, printed_at = payload.partition(b" ")
        self.values.setdefault(int(rate), []).append((now - float(printed_at)) * 1000)

    async def add(self, contestant: str, client: ClusterClient, space: str, way: str) -> None:
        """Have one Job print for some seconds at each rate."""
        command = _PRINT.format(
            wait=_LATECOMERS_SECONDS, rates=RATES, seconds=_SECONDS, rest=_REST_SECONDS
        )
        ending = await carry_out(
            CONTESTANTS[contestant], client, space, way, command, python_image(), self.take
        )
        if ending.failure:
            self.failures.append(ending.failure)


async def measure(kubeconfig: str, contestants: Sequence[str], rounds: int) -> Table:
    """Let each contestant in turn follow an agent, again and again."""
    # How often it asks for the Job's state makes no difference to its lines.
    found = {name: Delays() for name in contestants if name != BLOCK_DEFAULT}
    async with namespace_of_own(kubeconfig) as (client, space):
        for _ in range(rounds):
            for name, delays in found.items():
                await delays.add(name, client, space, kubeconfig)
    rows: list[tuple[str, ...]] = []
    samples: dict[str, list[float]] = {}
    for rate in RATES:
        values = {f"{name}, {rate:,}/s": it.values.get(rate, []) for name, it in found.items()}
        samples |= values
        rows += spread_rows(values, f"{KUBECTL}, {rate:,}/s")
    notes = [f"{name}: {delays.failures[0]}" for name, delays in found.items() if delays.failures]
    return Table(
        "(b) from a line's print to having it, ms",
        ("", *SPREAD_COLUMNS),
        tuple(rows),
        tuple(_goal(samples, rate) for rate in RATES),
        (*notes, *name_gaps(contestants)),
        samples,
        "line_delay",
    )


def _goal(values: dict[str, list[float]], rate: int) -> Goal:
    own = values[f"{OWN}, {rate:,}/s"]
    floor = values.get(f"{KUBECTL}, {rate:,}/s")
    measured = median(own) / median(floor) if own and floor else None
    return Goal(f"our median at {rate:,}/s, compared with kubectl's", measured, _P50_RATIO_MAX, "×")


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Jobs of each")
    rounds = parser.parse_args().rounds
    with cluster() as kubeconfig:
        return show(asyncio.run(measure(kubeconfig, installed_contestants(), rounds)))


if __name__ == "__main__":
    sys.exit(main())
