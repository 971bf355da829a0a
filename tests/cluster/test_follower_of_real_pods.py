"""The follower against a real node's logs, the real run script and real execs."""

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tests.cluster.scripted_agent import AgentFollow, choppy_tunnel, start_agent

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(120)]

_LINES = 20_000
_COUNT = f'i=0; while [ $i -lt {_LINES} ]; do i=$((i+1)); echo "line $i of the agent"; done'
_PRINTED = b"".join(b"line %d of the agent\n" % number for number in range(1, _LINES + 1))


@pytest.fixture
def kubeconfig_content(kubeconfig: str) -> dict[str, Any]:
    return yaml.safe_load(Path(kubeconfig).read_text())


def assert_printed(follow: AgentFollow) -> None:
    assert b"".join(payload + b"\n" for payload in follow.payloads) == _PRINTED
    assert follow.spool.read_bytes() == _PRINTED


async def test_agent_output_arrives_whole_while_it_is_printed(
    cluster_client: ClusterClient, namespace: str, tmp_path: Path
) -> None:
    command = f"{_COUNT}; echo oops >&2; sleep 5; printf last; exit 3"
    pod = await start_agent(cluster_client, namespace, command, {})
    follow = AgentFollow(cluster_client, namespace, pod, tmp_path / "spool")
    following = asyncio.create_task(follow.follow())
    await follow.delivered(_LINES)
    assert not follow.view.container_ended
    followed = await following

    assert followed.proof.complete is True
    assert followed.proof.sha256 == hashlib.sha256(_PRINTED + b"last").hexdigest()
    assert follow.spool.read_bytes() == _PRINTED + b"last"
    assert followed.stderr_lines == (b"oops",)
    assert followed.trailer is not None
    assert followed.trailer.exit_code == 3


async def test_output_of_an_ended_pod_is_read_to_the_end(
    cluster_client: ClusterClient, namespace: str, tmp_path: Path
) -> None:
    pod = await start_agent(cluster_client, namespace, _COUNT, {})
    follow = AgentFollow(cluster_client, namespace, pod, tmp_path / "spool")
    other = AgentFollow(cluster_client, namespace, pod, tmp_path / "other")
    first = await follow.follow()
    second = await other.follow()

    assert first.proof == second.proof
    assert first.proof.complete is True
    assert_printed(follow)
    assert_printed(other)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slice)])
async def test_cut_connections_lose_and_double_nothing(
    kubeconfig_content: dict[str, Any],
    cluster_client: ClusterClient,
    namespace: str,
    tmp_path: Path,
    seed: int,
) -> None:
    rng = random.Random(seed)
    config = kubeconfig_content
    server: dict[str, Any] = config["clusters"][0]["cluster"]
    address, _, port = str(server["server"]).rpartition(":")
    if not address.endswith("127.0.0.1"):
        pytest.skip("the API server is not on this machine")
    command = _COUNT.replace("; done", "; [ $((i % 1000)) -gt 0 ] || sleep 0.1; done")
    pod = await start_agent(cluster_client, namespace, command, {})
    cuts = [int(rng.expovariate(1 / 100_000)) + 10_000 for _ in range(25)]
    async with choppy_tunnel(int(port), cuts) as tunnel:
        server["server"] = f"{address}:{tunnel}"
        connection = ClusterConnection.from_kubeconfig(config)
        async with ClusterClient(connection) as client:
            follow = AgentFollow(client, namespace, pod, tmp_path / "spool", speed=10.0)
            followed = await follow.follow()

    assert followed.proof.complete is True
    assert_printed(follow)


async def test_cancelled_follow_goes_on_where_it_was(
    cluster_client: ClusterClient, namespace: str, tmp_path: Path
) -> None:
    command = _COUNT.replace("; done", "; [ $((i % 500)) -gt 0 ] || sleep 0.05; done")
    pod = await start_agent(cluster_client, namespace, command, {})
    follow = AgentFollow(cluster_client, namespace, pod, tmp_path / "spool")
    cancelled = 0
    while True:
        try:
            async with asyncio.timeout(0.4):
                followed = await follow.follow()
            break
        except TimeoutError:
            cancelled += 1

    assert cancelled >= 3
    assert followed.proof.complete is True
    assert_printed(follow)


@pytest.mark.long
@pytest.mark.timeout(480)
@pytest.mark.parametrize("silent_seconds", [30, 360])
async def test_agent_that_is_silent_for_long_is_waited_for(
    cluster_client: ClusterClient, namespace: str, tmp_path: Path, silent_seconds: int
) -> None:
    command = f"echo before; sleep {silent_seconds}; echo after"
    pod = await start_agent(cluster_client, namespace, command, {})
    follow = AgentFollow(cluster_client, namespace, pod, tmp_path / "spool")
    followed = await follow.follow()

    assert follow.payloads == [b"before", b"after"]
    assert followed.proof.complete is True
    assert followed.gave_up is None


async def test_output_of_a_deleted_pod_is_had_as_far_as_it_went(
    cluster_client: ClusterClient, core_api: Any, namespace: str, tmp_path: Path
) -> None:
    # The agent ends at SIGTERM: its last lines and the trailer come through the open follow.
    command = "trap 'echo stopped; exit 5' TERM; echo started; while :; do sleep 0.1; done"
    pod = await start_agent(cluster_client, namespace, command, {})
    follow = AgentFollow(cluster_client, namespace, pod, tmp_path / "spool")
    following = asyncio.create_task(follow.follow())
    await follow.delivered(1)
    core_api.delete_namespaced_pod(pod, namespace)
    followed = await following

    assert follow.payloads == [b"started", b"stopped"]
    assert followed.proof.complete is True
    assert followed.trailer is not None
    assert followed.trailer.exit_code == 5


async def test_killed_agent_leaves_the_transcript_unproven(
    cluster_client: ClusterClient, core_api: Any, namespace: str, tmp_path: Path
) -> None:
    # Deaf to SIGTERM, it takes the script with it when the kubelet kills the container.
    command = "trap '' TERM; echo started; sleep 60"
    pod = await start_agent(cluster_client, namespace, command, {})
    follow = AgentFollow(cluster_client, namespace, pod, tmp_path / "spool")
    following = asyncio.create_task(follow.follow())
    await follow.delivered(1)
    core_api.delete_namespaced_pod(pod, namespace, grace_period_seconds=0)
    followed = await following

    assert follow.payloads == [b"started"]
    assert followed.trailer is None
    assert followed.proof.complete is None
    assert followed.gave_up is not None
