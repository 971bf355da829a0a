"""An embedded cluster and a Prefect server, each a process of its own, and hosts for runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.local_api import Api, ClusterProcess, kubeconfig_of_runs
from tests.embedded_cluster import install_claude
from tests.interruptions.hosts import Hosts
from tests.interruptions.prefect_gate import PrefectGate
from tests.prefect_server import PrefectServer

# One line for each agent that was started, with or without a run that knows of it.
_COUNT_STARTS = 'echo started >> "$STARTS_FILE"'


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    folder = tmp_path_factory.mktemp("cluster")
    folder.chmod(0o755)
    started = ClusterProcess(folder, ("--bin", str(install_claude(folder, _COUNT_STARTS))))
    yield started
    started.stop()


@pytest.fixture
def api(cluster: ClusterProcess) -> Iterator[Api]:
    """The administrator; whatever faults a test has made are gone after it."""
    api = cluster.api()
    yield api
    api.ok("DELETE", "/_faults")
    api.ok("PUT", "/_faults/settings", {"lateStatusSeconds": 0})


@pytest.fixture(scope="session")
def gate(prefect_server: PrefectServer) -> Iterator[PrefectGate]:
    gate = PrefectGate(prefect_server.api_url)
    yield gate
    gate.end()


@pytest.fixture(scope="session")
def hosts(
    gate: PrefectGate,
    cluster: ClusterProcess,
    prefect_server: PrefectServer,
    storage: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Hosts]:
    kubeconfig = kubeconfig_of_runs(
        cluster.api(), cluster.kubeconfig, tmp_path_factory.mktemp("user")
    )
    hosts = Hosts(
        {
            "PREFECT_API_URL": gate.api_url,
            "PREFECT_HOME": str(prefect_server.home),
            "KUBECONFIG": str(kubeconfig),
        }
    )
    hosts.deploy(storage)
    yield hosts
    hosts.end()
