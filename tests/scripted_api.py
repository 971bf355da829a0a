"""A local HTTP server that answers as a test's function says; stands in for an API server's faults.

What a real API server answers is tested in tests/cluster; this one is for what cannot be ordered
there: resets, hangs, 5xx, broken streams.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext

from aiohttp import web

from tasks.cluster.connection import ClusterConnection

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedApi:
    """One running server, and what it was asked."""

    url: str
    requests: list[web.Request] = field(default_factory=list[web.Request])

    @property
    def connection(self) -> ClusterConnection:
        return ClusterConnection.from_kubeconfig(kubeconfig(self.url))


def kubeconfig(url: str, user: dict[str, object] | None = None) -> dict[str, object]:
    """Return a kubeconfig's content with one context, named `test`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": user or {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


@asynccontextmanager
async def serve(answer: Answer, tls: SSLContext | None = None) -> AsyncGenerator[ScriptedApi, None]:
    """Answer every request with `answer` until the block is left; whatever hangs is then cut."""
    api = ScriptedApi("")
    leaving = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        api.requests.append(request)
        left = asyncio.ensure_future(leaving.wait())
        answered = asyncio.ensure_future(answer(request))
        await asyncio.wait({left, answered}, return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        if answered.done():
            return answered.result()
        answered.cancel()
        reset(request)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    host, port = runner.addresses[0][:2]
    api.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield api
    finally:
        leaving.set()
        await runner.cleanup()


def status(code: int, reason: str = "", **more: object) -> web.Response:
    """Return a failed answer as the API writes it."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, **more}
    return web.json_response(body, status=code)


def reset(request: web.Request) -> None:
    """Cut the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
