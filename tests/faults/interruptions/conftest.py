"""A gate before the Prefect server, and what starts runs behind it."""

from collections.abc import Iterator

import pytest

from tests.faults.interruptions.hosts import Hosts
from tests.faults.prefect_gate import PrefectGate
from tests.faults.world import World


@pytest.fixture(scope="session")
def gate(lasting_world: World) -> Iterator[PrefectGate]:
    gate = PrefectGate(lasting_world.prefect.api_url)
    yield gate
    gate.end()


@pytest.fixture(scope="session")
def hosts(lasting_world: World, gate: PrefectGate) -> Iterator[Hosts]:
    hosts = Hosts(
        {
            "PREFECT_API_URL": gate.api_url,
            "PREFECT_HOME": str(lasting_world.prefect.home),
            "KUBECONFIG": str(lasting_world.runs_kubeconfig),
        }
    )
    hosts.deploy(lasting_world.storage)
    yield hosts
    hosts.end()
