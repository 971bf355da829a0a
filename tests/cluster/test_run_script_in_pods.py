"""The run script as a container's command on a real node."""

import asyncio
from typing import Any

import pytest
from kubernetes import client

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.kinds.pod_logs import read_log_tail
from tasks.cluster.kinds.read_only import list_pods
from tasks.transcript.line_grammar import Refusal, StdoutLine, parse_line, parse_trailer_text
from tests.cluster.contract_objects import pod_named
from tests.cluster.scripted_agent import TOKEN, start_agent

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(90)]


async def read_container_state(client: ClusterClient, namespace: str, pod: str) -> dict[str, Any]:
    status = (await pod_named(client, namespace, pod))["status"]
    statuses: list[dict[str, Any]] = status.get("containerStatuses") or [{"state": {}}]
    return statuses[0]["state"]


async def await_terminated(client: ClusterClient, namespace: str, pod: str) -> dict[str, Any]:
    while True:
        state = await read_container_state(client, namespace, pod)
        if "terminated" in state:
            return state["terminated"]
        await asyncio.sleep(0.1)


async def read_stdout(client: ClusterClient, namespace: str, pod: str) -> list[bytes]:
    log = await read_log_tail(
        client, namespace, pod, "agent", tail_lines=1000, limit_bytes=1_000_000
    )
    lines = [parse_line(line, TOKEN) for line in log.split(b"\n")]
    return [line.payload for line in lines if isinstance(line, StdoutLine)]


async def test_replacement_of_a_deleted_pod_refuses_and_never_reads_the_prompt(
    cluster_client: ClusterClient, core_api: client.CoreV1Api, namespace: str
) -> None:
    first = await start_agent(cluster_client, namespace, "cat; echo; sleep 60", {})
    while True:
        state = await read_container_state(cluster_client, namespace, first)
        if "running" in state and await read_stdout(cluster_client, namespace, first):
            break
        await asyncio.sleep(0.1)
    assert await read_stdout(cluster_client, namespace, first) == [b"Go on."]
    job = (await pod_named(cluster_client, namespace, first))["metadata"]["labels"][
        "batch.kubernetes.io/job-name"
    ]
    # A run's Job makes no second pod, unless its limit is raised.
    library: Any = core_api  # its annotations are incomplete
    batch_api = client.BatchV1Api(library.api_client)
    batch_api.patch_namespaced_job(job, namespace, {"spec": {"backoffLimit": 1}})
    core_api.delete_namespaced_pod(first, namespace, grace_period_seconds=0)

    second = first
    while second == first:
        await asyncio.sleep(0.1)
        pods = await list_pods(
            cluster_client, namespace, label_selector=f"batch.kubernetes.io/job-name={job}"
        )
        names = [pod["metadata"]["name"] for pod in pods.items]
        second = next((name for name in names if name != first), first)
    ended = await await_terminated(cluster_client, namespace, second)
    trailer = parse_trailer_text(ended["message"])

    assert ended["exitCode"] == 76
    assert trailer is not None
    assert trailer.refused is Refusal.POD_REPLACED
    assert trailer.exit_code == 76
    assert await read_stdout(cluster_client, namespace, second) == []


@pytest.mark.parametrize(
    ("command", "settings", "exit_code", "timed_out"),
    [
        pytest.param("exit 7", {}, 7, False, id="own-exit-code"),
        # Kubernetes makes one dollar of two.
        pytest.param("kill -9 $$$$", {}, 137, False, id="killed"),
        pytest.param(
            "exec sleep 60", {"CLAUDE_JOBS_TIMEOUT_SECONDS": "1"}, 124, True, id="timeout"
        ),
        pytest.param("sleep 60 & echo said", {}, 0, False, id="descendant-holds-stdout"),
    ],
)
async def test_container_ends_as_the_agent_did_and_says_so_in_its_termination_message(
    cluster_client: ClusterClient,
    namespace: str,
    command: str,
    settings: dict[str, str],
    exit_code: int,
    timed_out: bool,
) -> None:
    pod = await start_agent(cluster_client, namespace, command, settings)
    ended = await await_terminated(cluster_client, namespace, pod)
    trailer = parse_trailer_text(ended["message"])

    assert ended["exitCode"] == exit_code
    assert trailer is not None
    assert (trailer.exit_code, trailer.timed_out) == (exit_code, timed_out)
    assert trailer.refused is None
