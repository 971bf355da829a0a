"""What the log endpoint and exec deliver, byte by byte."""

import asyncio
import hashlib
from contextlib import suppress
from typing import Any

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ClusterError,
    ExecFailed,
    ObjectNotFound,
    RequestRefused,
    StreamSilent,
)
from tasks.cluster.http_transport import ByteStream
from tasks.cluster.kinds.jobs import create_job
from tasks.cluster.kinds.pod_exec import (
    open_exec,
    run_in_pod,
    touch_pod_file,
)
from tasks.cluster.kinds.pod_logs import follow_pod_log, read_log_tail, read_pod_log
from tasks.cluster.kinds.read_only import list_pods
from tasks.vocabulary.names import job_pods_selector
from tests.cluster.contract_objects import job, unique

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(90)]


async def pod_in_state(
    client: ClusterClient, namespace: str, script: str, state: str, **more: Any
) -> str:
    """Create a Job and return its pod's name once its container is in this state."""
    name = unique("log")
    await create_job(client, namespace, job(name, script, **more))
    while True:
        found = await list_pods(client, namespace, label_selector=job_pods_selector(name))
        for pod in found.items:
            statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses") or []
            if any(state in status["state"] for status in statuses):
                return pod["metadata"]["name"]
        await asyncio.sleep(0.1)


async def collect(stream: ByteStream, until: bytes | None = None) -> bytes:
    received = b""
    async for chunk in stream.chunks():
        received += chunk
        if until is not None and until in received:
            break
    return received


async def test_follow_brings_lines_as_they_are_printed_and_ends_with_the_container(
    cluster_client: ClusterClient, namespace: str
) -> None:
    script = "echo one; sleep 1; printf '\\377\\000two\\342\\200\\250'; sleep 1; printf three"
    pod = await pod_in_state(cluster_client, namespace, script, "running")
    arrived: list[bytes] = []
    async with follow_pod_log(cluster_client, namespace, pod, "agent") as stream:
        async for chunk in stream.chunks():
            arrived.append(chunk)

    assert b"".join(arrived) == b"one\n\xff\x00two\xe2\x80\xa8three"
    assert len(arrived) >= 2


async def test_long_line_comes_whole(cluster_client: ClusterClient, namespace: str) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end"
    pod = await pod_in_state(cluster_client, namespace, script, "terminated")
    async with read_pod_log(cluster_client, namespace, pod, "agent") as stream:
        received = await collect(stream)

    assert received == b"x" * 3_000_000 + b"\nend\n"


async def test_read_can_be_limited_to_last_lines_first_bytes_and_recent_seconds(
    cluster_client: ClusterClient, namespace: str
) -> None:
    script = "echo old; sleep 4; echo new; echo newer; sleep 60"
    pod = await pod_in_state(cluster_client, namespace, script, "running")
    async with follow_pod_log(cluster_client, namespace, pod, "agent") as stream:
        assert b"newer\n" in await collect(stream, until=b"newer\n")

    tail = await read_log_tail(
        cluster_client, namespace, pod, "agent", tail_lines=1, limit_bytes=4096
    )
    assert tail == b"newer\n"
    async with read_pod_log(cluster_client, namespace, pod, "agent", limit_bytes=2) as stream:
        assert await collect(stream) == b"ol"
    async with read_pod_log(cluster_client, namespace, pod, "agent", since_seconds=2) as stream:
        assert await collect(stream) == b"new\nnewer\n"
    async with follow_pod_log(
        cluster_client, namespace, pod, "agent", since_seconds=2, silence_seconds=2.0
    ) as stream:
        assert await collect(stream, until=b"newer\n") == b"new\nnewer\n"
        with pytest.raises(StreamSilent):
            await collect(stream)


