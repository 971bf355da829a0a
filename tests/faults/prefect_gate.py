"""A way to the Prefect server that can be shut: as if the server were away, for those behind it."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class PrefectGate:
    """Forwards connections to the server while it is open."""

    def __init__(self, server_url: str) -> None:
        """Open the gate; `server_url` is `http://host:port/api`."""
        host, _, port = server_url.removeprefix("http://").removesuffix("/api").partition(":")
        self._server = host, int(port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.open()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api"

    def open(self) -> None:
        self._call(self._open())

    def shut(self) -> None:
        """Refuse new connections and break the others."""
        self._call(self._shut())

    def end(self) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _shut(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
            # What was accepted last is served from here on; unserved, nobody would close it.
            await asyncio.sleep(0.05)
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        server: asyncio.StreamWriter | None = None
        try:
            answers, server = await asyncio.open_connection(*self._server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, server, writer))
                both.create_task(copy_stream(answers, writer))
        except (OSError, asyncio.CancelledError):
            pass  # cut by one of its ends, or by the test
        finally:
            self._connections.discard(connection)
            for end in filter(None, (writer, server)):
                end.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,  # for those who answer by themselves
    ) -> None:
        """Hand on what a client says."""
        await copy_stream(reader, server)


async def copy_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on until the sender has ended."""
    with suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
