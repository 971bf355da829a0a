"""Lost and doubled lines, where streams drop, logs rotate and the API server restarts.

    python -m bench.line_loss

All follow a Job each at the same time, so that the same happens to them. Streams are dropped by a
proxy before each of them; rotation and restart are the cluster's, an embedded one's.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.contestants import CONTESTANTS, OWN, Ending, carry_out, installed_contestants, name_gaps
from bench.counting_proxy import counting_proxy
from bench.figures import Goal, LineCount, Table, count_lines, render_line_counts
from bench.surroundings import cluster, makes_faults, namespace_of_own, show
from tasks.cluster.cluster_client import ClusterClient
from tests.cluster.contract_objects import IMAGE

_STEPS = 80
_LINES_PER_STEP = 50
_LINES = _STEPS * _LINES_PER_STEP
_PAD = "x" * 80
# Eight seconds of output, so that whoever looks every five seconds sees it come too.
_PRINT = (
    f"k=0; while [ $k -lt {_STEPS} ]; do "
    f"seq $((k * {_LINES_PER_STEP} + 1)) $((k * {_LINES_PER_STEP} + {_LINES_PER_STEP})) "
    f"| sed 's/$/ {_PAD}/'; sleep 0.1; k=$((k + 1)); done"
)
ROUNDS = 10
SUBSET_ROUNDS = 2
# Of the same disturbance: more would slow one another.
_ROUNDS_AT_ONCE = 2
_CUT_BYTES = 60_000
_DISTURBED_AFTER_SECONDS = 6.5
_RESTART_SECONDS = 1.0
# Reached once, somewhat after the middle.
_ROTATED = {"rotationBytes": 256 * 1024, "rotationIntervalSeconds": 0.5}
_UNROTATED = {"rotationBytes": 10 * 1024 * 1024, "rotationIntervalSeconds": 10.0}


@dataclass(frozen=True)
class Disturbance:
    """What happens while they follow.

    Attributes:
        cuts: How many times each one's log stream is cut.
        rotates: The node's log is rotated.
        restarts: The API server restarts.
    """

    name: str
    cuts: int = 0
    rotates: bool = False
    restarts: bool = False


_OF_STREAMS = (
    Disturbance("nothing"),
    Disturbance("1 stream drop", cuts=1),
    Disturbance("5 stream drops", cuts=5),
)
_OF_THE_CLUSTER = (
    Disturbance("1 log rotation", rotates=True),
    Disturbance("API server restart", restarts=True),
)


@dataclass
class Arrivals:
    """What one of them had."""

    numbers: list[int] = field(default_factory=list[int])
    ending: Ending = field(default_factory=lambda: Ending(0.0))

    def take(self, payload: bytes) -> None:
        """Note a line by its number."""
        self.numbers.append(int(payload.split(b" ", 1)[0]))

    @property
    def count(self) -> LineCount:
        """What was lost and doubled."""
        return count_lines(self.numbers, _LINES)


Round = dict[str, Arrivals]
"""What each contestant had in one round of a disturbance."""


async def measure(kubeconfig: str, contestants: Sequence[str], rounds: int) -> Table:
    """Let all follow under every disturbance, so many times."""
    had: dict[Disturbance, list[Round]] = {}
    async with namespace_of_own(kubeconfig) as (client, namespace):
        is_embedded = await makes_faults(client)
        scene = Scene(client, namespace, kubeconfig, contestants)
        gaps = [it.name for it in _OF_THE_CLUSTER if not is_embedded]
        for done in range(0, rounds, _ROUNDS_AT_ONCE):
            count = min(_ROUNDS_AT_ONCE, rounds - done)
            # Each run has its own drops; all share the cluster's.
            for turn in (_OF_STREAMS, *((it,) for it in _OF_THE_CLUSTER if is_embedded)):
                found = await asyncio.gather(*(scene.disturb(it, count) for it in turn))
                for disturbance, new in zip(turn, found, strict=True):
                    had.setdefault(disturbance, []).extend(new)
    every = [arrivals for found in had.values() for one in found for arrivals in one.items()]
    failures = {name: it.ending.failure for name, it in every if it.ending.failure}
    own = [it.count for name, it in every if name == OWN]
    notes = [f"{name} gave up with: {failure}" for name, failure in failures.items()]
    if gaps:
        notes.append(f"Only on an embedded cluster, so not measured: {', '.join(gaps)}.")
    return Table(
        f"(c) lost / doubled of {_LINES:,} lines, in {rounds} rounds",
        ("disturbance", *contestants),
        tuple(
            (disturbance.name, *(_render([one[name] for one in found]) for name in contestants))
            for disturbance, found in had.items()
        ),
        (
            Goal("lost by us in all rounds", sum(it.lost for it in own), 0, "lines"),
            Goal("doubled by us in all rounds", sum(it.doubled for it in own), 0, "lines"),
        ),
        (*notes, *name_gaps(contestants)),
    )


def _render(arrivals: Sequence[Arrivals]) -> str:
    """Say what one of them lost, and how often it broke off."""
    gave_up = sum(bool(it.ending.failure) for it in arrivals)
    counts = render_line_counts([it.count for it in arrivals])
    return f"{counts}, gave up {gave_up} ×" if gave_up else counts


@dataclass(frozen=True)
class Scene:
    """Where they follow."""

    client: ClusterClient
    namespace: str
    kubeconfig: str
    contestants: Sequence[str]

    async def disturb(self, disturbance: Disturbance, count: int) -> list[Round]:
        """Let all follow so many Jobs each, all at the same time, while it happens."""
        rounds = [{name: Arrivals() for name in self.contestants} for _ in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            disturbing = asyncio.create_task(self._make(disturbance))
            following = (
                self._follow(disturbance, name, had, Path(folder)) for had in rounds for name in had
            )
            await asyncio.gather(*following)
            await disturbing
        return rounds

    async def _follow(self, disturbance: Disturbance, name: str, had: Round, folder: Path) -> None:
        async with AsyncExitStack() as stack:
            way = self.kubeconfig
            if disturbance in _OF_STREAMS:
                cuts = [_CUT_BYTES] * disturbance.cuts
                _, way = await stack.enter_async_context(counting_proxy(way, folder, cuts))
            had[name].ending = await carry_out(
                CONTESTANTS[name], self.client, self.namespace, way, _PRINT, IMAGE, had[name].take
            )

    async def _make(self, disturbance: Disturbance) -> None:
        if disturbance.rotates:
            await self._set(_ROTATED)
            await asyncio.sleep(2 * _DISTURBED_AFTER_SECONDS)
            await self._set(_UNROTATED)
        if disturbance.restarts:
            await asyncio.sleep(_DISTURBED_AFTER_SECONDS)
            body = {"do": "restart-api", "downSeconds": _RESTART_SECONDS}
            await self.client.request("POST", "/_faults/actions", body=body)

    async def _set(self, settings: dict[str, float]) -> None:
        await self.client.request("PUT", "/_faults/settings", body=settings)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Jobs of each")
    rounds = parser.parse_args().rounds
    with cluster() as kubeconfig:
        return show(asyncio.run(measure(kubeconfig, installed_contestants(), rounds)))


if __name__ == "__main__":
    sys.exit(main())
