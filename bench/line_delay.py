"""From an agent's print to the line in the run's hands, at 50 lines a second.

    python -m bench.line_delay

Both instants are of this machine's clock, so the cluster's node must be this machine.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Claim, conclude, percentile, print_row
from bench.surroundings import cluster, namespace_of_own, python_image
from tasks.claude_code.line_grammar import StdoutLine
from tests.cluster.scripted_agent import AgentFollow, start_agent

_LINES = 1_000
_P50_MS_MAX = 20.0
_PRINT = f"""python3 -u -c '
import time
for _ in range({_LINES}):
    print(time.time())
    time.sleep(0.02)
'"""


async def measure(kubeconfig: str) -> list[float]:
    """Return every line's delay in milliseconds."""
    delays: list[float] = []

    async def take(lines: Sequence[StdoutLine]) -> None:
        now = time.time()
        delays.extend((now - float(line.payload)) * 1000 for line in lines)

    with tempfile.TemporaryDirectory() as folder:
        async with namespace_of_own(kubeconfig) as (client, namespace):
            pod = await start_agent(client, namespace, _PRINT, {}, python_image())
            spool = Path(folder) / "spool"
            follow = AgentFollow(client, namespace, pod, spool, keeps_lines=False, taker=take)
            followed = await follow.follow()
    assert followed.proof.complete is True, followed
    # What was printed before the follow began, it had at once.
    return delays[_LINES // 10 :]


def main() -> int:
    """Measure one run of 20 s."""
    with cluster() as kubeconfig:
        delays = asyncio.run(measure(kubeconfig))
    print_row("lines", "p50", "p95", "p99", "longest")
    shown = (f"{percentile(delays, percent):.1f} ms" for percent in (50, 95, 99, 100))
    print_row(len(delays), *shown)
    return conclude(Claim("p50 of the delay", percentile(delays, 50), _P50_MS_MAX, "ms"))


if __name__ == "__main__":
    sys.exit(main())
