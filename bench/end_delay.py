"""From the end of a Job's container to somebody's knowing of it, with all its output.

    python -m bench.end_delay

The agent's last line is the instant of its end by this machine's clock, so the cluster's node must
be this machine. A kubelet looks at its containers once a second and reports what it has seen then;
when the API tells it is found out by asking all the time, and what comes after that is the
contestants' own.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contestants import CONTESTANTS, OWN, carry_out, installed_contestants, name_gaps
from bench.figures import SPREAD_COLUMNS, Goal, Table, median, spread_rows
from bench.surroundings import cluster, namespace_of_own, python_image, show
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.kinds.read_only import list_pods
from tasks.observation.snapshots import PodSnapshot

ENDS = 10
SUBSET_ENDS = 3
_P50_MS_MAX = 300.0
_ASK_SECONDS = 0.005
# A kubelet's look comes at any moment of the container's end.
_PRINT = "sleep {seconds:.3f}; exec python3 -c 'import time; print(time.time())'"


@dataclass
class Ends:
    """Of one contestant's Jobs, in milliseconds.

    Attributes:
        after_told: From the API's telling of the end to the contestant's knowing.
        after_end: From the agent's end.
        failures: Why it gave up, where it did.
    """

    after_told: list[float] = field(default_factory=list[float])
    after_end: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])

    async def add(self, contestant: str, client: ClusterClient, space: str, way: str) -> None:
        """Have one Job carried out."""
        lines: list[bytes] = []
        asking = asyncio.create_task(_ask(client, space, await _known_pods(client, space)))
        command = _PRINT.format(seconds=random.uniform(1, 2))
        ending = await carry_out(
            CONTESTANTS[contestant], client, space, way, command, python_image(), lines.append
        )
        told_at = await asking
        if ending.failure or not lines:
            self.failures.append(ending.failure or "no line")
            return
        self.after_told.append(max(0.0, ending.known_at - told_at) * 1000)
        self.after_end.append((ending.known_at - float(lines[-1])) * 1000)


async def _known_pods(client: ClusterClient, space: str) -> set[str]:
    return {
        pod["metadata"]["uid"] for pod in (await list_pods(client, space, label_selector="")).items
    }


async def _ask(client: ClusterClient, space: str, known: set[str]) -> float:
    """Return when the API has told of the end of a pod that is not among the known ones."""
    while True:
        for pod in (await list_pods(client, space, label_selector="")).items:
            agent = PodSnapshot.from_api(pod).agent
            is_new = pod["metadata"]["uid"] not in known
            if is_new and agent is not None and agent.terminated is not None:
                return time.time()
        await asyncio.sleep(_ASK_SECONDS)


async def measure(kubeconfig: str, contestants: Sequence[str], ends: int) -> Table:
    """Let one Job after the other end, each contestant in turn."""
    found = {name: Ends() for name in contestants}
    async with namespace_of_own(kubeconfig) as (client, space):
        for _ in range(ends):
            for name in contestants:
                await found[name].add(name, client, space, kubeconfig)
    told = {name: ended.after_told for name, ended in found.items()}
    whole = {f"{name}, since its end": ended.after_end for name, ended in found.items()}
    failures = tuple(
        f"{name}, {len(ended.failures)} times: {ended.failures[0]}"
        for name, ended in found.items()
        if ended.failures
    )
    own = found[OWN].after_told
    return Table(
        "(a) from the container's end, as the API tells it, to knowing it and all output, ms",
        ("", *SPREAD_COLUMNS),
        (*spread_rows(told, OWN), *spread_rows(whole, f"{OWN}, since its end")),
        (Goal("our median after the API told", median(own) if own else None, _P50_MS_MAX, "ms"),),
        (*failures, *name_gaps(contestants)),
        told,
        "end_delay",
    )


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ends", type=int, default=ENDS, help="Jobs of each")
    ends = parser.parse_args().ends
    with cluster() as kubeconfig:
        return show(asyncio.run(measure(kubeconfig, installed_contestants(), ends)))


if __name__ == "__main__":
    sys.exit(main())
