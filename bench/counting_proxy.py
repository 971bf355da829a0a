"""A proxy before a cluster's API that notes every request and cuts log streams.

Each contestant gets its own proxy and a kubeconfig that names it, so that what one does is
told from what the others do at the same time.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from tasks.cluster.api_session import ApiSession, headers_of, routing_of, url_of
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.json_objects import describe_request

_CALL = aiohttp.ClientTimeout(total=None, sock_connect=5)
_PASSED_ON = ("Content-Type", "Date", "Retry-After")
_BODY_MAX_BYTES = 16 * 1024 * 1024


@dataclass
class NotedRequest:
    """One request; instants on the clock of `time.monotonic`.

    Attributes:
        what: Verb and resource, as in `get pods/log`.
        began_at: When it came.
        head_at: When the answer's head had come; infinite until then.
    """

    what: str
    began_at: float
    head_at: float = float("inf")


class CountingProxy:
    """Passes requests on.

    Attributes:
        requests: In the order in which they came.
        cuts_made: How many log streams were cut.
    """

    def __init__(
        self, upstream: ApiSession, cuts: Sequence[int] = (), distance_seconds: float = 0.0
    ) -> None:
        """Note nothing yet.

        Args:
            upstream: The cluster.
            cuts: After how many bytes the first log stream is cut, the second one, and so on.
            distance_seconds: By how much the head of each answer is late, as from a cluster that is
                far away.
        """
        self.requests: list[NotedRequest] = []
        self.cuts_made = 0
        self._upstream = upstream
        self._cuts: Iterator[int] = iter(cuts)
        self._distance_seconds = distance_seconds

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on."""
        target = describe_request(request.method, request.path, watch="watch" in request.query)
        noted = NotedRequest(target.rule, time.monotonic())
        self.requests.append(noted)
        access = await self._upstream.access()
        headers = headers_of(access, request.headers.get("Accept", "*/*"))
        headers["Content-Type"] = request.headers.get("Content-Type", "application/json")
        try:
            async with self._upstream.http.request(
                request.method,
                url_of(access, request.raw_path, {}),
                headers=headers,
                data=await request.read() or None,
                timeout=_CALL,
                **routing_of(access),
            ) as answer:
                await asyncio.sleep(self._distance_seconds)
                noted.head_at = time.monotonic()
                return await self._pass_back(request, answer, is_log=noted.what == "get pods/log")
        except (aiohttp.ClientError, ConnectionError):
            _abort(request)
            return web.Response()  # nobody hears it

    async def _pass_back(
        self, request: web.Request, answer: aiohttp.ClientResponse, *, is_log: bool
    ) -> web.StreamResponse:
        kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        left = next(self._cuts, None) if is_log and answer.ok else None
        async for chunk in answer.content.iter_any():
            await response.write(chunk if left is None else chunk[:left])
            if left is not None:
                left -= len(chunk)
                if left <= 0:
                    self.cuts_made += 1
                    _abort(request)
                    break
        return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def counting_proxy(
    kubeconfig: str, folder: Path, cuts: Sequence[int] = (), distance_seconds: float = 0.0
) -> AsyncGenerator[tuple[CountingProxy, str]]:
    """Run a proxy before the cluster of `kubeconfig`; gives it and a kubeconfig that names it."""
    upstream = ApiSession(
        ClusterConnection.from_kubeconfig_file(kubeconfig), monotonic=time.monotonic
    )
    await upstream.open()
    proxy = CountingProxy(upstream, cuts, distance_seconds)
    app = web.Application(client_max_size=_BODY_MAX_BYTES)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    # A watch that its reader has left must not wait for the next event to find out.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        path = folder / f"proxy-{port}.kubeconfig"
        path.write_text(json.dumps(_kubeconfig(f"http://{host}:{port}")))
        yield proxy, str(path)
    finally:
        await runner.cleanup()
        await upstream.close()


def _kubeconfig(server: str) -> dict[str, object]:
    name = "proxy"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