async def test_log_of_a_container_that_has_not_started_is_refused(
    cluster_client: ClusterClient, namespace: str
) -> None:
    pod = await pod_in_state(
        cluster_client, namespace, "exit 0", "waiting", secret_name="never-made"
    )
    with pytest.raises(RequestRefused) as caught:
        await read_log_tail(cluster_client, namespace, pod, "agent", tail_lines=1, limit_bytes=9)

    assert caught.value.status == 400
    with pytest.raises(RequestRefused):
        async with follow_pod_log(cluster_client, namespace, pod, "agent"):
            pass


async def test_log_of_a_pod_that_is_gone_is_not_found(
    cluster_client: ClusterClient, namespace: str
) -> None:
    with pytest.raises(ObjectNotFound):
        async with follow_pod_log(cluster_client, namespace, "none", "agent"):
            pass


@pytest.fixture
def sleeper_script() -> str:
    return "head -c 9000000 /dev/urandom > /tmp/blob; seq 1 200000 > /tmp/lines; sleep 60"


async def test_exec_brings_bytes_exit_code_and_stderr_apart(
    cluster_client: ClusterClient, namespace: str, sleeper_script: str
) -> None:
    pod = await pod_in_state(cluster_client, namespace, sleeper_script, "running")
    await asyncio.sleep(1.5)
    script = "md5sum < /tmp/blob >&2; cat /tmp/blob; exit 66"
    result = await run_in_pod(cluster_client, namespace, pod, "agent", ["/bin/sh", "-c", script])

    assert result.exit_code == 66
    assert len(result.stdout) == 9_000_000
    assert hashlib.md5(result.stdout).hexdigest() == result.stderr.decode().split()[0]

    odd = ["printf", "%s|", "a b", "c+d&e=f", "ü%20", "$(id)", '"q"']
    result = await run_in_pod(cluster_client, namespace, pod, "agent", odd)
    assert result.stdout.decode() == 'a b|c+d&e=f|ü%20|$(id)|"q"|'

    await touch_pod_file(cluster_client, namespace, pod, "agent", "/tmp/ack of it")
    result = await run_in_pod(cluster_client, namespace, pod, "agent", ["ls", "/tmp/ack of it"])
    assert (result.exit_code, result.stdout) == (0, b"/tmp/ack of it\n")
    with pytest.raises(ExecFailed, match="could not be written"):
        await touch_pod_file(cluster_client, namespace, pod, "agent", "/proc/none/ack")


async def test_exec_that_is_left_early_returns_at_once(
    cluster_client: ClusterClient, namespace: str
) -> None:
    pod = await pod_in_state(cluster_client, namespace, "sleep 60", "running")
    async with asyncio.timeout(5):
        async with open_exec(
            cluster_client, namespace, pod, "agent", ["/bin/sh", "-c", "echo x; sleep 50"]
        ) as stream:
            async for chunk in stream.stdout_chunks():
                assert chunk == b"x\n"
                break
    assert stream.exit_code is None


async def test_exec_of_a_missing_command_fails_without_a_result(
    cluster_client: ClusterClient, namespace: str
) -> None:
    pod = await pod_in_state(cluster_client, namespace, "sleep 60", "running")
    exit_code: int | None = None
    with suppress(ExecFailed):  # or an exit code, by container runtime
        result = await run_in_pod(cluster_client, namespace, pod, "agent", ["/no/such/command"])
        exit_code = result.exit_code
    assert exit_code != 0


@pytest.mark.parametrize("state", ["waiting", "terminated"])
async def test_exec_where_nothing_runs_is_an_error(
    cluster_client: ClusterClient, namespace: str, state: str
) -> None:
    more = {"secret_name": "never-made"} if state == "waiting" else {}
    pod = await pod_in_state(cluster_client, namespace, "exit 0", state, **more)
    with pytest.raises(ClusterError):
        await run_in_pod(cluster_client, namespace, pod, "agent", ["true"])


async def test_exec_in_a_pod_that_is_gone_is_not_found(
    cluster_client: ClusterClient, namespace: str
) -> None:
    with pytest.raises(ObjectNotFound):
        await run_in_pod(cluster_client, namespace, "none", "agent", ["true"])
