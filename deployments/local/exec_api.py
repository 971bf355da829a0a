"""`pods/exec` over websockets: the channel protocols `v4.channel.k8s.io` and `v5.channel.k8s.io`.

The fifth, which kubectl asks for, adds the closing of standard input to the fourth.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import termios
from dataclasses import replace
from typing import Any

from aiohttp import WSMsgType, web

from deployments.local import api_errors
from deployments.local.api_errors import ApiError
from deployments.local.containers import RunningProcess, StartError
from deployments.local.logs_api import check_node, choose_container
from deployments.local.node import Node
from deployments.local.objects import mapped
from deployments.local.resources import JsonObject
from deployments.local.routing import Request

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = b"\0", b"\1", b"\2", b"\3", b"\4", b"\xff"
_READ_BYTES = 32 * 1024


async def serve_exec(
    node: Node, pod: JsonObject, request: Request, http: web.Request
) -> web.StreamResponse:
    """Run a command in a container and carry its streams.

    Raises:
        ApiError: 400 or 500 before anything has run.
    """
    _check_parameters(request, http)
    container = choose_container(pod, request.query.get("container", ""))
    check_node(node, pod)
    worker = node.worker_of(pod)
    entered = worker.containers[container] if worker else None
    main, plan = (entered.process, entered.plan) if entered else (None, None)
    if mapped(pod, "status").get("phase") in ("Succeeded", "Failed"):
        phase = pod["status"]["phase"]
        raise ApiError(
            500,
            "InternalError",
            "Internal error occurred: cannot exec into a container in a completed pod; "
            f"current phase is {phase}",
        )
    if main is None or plan is None:
        raise ApiError(
            500,
            "InternalError",
            f'Internal error occurred: unable to upgrade connection: container not found ("'
            f'{container}")',
        )
    socket = web.WebSocketResponse(protocols=_PROTOCOLS, max_msg_size=0)
    await socket.prepare(http)
    spec = replace(
        plan.spec,
        argv=[plan.rewriter.rewrite(word) for word in request.commands],
        join_pid=main.pid,
        memory_limit_bytes=None,
        tty=request.flag("tty"),
    )
    # A first empty frame tells the client that the connection stands.
    await socket.send_bytes(_STDOUT)
    terminal, inner = os.openpty() if spec.tty else (-1, asyncio.subprocess.PIPE)
    try:
        running = await node.services.runtime.start(spec, stdin=inner)
    except StartError as error:
        await socket.send_bytes(_ERROR + _start_failure(str(error)))
    else:
        session = _Session(socket, running, terminal, request)
        await session.run()
    finally:
        if spec.tty:
            os.close(terminal)
            os.close(inner)
    await socket.close()
    return socket


def _check_parameters(request: Request, http: web.Request) -> None:
    if http.headers.get("Upgrade", "").lower() != "websocket":
        raise api_errors.bad_request("Upgrade request required")
    if not request.commands:
        raise api_errors.bad_request("you must specify a command for the exec")
    if not any(request.flag(name) for name in ("stdin", "stdout", "stderr", "tty")):
        raise api_errors.bad_request("you must specify at least 1 of stdin, stdout, stderr")


class _Session:
    def __init__(
        self,
        socket: web.WebSocketResponse,
        running: RunningProcess,
        terminal: int,
        request: Request,
    ) -> None:
        self._socket = socket
        self._running = running
        self._terminal = terminal
        self._request = request

    async def run(self) -> None:
        """Carry the streams until the command has ended or the client has gone."""
        process = self._running.process
        incoming = asyncio.create_task(self._receive())
        outgoing = [asyncio.create_task(self._copy(process.stdout, _STDOUT, "stdout"))]
        outgoing.append(asyncio.create_task(self._copy(process.stderr, _STDERR, "stderr")))
        if self._terminal >= 0:
            outgoing.append(asyncio.create_task(self._copy_terminal()))
        ended = asyncio.ensure_future(self._running.ended)
        try:
            await asyncio.wait([incoming, ended], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._running.kill()
            # Awaiting it alone would cancel it together with this request.
            await asyncio.wait([ended])
            outcome = ended.result()
            await asyncio.wait(outgoing, timeout=1)
            with contextlib.suppress(ConnectionError):
                await self._socket.send_bytes(_ERROR + self._verdict(outcome.code))
        finally:
            for task in (incoming, *outgoing):
                task.cancel()
            if not ended.done():
                self._running.kill()  # the request was cancelled: its client has gone

    async def _copy(self, stream: asyncio.StreamReader | None, channel: bytes, name: str) -> None:
        while stream is not None and (chunk := await stream.read(_READ_BYTES)):
            if self._request.flag(name):
                await self._socket.send_bytes(channel + chunk)

    async def _copy_terminal(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._terminal, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                chunk = os.read(self._terminal, _READ_BYTES)
                if not chunk:
                    return
                await self._socket.send_bytes(_STDOUT + chunk)
        except OSError:
            return  # the last process has closed its side
        finally:
            loop.remove_reader(self._terminal)

    async def _receive(self) -> None:
        stdin = self._running.process.stdin
        if stdin is not None and not self._request.flag("stdin"):
            stdin.close()
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY:
                continue
            data: bytes = message.data
            channel, content = data[:1], data[1:]
            if channel == _STDIN and self._terminal >= 0:
                os.write(self._terminal, content)
            elif channel == _STDIN and stdin is not None:
                with contextlib.suppress(ConnectionError):
                    stdin.write(content)
                    await stdin.drain()
            elif channel == _CLOSE and content == _STDIN and stdin is not None:
                stdin.close()
            elif channel == _RESIZE and self._terminal >= 0:
                _resize(self._terminal, json.loads(content))

    def _verdict(self, code: int) -> bytes:
        status: JsonObject = {"metadata": {}, "status": "Success"}
        if code:
            text = f"error executing command {_quoted(self._request)}, exit code {code}"
            status = {
                "metadata": {},
                "status": "Failure",
                "message": f"command terminated with non-zero exit code: {text}",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
            }
        return json.dumps(status).encode()


def _quoted(request: Request) -> str:
    return f"[{' '.join(request.commands)}]"


def _resize(terminal: int, size: dict[str, Any]) -> None:
    shape = struct.pack("HHHH", size.get("Height", 24), size.get("Width", 80), 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, shape)


def _start_failure(reason: str) -> bytes:
    message = (
        "error executing command in container: failed to exec in container: failed to start exec: "
        f"OCI runtime exec failed: exec failed: unable to start container process: {reason}: "
        "unknown"
    )
    status = {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }
    return json.dumps(status).encode()
