"""Which runs a fleet takes for the same agent's: runtimes with kubeconfigs of their own."""

from typing import Any
from uuid import uuid4

import pytest
from prefect_kubernetes.credentials import (  # pyright: ignore[reportMissingTypeStubs] # it has annotations, but no py.typed
    KubernetesClusterConfig,
    KubernetesCredentials,
)

from blocks.agent_runtime import AgentRuntime
from flows.run_fleet import plan_fleet
from tasks.cluster.watching.shared_clusters import SharedClusters
from tasks.fleet.fleet_request import FleetRequest
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import MANAGED_SELECTOR
from tests.scripted_api import kubeconfig

# The first test waits for the server.
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("block_server")]

ONE, OTHER = "https://one.example", "https://other.example"


async def _save_runtime(server: str, token: str, namespace: str) -> str:
    content: dict[str, Any] = kubeconfig(server, {"token": token})
    config = KubernetesClusterConfig(config=content, context_name="test")
    runtime = AgentRuntime(
        image="agent:1",
        namespace=namespace,
        credentials=KubernetesCredentials(cluster_config=config),
    )
    name = f"kit-{uuid4().hex[:8]}"
    await runtime.asave(name)
    return name


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        pytest.param(
            (ONE, "a", "agents"),
            (OTHER, "a", "agents"),
            False,
            id="two_clusters",
            marks=pytest.mark.slice,
        ),
        pytest.param(
            (ONE, "a", "agents"),
            (ONE, "a", "others"),
            False,
            id="two_namespaces",
            marks=pytest.mark.slice,
        ),
        pytest.param((ONE, "a", "agents"), (ONE, "a", "agents"), True, id="the_same_twice"),
        pytest.param(
            (ONE, "a", "agents"),
            (f"{ONE}:443/", "b", "agents"),
            True,
            id="two_users",
            marks=pytest.mark.slice,
        ),
    ],
)
async def test_agent_may_run_once_per_cluster_and_namespace(
    first: tuple[str, str, str], second: tuple[str, str, str], is_refused: bool
) -> None:
    runtimes = [await _save_runtime(*first), await _save_runtime(*second)]
    asked = [{"agent": {"agent_id": "ada"}, "runtime": name} for name in runtimes]
    request = FleetRequest.model_validate({"requests": asked})

    async with SharedClusters(MANAGED_SELECTOR) as clusters:
        if is_refused:
            with pytest.raises(InputInvalid, match="Agent ada occurs twice for namespace agents"):
                await plan_fleet(request, clusters)
        else:
            planned = await plan_fleet(request, clusters)
            assert [run.member.agent_id for run in planned] == ["ada", "ada"]
            assert planned[0].feed is not planned[1].feed
