"""Peak memory of a fleet's process by its size, and how many watches it opens.

    python -m bench.fleet_memory

Every fleet is run by a process of its own, since a peak never falls. All its runs are at work at
the same time. Prefect's server is another process.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, cast

from bench.figures import Goal, Table, render_number
from bench.surroundings import cluster, namespace_of_own, python_image, show
from tests.main_job.conftest import SMALL
from tests.prefect_server import run_prefect_server

_SIZES = (2, 50)
_PER_RUN_MB_MAX = 3.0
# One on Jobs and one on pods; after five minutes each is opened anew.
_WATCHES_MAX = 6.0
# Longer than it takes to start all of them, so that they are at work together.
_ENV = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "8"}


def _request(namespace: str, storage: str) -> dict[str, Any]:
    runtime = {
        "image": python_image(),
        "namespace": namespace,
        "working_directory": "/work",
        "resources": SMALL,
        "result_storage": storage,
    }
    agent = {"agent_id": f"agent-{uuid.uuid4().hex[:8]}"}
    return {"agent": agent, "runtime": runtime, "prompt": "Say hello.", "env": _ENV}


async def run(kubeconfig: str, size: int) -> None:
    """Run one fleet; print its peak in KiB and how many watches its client has opened."""
    from flows.run_fleet import run_fleet
    from tasks.agent_job.fleet import FleetRequest

    with tempfile.TemporaryDirectory() as storage:
        async with namespace_of_own(kubeconfig) as (client, namespace):
            asked = {
                "requests": [_request(namespace, storage) for _ in range(size)],
                "max_concurrent": size,
            }
            state: Any = await cast("Any", run_fleet)(
                FleetRequest.model_validate(asked), return_state=True
            )
            assert state.is_completed(), state.message
            counts = (await client.request("GET", "/_faults")).json["requests"]
    watches = sum(count for name, count in counts.items() if name.startswith("watch "))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps({"peak_kib": peak_kib, "watches": watches}) + "\n")


def measure(size: int, api_url: str) -> tuple[float, int]:
    """Return the peak in MB of a process that runs so many at once, and its watches."""
    environment = {"PREFECT_API_URL": api_url, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    with cluster() as kubeconfig:
        command = [sys.executable, "-m", "bench.fleet_memory", "--child", kubeconfig, str(size)]
        answer = subprocess.run(
            command,
            env={**os.environ, **environment, "KUBECONFIG": kubeconfig},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    told = json.loads(answer.splitlines()[-1])
    return told["peak_kib"] * 1024 / 1e6, told["watches"]


def main() -> int:
    """Measure every size; the cluster is an embedded one, which counts its requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, metavar=("KUBECONFIG", "RUNS"), help=argparse.SUPPRESS)
    child = parser.parse_args().child
    if child:
        asyncio.run(run(child[0], int(child[1])))
        return 0
    os.environ.pop("KUBECONFIG", None)
    with tempfile.TemporaryDirectory() as home, run_prefect_server(Path(home)) as server:
        found = [measure(size, server.api_url) for size in _SIZES]
    (small, _), (large, most_watches) = found
    each_mb = (large - small) / (_SIZES[1] - _SIZES[0])
    table = Table(
        "A fleet's process",
        ("runs at once", "peak, MB", "watches"),
        tuple(
            (str(size), render_number(peak), str(watches))
            for size, (peak, watches) in zip(_SIZES, found, strict=True)
        ),
        goals=(
            Goal("peak memory per run at work", each_mb, _PER_RUN_MB_MAX, "MB"),
            Goal("watches of the larger fleet", most_watches, _WATCHES_MAX),
        ),
    )
    return show(table)


if __name__ == "__main__":
    sys.exit(main())
