"""What is below a call: sessions, connections, and answers that have no end in sight.

One thing that the library shows nowhere is taken from inside of it, here and nowhere else: the
connection of a websocket. The version is bounded in `pyproject.toml`; a test says when a newer one
has changed it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, cast

import aiohttp

from tasks.cluster.cluster_errors import StreamBroken, StreamSilent
from tasks.cluster.json_objects import RequestTarget

TRANSPORT_FAILURES = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""What the HTTP library and the system raise when no whole answer came."""

_READ_BUFFER_BYTES = 2**21  # a watch's event may be a whole Secret or a large Job

# How long the other side may take to agree to a websocket's end, which nobody needs. The class is
# built by attrs in a way that a type checker cannot follow.
WEBSOCKET_LIMITS = cast("Any", aiohttp.ClientWSTimeout)(ws_close=1.0)


def create_session() -> aiohttp.ClientSession:
    """Return an HTTP session; proxy and TLS are given with each request."""
    # A follow, a watch and an exec each hold a connection: with a bound, a fleet's renewals would
    # wait behind its streams. The environment's proxy and `.netrc` are not for it to read.
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(
        connector=connector, trust_env=False, read_bufsize=_READ_BUFFER_BYTES
    )


def transport_of(socket: aiohttp.ClientWebSocketResponse[bool]) -> asyncio.BaseTransport | None:
    """Return the connection of an open websocket, which it forgets while it closes."""
    return cast("Any", socket)._conn.transport


def abort(transport: asyncio.BaseTransport | None) -> None:
    """Cut a connection, unless it is closed already."""
    # TLS would wait for the other side's farewell, and longer than a process that ends.
    if isinstance(transport, asyncio.Transport):
        # TLS that is closed already has nothing to cut, and fails at that in older releases of
        # Python 3.11, such as Debian 12's.
        with suppress(AttributeError):
            transport.abort()


class ByteStream:
    """One open answer; made by `ClusterClient.stream`."""

    def __init__(
        self, response: aiohttp.ClientResponse, target: RequestTarget, silence_seconds: float
    ) -> None:
        self._response = response
        self._target = target
        self._silence_seconds = silence_seconds

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield what comes, in pieces of no meaning, until the server ends the stream.

        Raises:
            StreamSilent: Nothing came for longer than the bound.
            StreamBroken: The connection was cut; what was yielded is good.
        """
        while True:
            try:
                async with asyncio.timeout(self._silence_seconds):
                    chunk = await self._response.content.readany()
            except TimeoutError as failure:
                raise StreamSilent(
                    f"{self._target}: silent for {self._silence_seconds:g} s.", target=self._target
                ) from failure
            except TRANSPORT_FAILURES as failure:
                raise StreamBroken(
                    f"{self._target}: the connection was cut.", target=self._target, was_sent=True
                ) from failure
            if not chunk:
                return
            yield chunk
