"""Embedded clusters as processes, with the faults of each test taken away after it."""

from collections.abc import Callable, Iterator

import pytest

from tests.embedded.local_api import Api, ClusterProcess, Space


@pytest.fixture(scope="session")
def start_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ClusterProcess]]:
    """Starts clusters with the given options; all of them end with the tests."""
    started: list[ClusterProcess] = []

    def start(*options: str) -> ClusterProcess:
        started.append(ClusterProcess(tmp_path_factory.mktemp("cluster"), options))
        return started[-1]

    yield start
    for cluster in started:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster(start_cluster: Callable[..., ClusterProcess]) -> ClusterProcess:
    return start_cluster()


@pytest.fixture
def api(cluster: ClusterProcess) -> Iterator[Api]:
    """The administrator; whatever faults a test has made are gone after it."""
    api = cluster.api()
    yield api
    api.ok("DELETE", "/_faults")


@pytest.fixture
def space(api: Api) -> Iterator[Space]:
    space = Space(api)
    yield space
    api.ok("DELETE", f"/api/v1/namespaces/{space.name}")
