from collections.abc import Iterator

import pytest

from tests.faults.world import World, run_fault_cluster


@pytest.fixture(scope="session")
def lasting_world(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with run_fault_cluster(folder) as cluster:
        world = World(cluster, folder, lambda: request.getfixturevalue("prefect_server"))
        yield world
        world.end()


@pytest.fixture
def world(lasting_world: World) -> Iterator[World]:
    """The one world, calm before each test, in which nothing impossible has happened after it."""
    yield lasting_world
    lasting_world.calm()
    lasting_world.check()
