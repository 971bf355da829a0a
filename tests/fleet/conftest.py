"""A separate Prefect server and embedded cluster, whose API counts its requests.

Prefect's server has PostgreSQL where the machine has it, as for many runs at once it should: on
SQLite writers were seen to wait for each other for up to a minute.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.embedded.local_api import Api
from tests.embedded_cluster import REPLAY_IMAGE, run_embedded_cluster
from tests.main_job.conftest import SMALL
from tests.postgres import find_postgres, run_postgres
from tests.prefect_server import PrefectServer, run_prefect_server_on

ROOT = Path(__file__).parents[2]
# Threads of a thread pool are kept for what comes next; their number has a limit of its own.
RUN = """
import asyncio, json, os, sys, threading
from flows.run_fleet import run_fleet
from tasks.fleet.fleet_request import FleetRequest

def connected_ports():
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{fd}")]
    rows = [row.split() for row in open("/proc/self/net/tcp").readlines()[1:]]
    return [int(row[2].split(":")[1], 16) for row in rows if f"socket:[{row[9]}]" in links]

async def main():
    request = FleetRequest.model_validate(json.loads(open(sys.argv[1]).read()))
    state = await run_fleet(request, return_state=True)
    # What is closed is gone from the loop a moment later; Prefect's own threads within seconds.
    for _ in range(40):
        await asyncio.sleep(0.5)
        threads = [thread.name for thread in threading.enumerate() if "(run)" in thread.name]
        if not threads:
            break
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    told = {"type": state.type.value, "name": state.name, "message": state.message}
    names = [repr(task.get_coro()) for task in left]
    told |= {"flow_run_id": str(state.state_details.flow_run_id), "left": names + threads}
    return told | {"ports": connected_ports(), "files": len(os.listdir("/proc/self/fd"))}

print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture(scope="session")
def prefect_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """One with PostgreSQL; the one of all tests, with SQLite, where there is no PostgreSQL."""
    programs = find_postgres()
    if programs is None:
        yield request.getfixturevalue("prefect_server")
        return
    home = tmp_path_factory.mktemp("prefect-on-postgres")
    with run_postgres(programs) as url, run_prefect_server_on(url, home) as server:
        yield server


@pytest.fixture(scope="module")
def fleet_kubeconfig() -> Iterator[Path]:
    with run_embedded_cluster() as kubeconfig:
        yield kubeconfig


@pytest.fixture
def kubernetes(fleet_kubeconfig: Path) -> Iterator[Api]:
    """The cluster as its administrator."""
    api = Api(yaml.safe_load(fleet_kubeconfig.read_text()))
    yield api
    api.ok("DELETE", "/_faults")
    api.http.close()


@pytest.fixture
def fleet_namespace(kubernetes: Api) -> str:
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    kubernetes.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


class FleetProcess:
    """A fleet in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def end(self, seconds: float) -> dict[str, Any]:
        """Wait for it; returns its state, `flow_run_id`, and what it has left open.

        That is tasks and threads (`left`), ports of others' that it is connected to (`ports`), and
        how many open files it has (`files`), sockets included.
        """
        output, errors = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, errors
        return json.loads(output.splitlines()[-1])


StartFleet = Callable[..., FleetProcess]


@pytest.fixture
def start_fleet(
    prefect_server: PrefectServer, fleet_kubeconfig: Path, tmp_path: Path
) -> Iterator[StartFleet]:
    started: list[subprocess.Popen[str]] = []

    def start(
        requests: list[dict[str, Any]], max_concurrent: int, api_url: str = ""
    ) -> FleetProcess:
        asked = tmp_path / f"{uuid.uuid4().hex[:8]}.json"
        asked.write_text(json.dumps({"requests": requests, "max_concurrent": max_concurrent}))
        environment = {
            "PREFECT_API_URL": api_url or prefect_server.api_url,
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "KUBECONFIG": str(fleet_kubeconfig),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, asked],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return FleetProcess(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def build_member(fleet_namespace: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A request for a new agent; keyword arguments are its env."""

    def build(**env: str) -> dict[str, Any]:
        runtime = {
            "image": REPLAY_IMAGE,
            "namespace": fleet_namespace,
            "working_directory": "/work",
            "resources": SMALL,
            "result_storage": str(tmp_path / "results"),
            "retention": {"keep": "always"},
        }
        agent = {"agent_id": f"agent-{uuid.uuid4().hex[:8]}"}
        return {"agent": agent, "runtime": runtime, "prompt": "Say hello.", "env": env}

    return build


@dataclass(frozen=True)
class Fleets:
    """Where fleets run, and how one is started."""

    start: StartFleet
    member: Callable[..., dict[str, Any]]
    kubernetes: Api
    namespace: str
    server: PrefectServer
    results: Path


@pytest.fixture
def fleets(
    start_fleet: StartFleet,
    build_member: Callable[..., dict[str, Any]],
    kubernetes: Api,
    fleet_namespace: str,
    prefect_server: PrefectServer,
    tmp_path: Path,
) -> Fleets:
    results = tmp_path / "results"
    return Fleets(start_fleet, build_member, kubernetes, fleet_namespace, prefect_server, results)


def requests_of(kubernetes: Api) -> dict[str, int]:
    """How often the API was asked what, by verb and resource."""
    return kubernetes.ok("GET", "/_faults")["requests"]


def jobs_of(kubernetes: Api, namespace: str) -> list[Any]:
    return kubernetes.ok("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
