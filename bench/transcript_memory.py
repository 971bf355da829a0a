"""Peak memory and CPU of a process that follows, sums up and renders a transcript, by its size.

    python -m bench.transcript_memory

Every size is followed by a process of its own, since a peak never falls. The floor is `kubectl logs
-f | python3 -c` with json.loads for each line.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contestants import BLOCK_SHORTEST, KUBECTL, OWN, installed_contestants, name_gaps
from bench.figures import (
    NOT_MEASURED,
    Goal,
    Table,
    median,
    ratio,
    render_number,
    render_spread,
)
from bench.followed_transcript import PIPE, ChildFailedError, Cost, measure_one
from bench.surroundings import cluster, makes_faults, namespace_of_own, show

SIZE_MB = 200
SUBSET_SIZE_MB = 20
ROUNDS = 10
SUBSET_ROUNDS = 3
RUNS = (20, 200)
SUBSET_RUNS = (20,)
_GROWTH_MB_MAX = 20.0
_RUN_MB_MAX = 3.0
_CPU_RATIO_MAX = 2.0
# Where that can be had, all read the same from the node's log.
_UNROTATED = {"rotationBytes": 1_000_000_000}
_ROTATED = {"rotationBytes": 10 * 1024 * 1024}


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        size_mb: Of the larger transcripts.
        rounds: Of the larger ones, everybody in turn.
        runs: How many of ours at once, each of 1 MB.
    """

    size_mb: int
    rounds: int
    runs: tuple[int, ...]


FULL = Extent(SIZE_MB, ROUNDS, RUNS)
SUBSET = Extent(SUBSET_SIZE_MB, SUBSET_ROUNDS, SUBSET_RUNS)


def measure(kubeconfig: str, contestants: Sequence[str], extent: Extent) -> Table:
    """Measure 1 MB of ours and `size_mb` MB of each, and many runs of ours in one process."""
    peers = {PIPE: KUBECTL in contestants, BLOCK_SHORTEST: BLOCK_SHORTEST in contestants}
    names = [OWN, *(name for name, is_there in peers.items() if is_there)]
    size_mb = extent.size_mb
    costs: dict[tuple[str, int], list[Cost]] = {}
    asyncio.run(_set_rotation(kubeconfig, _UNROTATED))
    try:
        costs[OWN, 1] = [measure_one(OWN, kubeconfig, 1)]
        for _ in range(extent.rounds):
            for name in names:
                cost = measure_one(name, kubeconfig, size_mb)
                costs.setdefault((name, size_mb), []).append(cost)
        many, gaps = _measure_many(kubeconfig, extent.runs)
    finally:
        asyncio.run(_set_rotation(kubeconfig, _ROTATED))
    floor = costs.get((PIPE, size_mb))
    rows = [_row(f"{name}, {size} MB", found, floor) for (name, size), found in costs.items()]
    rows += [_row(f"{OWN}, {runs} runs of 1 MB at once", [it], floor) for runs, it in many.items()]
    return Table(
        "(e) memory and CPU of following a transcript",
        ("", "n", "s", "CPU s", "CPU ms per MB", "ratio", "peak MB"),
        tuple(rows),
        _judge(costs, many, size_mb),
        (*gaps, *name_gaps(contestants)),
    )


def _measure_many(kubeconfig: str, runs: Sequence[int]) -> tuple[dict[int, Cost], list[str]]:
    """Measure so many at once, or half of them where the machine cannot; tell what it could not."""
    found: dict[int, Cost] = {}
    gaps: list[str] = []
    for asked in runs:
        count = asked
        while count > 1 and count not in found:
            try:
                found[count] = measure_one(OWN, kubeconfig, 1, count)
            except ChildFailedError as error:
                gaps.append(f"Not measured: {error}")
                count //= 2
    return found, gaps


def _judge(
    costs: dict[tuple[str, int], list[Cost]], many: dict[int, Cost], size_mb: int
) -> tuple[Goal, ...]:
    alone, large = (median([it.peak_mb or 0.0 for it in costs[OWN, size]]) for size in (1, size_mb))
    own_cpu = median([it.cpu_ms_per_mb for it in costs[OWN, size_mb]])
    piped = [it.cpu_ms_per_mb for it in costs.get((PIPE, size_mb), [])]
    per_run = (
        Goal(
            f"ours for each more run of {runs} at once",
            ((cost.peak_mb or 0.0) - alone) / (runs - 1),
            _RUN_MB_MAX,
            "MB",
        )
        for runs, cost in many.items()
    )
    return (
        Goal(f"our growth from 1 to {size_mb} MB", large - alone, _GROWTH_MB_MAX, "MB"),
        *per_run,
        Goal(
            "our CPU per MB, compared with the pipe's",
            own_cpu / median(piped) if piped else None,
            _CPU_RATIO_MAX,
            "×",
        ),
    )


def _row(name: str, costs: Sequence[Cost], floor: Sequence[Cost] | None) -> tuple[str, ...]:
    cpu = [it.cpu_ms_per_mb for it in costs]
    base = median([it.cpu_ms_per_mb for it in floor]) if floor else None
    peaks = [it.peak_mb for it in costs if it.peak_mb is not None]
    return (
        name,
        str(len(costs)),
        render_number(median([it.seconds for it in costs])),
        render_number(median([it.cpu_seconds for it in costs])),
        render_spread(cpu),
        ratio(median(cpu), base),
        render_spread(peaks) if peaks else NOT_MEASURED,
    )


async def _set_rotation(kubeconfig: str, settings: dict[str, int]) -> None:
    async with namespace_of_own(kubeconfig) as (client, _):
        if await makes_faults(client):
            await client.request("PUT", "/_faults/settings", body=settings)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE_MB, metavar="MB", help="of the larger")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each in turn")
    parser.add_argument("--runs", type=int, nargs="*", default=RUNS, help="of ours at once")
    asked = parser.parse_args()
    with cluster() as kubeconfig:
        extent = Extent(asked.size, asked.rounds, tuple(asked.runs))
        return show(measure(kubeconfig, installed_contestants(), extent))


if __name__ == "__main__":
    sys.exit(main())
