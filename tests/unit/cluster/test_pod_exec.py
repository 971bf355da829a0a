import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ExecFailed, StreamBroken, StreamSilent, TooManyRequests
from tasks.cluster.kinds.pod_exec import ExecResult, run_in_pod
from tests.scripted_api import serve

Script = Callable[[web.WebSocketResponse], Awaitable[object]]


async def ran(script: Script) -> ExecResult:
    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        await script(socket)
        await socket.close()
        return socket

    async with serve(answer) as api, ClusterClient(api.connection) as client:
        return await run_in_pod(
            client, "a", "p", "agent", ["cat", "/a file+x"], silence_seconds=0.3
        )


def ending(body: object) -> bytes:
    return b"\x03" + json.dumps(body).encode()


def sends(*frames: bytes) -> Script:
    async def script(socket: web.WebSocketResponse) -> None:
        for frame in frames:
            await socket.send_bytes(frame)

    return script


async def test_channels_are_told_apart_and_bytes_are_left_alone() -> None:
    result = await ran(
        sends(
            b"\x01",
            b"\x02",
            b"\x01\xff\x00",
            b"\x02oh",
            b"\x01\n\xe2",
            ending({"status": "Success"}),
        )
    )

    assert result == ExecResult(0, b"\xff\x00\n\xe2", b"oh")


async def test_exit_code_comes_from_the_error_channel() -> None:
    causes = [{"reason": "ExitCode", "message": "66"}]
    result = await ran(sends(ending({"status": "Failure", "details": {"causes": causes}})))

    assert result.exit_code == 66


async def test_command_that_could_not_run_says_why() -> None:
    with pytest.raises(ExecFailed, match=r"cat in pod p: no such file"):
        await ran(sends(ending({"status": "Failure", "message": "no such file"})))


async def test_ending_that_is_no_status_is_no_exit_code() -> None:
    with pytest.raises(ExecFailed, match="not a Status"):
        await ran(sends(b"\x03gone"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "not a Status"),
        ([], "not a Status"),
        ({"details": []}, "no reason given"),
        ({"details": {"causes": ["x", None]}}, "no reason given"),
        ({"details": {"causes": [{"reason": "ExitCode", "message": "x"}]}}, "is not a number"),
        (
            {"details": {"causes": [{"reason": "ExitCode", "message": "1" * 5000}]}},
            "is not a number",
        ),
    ],
)
async def test_ending_of_another_shape_is_no_exit_code(body: object, said: str) -> None:
    with pytest.raises(ExecFailed, match=said):
        await ran(sends(ending(body)))


async def test_refused_command_keeps_how_long_the_server_asked_to_wait() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "7"})

    async with serve(answer) as api, ClusterClient(api.connection) as client:
        with pytest.raises(TooManyRequests) as caught:
            await run_in_pod(client, "a", "p", "agent", ["true"])

    assert caught.value.answer.retry_after_seconds == 7.0


async def test_connection_that_ends_without_an_ending_is_broken() -> None:
    with pytest.raises(StreamBroken):
        await ran(sends(b"\x01half"))


async def test_silent_command_is_left_after_its_bound() -> None:
    async def silent(_: web.WebSocketResponse) -> None:
        await asyncio.sleep(30)

    with pytest.raises(StreamSilent):
        await ran(silent)


async def test_long_stderr_is_kept_from_its_beginning() -> None:
    result = await ran(
        sends(b"\x02" + b"a" * 60_000, b"\x02" + b"b" * 60_000, ending({"status": "Success"}))
    )

    assert len(result.stderr) == 65_536
    assert result.stderr.startswith(b"a" * 60_000 + b"b")
