from collections.abc import Iterator

import pytest

from tests.faults.world import World, run_world
from tests.prefect_server import PrefectServer, run_prefect_server


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server of this process's own: others have work pools of the same names."""
    with run_prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="session")
def lasting_world(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with run_world(folder, lambda: request.getfixturevalue("prefect_server")) as world:
        yield world


@pytest.fixture
def world(lasting_world: World) -> Iterator[World]:
    """The one world, calm before each test, in which nothing impossible has happened after it."""
    yield lasting_world
    lasting_world.calm()
    lasting_world.check()
