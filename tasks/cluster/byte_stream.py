"""The bytes of an answer that has no end in sight, with a bound on its silence."""

import asyncio
from collections.abc import AsyncGenerator

import aiohttp

from tasks.cluster.cluster_errors import StreamBroken, StreamSilent
from tasks.cluster.json_objects import RequestTarget

TRANSPORT_FAILURES = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""What the HTTP library and the system raise when no whole answer came."""


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
