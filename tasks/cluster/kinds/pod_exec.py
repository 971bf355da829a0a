"""Commands in a running container, over a websocket: bytes out, and the exit code.

The websocket's handshake is a GET, which servers authorise as `get` on `pods/exec`, and as `create`
as well from 1.35 on (seen on 1.36): a Role needs both.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import aiohttp

from tasks.cluster.api_answers import parse_json_object
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ExecFailed, StreamBroken, StreamSilent
from tasks.cluster.http_transport import TRANSPORT_FAILURES
from tasks.cluster.json_objects import PODS
from tasks.observation.api_fields import integer_at, object_at, objects_at

# Frames are one byte of channel, then content; all are binary.
_PROTOCOL = "v4.channel.k8s.io"
_STDOUT, _STDERR, _ERROR = 1, 2, 3
_STDERR_KEPT_BYTES = 65_536
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True)
class ExecResult:
    """What a short command did."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ExecStream:
    """One command; read its output to the end, then its exit code is known.

    Attributes:
        exit_code: None until the output has been read to its end.
        stderr: The first 64 KiB of it.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse[bool], what: str, silence_seconds: float
    ) -> None:
        self._socket = socket
        self._what = what
        self._silence_seconds = silence_seconds
        self.exit_code: int | None = None
        self.stderr = b""

    async def stdout_chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield stdout in pieces of no meaning until the command has ended.

        Raises:
            StreamSilent: Nothing came for longer than the bound.
            StreamBroken: The connection was cut before the command's end was reported.
            ExecFailed: The command could not be run.
        """
        while self.exit_code is None:
            channel, content = await self._next_frame()
            if channel == _STDOUT and content:
                yield content
            elif channel == _STDERR:
                self.stderr = (self.stderr + content)[:_STDERR_KEPT_BYTES]
            elif channel == _ERROR and content:
                self.exit_code = _parse_exit_code(content, self._what)

    async def _next_frame(self) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._silence_seconds):
                message = await self._socket.receive()
        except TimeoutError as failure:
            raise StreamSilent(
                f"{self._what}: silent for {self._silence_seconds:g} s."
            ) from failure
        except TRANSPORT_FAILURES as failure:
            raise StreamBroken(f"{self._what}: the connection was cut.", was_sent=True) from failure
        if message.type is aiohttp.WSMsgType.BINARY and message.data:
            data = cast("bytes", message.data)
            return data[0], data[1:]
        if message.type is aiohttp.WSMsgType.BINARY:
            return _STDOUT, b""
        raise StreamBroken(f"{self._what}: ended without telling how.", was_sent=True)


def _parse_exit_code(content: bytes, what: str) -> int:
    """Read the error channel's `Status`: Success, or a cause `ExitCode`, else it never ran."""
    status = parse_json_object(content)
    if status is None:
        raise ExecFailed(f"{what}: its ending is not a Status.")
    if status.get("status") == "Success":
        return 0
    for cause in objects_at(object_at(status, "details"), "causes"):
        if cause.get("reason") == "ExitCode":
            exit_code = integer_at(cause, "message")
            if exit_code is None:
                raise ExecFailed(f"{what}: its exit code is not a number.")
            return exit_code
    raise ExecFailed(f"{what}: {str(status.get('message') or 'no reason given')[:500]}")


@asynccontextmanager
async def open_exec(
    client: ClusterClient,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    silence_seconds: float = _SILENCE_SECONDS,
) -> AsyncGenerator[ExecStream, None]:
    """Start a command in a running container; its stdin is empty.

    Leaving early closes the connection; the command then ends when it next writes.

    Raises:
        ClusterForbidden: `get` or `create` on `pods/exec` is missing.
        ObjectNotFound: The pod is gone.
        ClusterUnavailable: The container is not running (a 500 of the kubelet).
    """
    query = {
        "container": container,
        "command": list(command),
        "stdin": "false",
        "stdout": "true",
        "stderr": "true",
        "tty": "false",
    }
    path = PODS.path(namespace, pod, "exec")
    async with client.websocket(path, query=query, protocol=_PROTOCOL) as socket:
        yield ExecStream(socket, f"{command[0]} in pod {pod}", silence_seconds)


async def run_in_pod(
    client: ClusterClient,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    silence_seconds: float = _SILENCE_SECONDS,
) -> ExecResult:
    """Run a command whose output is small to its end; errors as in `open_exec`."""
    async with open_exec(
        client, namespace, pod, container, command, silence_seconds=silence_seconds
    ) as stream:
        stdout = b"".join([chunk async for chunk in stream.stdout_chunks()])
        return ExecResult(cast("int", stream.exit_code), stdout, stream.stderr)


async def touch_pod_file(
    client: ClusterClient, namespace: str, pod: str, container: str, path: str
) -> None:
    """Make an empty file in the container, or leave the one there; needs its sh.

    Raises:
        ExecFailed: It could not be written; further errors as in `open_exec`.
    """
    command = ["/bin/sh", "-c", ': >> "$1"', "sh", path]
    result = await run_in_pod(client, namespace, pod, container, command)
    if result.exit_code != 0:
        said = result.stderr.decode(errors="replace").strip()[:500]
        raise ExecFailed(f"{path} in pod {pod} could not be written: {said or result.exit_code}")
