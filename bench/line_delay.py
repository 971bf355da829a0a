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
from tasks.cluster.client import ClusterClient

RATES = (50, 5_000)
ROUNDS = 3
_SECONDS = 5.0
_P50_RATIO_MAX = 2.0
# Whoever looks every second has begun to follow by then.
_LATECOMERS_SECONDS = 2.0
_PRINT = """exec python3 -u -c '
import time
time.sleep({wait})
start = time.time()
for number in range({lines}):
    early = start + number / {rate} - time.time()
    if early > 0:
        time.sleep(early)
    print(time.time())
'"""


@dataclass
class Delays:
    """Of one contestant's lines, in milliseconds.

    Attributes:
        failures: Why it gave up, where it did.
    """

    values: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])

    def take(self, payload: bytes) -> None:
        """Note a line that has come now."""
        self.values.append((time.time() - float(payload)) * 1000)

    async def add(
        self, contestant: str, client: ClusterClient, space: str, way: str, rate: int
    ) -> None:
        """Have one Job print for some seconds."""
        command = _PRINT.format(wait=_LATECOMERS_SECONDS, lines=int(rate * _SECONDS), rate=rate)
        ending = await carry_out(
            CONTESTANTS[contestant], client, space, way, command, python_image(), self.take
        )
        if ending.failure:
            self.failures.append(ending.failure)


async def measure(
    kubeconfig: str, contestants: Sequence[str], rounds: int, rates: Sequence[int] = RATES
) -> Table:
    """Let each contestant in turn follow an agent, at each rate."""
    # How often it asks for the Job's state makes no difference to its lines.
    names = [name for name in contestants if name != BLOCK_DEFAULT]
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    notes: list[str] = []
    samples: dict[str, list[float]] = {}
    async with namespace_of_own(kubeconfig) as (client, space):
        for rate in rates:
            found = {f"{name}, {rate:,}/s": Delays() for name in names}
            for _ in range(rounds):
                for name in names:
                    delays = found[f"{name}, {rate:,}/s"]
                    await delays.add(name, client, space, kubeconfig, rate)
            values = {name: delays.values for name, delays in found.items()}
            samples |= values
            rows += spread_rows(values, f"{KUBECTL}, {rate:,}/s")
            goals.append(_goal(values, rate))
            notes += [f"{n}: {d.failures[0]}" for n, d in found.items() if d.failures]
    return Table(
        "(b) from a line's print to having it, ms",
        ("", *SPREAD_COLUMNS),
        tuple(rows),
        tuple(goals),
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
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Jobs of each at each rate")
    rounds = parser.parse_args().rounds
    with cluster() as kubeconfig:
        return show(asyncio.run(measure(kubeconfig, installed_contestants(), rounds)))


if __name__ == "__main__":
    sys.exit(main())
