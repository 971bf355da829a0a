"""A server in front of a cluster's API, as companies put them: it asks for client certificates or
tokens of its own, puts the API under a path, listens on another address, and cuts connections.
"""

import asyncio
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast
from weakref import WeakSet

import aiohttp
from aiohttp import web
from yarl import URL

from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kubeconfig import ClusterConfig, read_connection
from tasks.cluster.tls_material import build_tls_context
from tests.scripted_api import status

_HOP_BY_HOP = {"host", "authorization", "connection", "transfer-encoding", "content-length"}
_PROTOCOL = "v4.channel.k8s.io"


@dataclass
class ApiFront:
    """One running front; its fields may be changed while it runs.

    Attributes:
        behind: The cluster.
        prefix: Path under which the API lies, without a slash at its end.
        token: Bearer token that requests need; None takes every one.
        cut_seconds: After this time each connection is cut; None leaves them alone.
        refused: How many requests had no good token or certificate.
        cuts: How many connections were cut.
    """

    behind: ClusterConfig
    tls: ssl.SSLContext
    host: str = "127.0.0.1"
    prefix: str = ""
    token: str | None = None
    cut_seconds: float | None = None
    url: str = ""
    refused: int = 0
    cuts: int = 0
    seen: list[str] = field(default_factory=list[str])
    _session: aiohttp.ClientSession | None = None
    _known: "WeakSet[asyncio.BaseTransport]" = field(
        default_factory=lambda: WeakSet[asyncio.BaseTransport]()
    )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return web.Response()
        if self.cut_seconds is not None and transport not in self._known:
            self._known.add(transport)
            asyncio.get_running_loop().call_later(self.cut_seconds, self._cut, transport)
        if not self._is_allowed(request, transport):
            self.refused += 1
            return status(401, "Unauthorized", message="Unauthorized")
        self.seen.append(f"{request.method} {request.path}")
        url = URL(self.behind.server + request.raw_path.removeprefix(self.prefix), encoded=True)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        if self.behind.authorization is not None:
            headers["Authorization"] = self.behind.authorization
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return await self._relay_socket(request, url)
        return await self._relay(request, url, headers)

    def _cut(self, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            self.cuts += 1
            transport.abort()

    def _is_allowed(self, request: web.Request, transport: asyncio.Transport) -> bool:
        if not request.raw_path.startswith(self.prefix):
            return False
        shown: Any = transport.get_extra_info("peercert")
        # Judged at each request, as the API server does, since connections outlive certificates.
        if shown and parsedate_to_datetime(shown["notAfter"]).replace(tzinfo=UTC) < datetime.now(
            UTC
        ):
            return False
        return self.token is None or request.headers.get("Authorization") == f"Bearer {self.token}"

    async def _relay(
        self, request: web.Request, url: URL, headers: dict[str, str]
    ) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, ssl=self._tls_behind
        ) as found:
            kept = {k: v for k, v in found.headers.items() if k.lower() not in _HOP_BY_HOP}
            answer = web.StreamResponse(status=found.status, headers=kept)
            await answer.prepare(request)
            async for chunk in found.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
            return answer

    async def _relay_socket(self, request: web.Request, url: URL) -> web.StreamResponse:
        assert self._session is not None
        given = self.behind.authorization
        async with self._session.ws_connect(
            url,
            protocols=(_PROTOCOL,),
            headers={"Authorization": given} if given else {},
            max_msg_size=0,
            ssl=self._tls_behind,
        ) as behind:
            answer = web.WebSocketResponse(protocols=(_PROTOCOL,), max_msg_size=0)
            await answer.prepare(request)
            async for message in behind:
                await answer.send_bytes(cast("bytes", message.data))
            await answer.close()
            return answer

    async def run(self, started: threading.Event, stop: asyncio.Event) -> None:
        self._tls_behind = build_tls_context(self.behind.tls)
        connector = aiohttp.TCPConnector(limit=0)
        limits = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector, timeout=limits, auto_decompress=False
        ) as session:
            self._session = session
            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, self.host, 0, ssl_context=self.tls).start()
            port = runner.addresses[0][1]
            host = f"[{self.host}]" if ":" in self.host else self.host
            self.url = f"https://{host}:{port}{self.prefix}"
            started.set()
            await stop.wait()
            with suppress(Exception):
                await runner.cleanup()


@contextmanager
def serve_front(kubeconfig: str, tls: ssl.SSLContext, **fields: Any) -> Generator[ApiFront]:
    """Run a front in a thread of its own."""
    behind = read_connection(ClusterConnection.from_kubeconfig_file(str(Path(kubeconfig))))
    front = ApiFront(behind, tls, **fields)
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(front.run(started, stop)))
    thread.start()
    try:
        assert started.wait(10)
        yield front
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
