"""Connections and watches that many runs of one process share."""

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from contextvars import Context

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.watching.job_feed import JobFeed, OnEvent


class SharedJobFeed(JobFeed):
    """Watches on a namespace that run by themselves while anybody uses them."""

    _running: asyncio.Task[None] | None = None
    _users = 0

    @contextmanager
    def keep_open(self) -> Generator[None, None, None]:
        """Keep the watches open meanwhile; the first user starts them, the last one ends them."""
        self._users += 1
        if self._running is None or self._running.done():
            # In a context of its own: that of a user would live as long as the watches.
            self._running = asyncio.create_task(self.run(), context=Context())
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._running.cancel()
                self._running = None

    @contextmanager
    def subscribe(self, job_uid: str, on_event: OnEvent) -> Generator[None, None, None]:
        """See `JobFeed.subscribe`; a subscriber keeps the watches open."""
        with self.keep_open(), super().subscribe(job_uid, on_event):
            yield


class SharedClusters:
    """One client per connection and one feed per namespace; an async context manager."""

    def __init__(self, label_selector: str) -> None:
        """Connect to nothing yet.

        Args:
            label_selector: Of the Jobs and pods that are watched, which both must carry.
        """
        self._label_selector = label_selector
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._clients: dict[ClusterConnection, ClusterClient] = {}
        self._feeds: dict[tuple[ClusterClient, str], SharedJobFeed] = {}

    async def __aenter__(self) -> "SharedClusters":
        """Connect to nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def places(self) -> list[tuple[ClusterClient, str]]:
        """Clients and the namespaces in which they watch."""
        return list(self._feeds)

    async def client(self, connection: ClusterConnection) -> ClusterClient:
        """Return the one client of a connection; it is closed at the end of all.

        Raises:
            KubeconfigInvalid: The configuration cannot be used.
        """
        async with self._lock:
            if connection not in self._clients:
                client = await self._stack.enter_async_context(ClusterClient(connection))
                self._clients[connection] = client
            return self._clients[connection]

    def feed(self, client: ClusterClient, namespace: str) -> SharedJobFeed:
        """Return the one feed of a namespace."""
        key = (client, namespace)
        if key not in self._feeds:
            self._feeds[key] = SharedJobFeed.of_namespace(client, namespace, self._label_selector)
        return self._feeds[key]
