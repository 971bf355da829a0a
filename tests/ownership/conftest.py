"""An embedded cluster, a host for runs, and a watch over all agents."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.local_api import Api, ClusterProcess
from tests.embedded_cluster import install_claude
from tests.ownership.agent_recorder import AgentRecorder
from tests.ownership.rival_runs import World
from tests.ownership.run_processes import RunHost
from tests.prefect_server import PrefectServer


@pytest.fixture(scope="session")
def race_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    folder = tmp_path_factory.mktemp("races")
    folder.chmod(0o755)
    cluster = ClusterProcess(folder, ("--bin", str(install_claude(folder))))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def run_host(
    race_cluster: ClusterProcess,
    prefect_server: PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunHost]:
    host = RunHost(race_cluster.kubeconfig, prefect_server.api_url, tmp_path_factory.mktemp("runs"))
    yield host
    host.end()


@pytest.fixture
def recorder(race_cluster: ClusterProcess) -> Iterator[AgentRecorder]:
    """No agent may have two live pods in any test that asks for this."""
    recorder = AgentRecorder(race_cluster.api())
    yield recorder
    recorder.end()
    assert recorder.twins == []


@pytest.fixture
def world(
    race_cluster: ClusterProcess, run_host: RunHost, recorder: AgentRecorder, tmp_path: Path
) -> Iterator[World]:
    api: Api = race_cluster.api()
    yield World(api, run_host, recorder, tmp_path)
    api.ok("DELETE", "/_faults")
