"""An embedded cluster whose agents do as they are told, and a host for their runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.local_api import ClusterProcess
from tests.embedded_cluster import install_claude
from tests.live_runs.live_run import DO_AS_TOLD, LiveRun
from tests.ownership.agent_recorder import AgentRecorder
from tests.ownership.run_processes import RunHost
from tests.prefect_server import PrefectServer


# Settings and restarts are the whole cluster's, so it is shared with no other test.
@pytest.fixture(scope="package")
def live_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    folder = tmp_path_factory.mktemp("live-runs")
    folder.chmod(0o755)
    binaries = install_claude(folder, DO_AS_TOLD)
    cluster = ClusterProcess(folder, ("--bin", str(binaries)))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="package")
def live_host(
    live_cluster: ClusterProcess,
    prefect_server: PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunHost]:
    host = RunHost(live_cluster.kubeconfig, prefect_server.api_url, tmp_path_factory.mktemp("host"))
    yield host
    host.end()


@pytest.fixture
def live_run(live_cluster: ClusterProcess, live_host: RunHost, tmp_path: Path) -> Iterator[LiveRun]:
    tmp_path.chmod(0o755)
    recorder = AgentRecorder(live_cluster.api())
    yield LiveRun(live_cluster.api(), live_host, recorder, tmp_path)
    recorder.end()
