"""Peak memory of a fleet's process by its size, and how many watches it opens.

    python -m bench.fleet_memory

Every fleet is run by a process of its own, since a peak never falls. Its agents wait for each
other, so that all are at work at the same time. Prefect's server is another process; it has
PostgreSQL where the machine has it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from bench.figures import Goal, Table, render_number
from bench.surroundings import cluster, namespace_of_own, peak_mb, python_image, show
from tasks.cluster.cluster_client import ClusterClient
from tests.postgres import find_postgres, run_postgres
from tests.prefect_server import PrefectServer, run_prefect_server, run_prefect_server_on

_SIZES = (2, 10, 50)
_PER_RUN_MB_MAX = 3.0
# One on Jobs and one on pods; after five minutes each is opened anew.
_WATCHES_MAX = 6.0
_GO_FILE = "go"
_POLL_SECONDS = 1.0
# What all of them do beside their output, such as renewing Leases, is at work too.
_TOGETHER_SECONDS = 20.0


def _request(namespace: str, storage: Path, go_file: Path) -> dict[str, Any]:
    runtime = {
        "image": python_image(),
        "namespace": namespace,
        "working_directory": "/work",
        "result_storage": str(storage),
    }
    agent = {"agent_id": f"agent-{uuid.uuid4().hex[:8]}"}
    env = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_GO_FILE": str(go_file)}
    return {"agent": agent, "runtime": runtime, "prompt": "Say hello.", "env": env}


async def _let_go(client: ClusterClient, namespace: str, size: int, go_file: Path) -> None:
    """Have the agents go on once all are at work."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    at_work = 0
    while at_work < size:
        await asyncio.sleep(_POLL_SECONDS)
        found = (await client.request("GET", pods)).json["items"]
        at_work = sum(pod["status"].get("phase") == "Running" for pod in found)
    await asyncio.sleep(_TOGETHER_SECONDS)
    await asyncio.to_thread(go_file.touch)


async def run(kubeconfig: str, size: int, folder: Path) -> None:
    """Run one fleet; print its peak in MB and how many watches its client has opened."""
    from flows.run_fleet import run_fleet
    from tasks.fleet.fleet_request import FleetRequest

    go_file = folder / _GO_FILE
    async with namespace_of_own(kubeconfig) as (client, namespace):
        requests = [_request(namespace, folder / "results", go_file) for _ in range(size)]
        asked = {"requests": requests, "max_concurrent": size}
        letting_go = asyncio.create_task(_let_go(client, namespace, size, go_file))
        state: Any = await cast("Any", run_fleet)(
            FleetRequest.model_validate(asked), return_state=True
        )
        letting_go.cancel()
        assert state.is_completed(), state.message
        counts = (await client.request("GET", "/_faults")).json["requests"]
    watches = sum(count for name, count in counts.items() if name.startswith("watch "))
    sys.stdout.write(json.dumps({"peak_mb": peak_mb(), "watches": watches}) + "\n")


def measure(size: int, api_url: str) -> tuple[float, int, float]:
    """Return the peak in MB of a process that runs so many at once, its watches, and seconds."""
    environment = {"PREFECT_API_URL": api_url, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    began = time.monotonic()
    with cluster() as kubeconfig, tempfile.TemporaryDirectory() as folder:
        # Containers run as another user.
        Path(folder).chmod(0o755)
        command = [sys.executable, "-m", "bench.fleet_memory", "--child"]
        answer = subprocess.run(
            [*command, kubeconfig, str(size), folder],
            env={**os.environ, **environment, "KUBECONFIG": kubeconfig},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    told = json.loads(answer.splitlines()[-1])
    return told["peak_mb"], told["watches"], time.monotonic() - began


@contextmanager
def _prefect_server() -> Generator[tuple[PrefectServer, str]]:
    """Run a server; gives it and the name of its database."""
    programs = find_postgres()
    with tempfile.TemporaryDirectory() as home:
        if programs is None:
            with run_prefect_server(Path(home)) as server:
                yield server, "SQLite"
            return
        with run_postgres(programs) as url, run_prefect_server_on(url, Path(home)) as server:
            yield server, "PostgreSQL"


def main() -> int:
    """Measure every size; the cluster is an embedded one, which counts its requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    child = parser.parse_args().child
    if child:
        asyncio.run(run(child[0], int(child[1]), Path(child[2])))
        return 0
    os.environ.pop("KUBECONFIG", None)
    with _prefect_server() as (server, database):
        found = [measure(size, server.api_url) for size in _SIZES]
    (smallest, *_), (largest, most_watches, _) = found[0], found[-1]
    each_mb = (largest - smallest) / (_SIZES[-1] - _SIZES[0])
    table = Table(
        "A fleet's process",
        ("runs at once", "peak, MB", "watches", "seconds"),
        tuple(
            (str(size), render_number(peak), str(watches), render_number(seconds))
            for size, (peak, watches, seconds) in zip(_SIZES, found, strict=True)
        ),
        goals=(
            Goal("peak memory per run at work", each_mb, _PER_RUN_MB_MAX, "MB"),
            Goal("watches of the largest fleet", most_watches, _WATCHES_MAX),
        ),
        notes=(f"Prefect's server had {database}.",),
    )
    return show(table)


if __name__ == "__main__":
    sys.exit(main())
