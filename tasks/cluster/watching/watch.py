"""One watch that never ends: list, watch, and list again whatever ends the watch.

The state is whatever `Listed` said, changed by what followed. Between `WatchLost` and the next
`Listed` nothing is known to be current.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from tasks.cluster.api_answers import is_stored_object, parse_json_object
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, ResourceExpired, StreamBroken
from tasks.cluster.http_transport import ByteStream
from tasks.cluster.json_objects import ApiResource, JsonObject
from tasks.cluster.kinds.api_objects import list_objects
from tasks.observation.api_fields import text_at
from tasks.vocabulary.backoff import Backoff

# Asked of the server, so that its end is the rule and not a surprise: a fresh list every five
# minutes repairs whatever a watch may have missed.
_WATCH_SECONDS = 290
# Servers send a bookmark about every minute; two are missing when this has passed.
_SILENCE_SECONDS = 150.0
_BACKOFF = Backoff(0.2, 10.0)


@dataclass(frozen=True)
class Listed:
    """All that exists now; what is not in it has gone.

    Attributes:
        objects: In the server's order.
        resource_version: The instant it was true.
    """

    objects: tuple[JsonObject, ...]
    resource_version: str


@dataclass(frozen=True)
class Changed:
    """One object is new or different."""

    object: JsonObject


@dataclass(frozen=True)
class Deleted:
    """One object went, or no longer matches the selector; this is its last state."""

    object: JsonObject


@dataclass(frozen=True)
class StillWatching:
    """A bookmark: nothing has changed, and the connection lives."""


@dataclass(frozen=True)
class WatchLost:
    """The watch ended; it is listed and watched again after a delay.

    Attributes:
        error: None when the server ended it in good order.
    """

    error: ClusterError | None


WatchEvent = Listed | Changed | Deleted | StillWatching | WatchLost


@dataclass(frozen=True)
class Selection:
    """Which objects are watched."""

    resource: ApiResource
    namespace: str
    label_selector: str = ""
    field_selector: str = ""


async def watch_objects(
    client: ClusterClient,
    selection: Selection,
    *,
    silence_seconds: float = _SILENCE_SECONDS,
    watch_seconds: int = _WATCH_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[WatchEvent, None]:
    """Yield what happens to the selected objects, for ever; no error ends it.

    Args:
        client: The connection.
        selection: What is watched.
        silence_seconds: A watch that says nothing for longer is taken for dead.
        watch_seconds: How long the server is asked to keep one watch.
        sleep: Waits before listing again, in seconds.
    """
    idle_rounds = 0
    while True:
        lost = WatchLost(None)
        try:
            found = await list_objects(
                client,
                selection.resource,
                selection.namespace,
                label_selector=selection.label_selector,
                field_selector=selection.field_selector,
            )
            yield Listed(found.items, found.resource_version)
            async with aclosing(
                watch_once(
                    client,
                    selection,
                    resource_version=found.resource_version,
                    silence_seconds=silence_seconds,
                    watch_seconds=watch_seconds,
                )
            ) as events:
                async for event in events:
                    idle_rounds = 0
                    yield event
        except ClusterError as failure:
            lost = WatchLost(failure)
        yield lost
        idle_rounds += 1
        await sleep(_BACKOFF.delay_seconds(idle_rounds))


async def watch_once(
    client: ClusterClient,
    selection: Selection,
    *,
    resource_version: str,
    silence_seconds: float,
    watch_seconds: int,
) -> AsyncGenerator[WatchEvent, None]:
    """Yield what happens after `resource_version` until the server ends the watch.

    Raises:
        ResourceExpired: The version is too old, or the server has lost the thread.
        StreamBroken: The connection was cut, or brought something else.
        StreamSilent: Nothing came for `silence_seconds`.
        ClusterError: The watch could not be opened.
    """
    query = {
        "watch": "true",
        "resourceVersion": resource_version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(watch_seconds),
    }
    if selection.label_selector:
        query["labelSelector"] = selection.label_selector
    if selection.field_selector:
        query["fieldSelector"] = selection.field_selector
    async with (
        client.stream(
            selection.resource.path(selection.namespace),
            query=query,
            silence_seconds=silence_seconds,
            is_watch=True,
        ) as stream,
        aclosing(_lines(stream)) as lines,
    ):
        async for line in lines:
            yield _parse_watch_line(line)


async def _lines(stream: ByteStream) -> AsyncGenerator[bytes, None]:
    """Yield whole lines; an unfinished last one is dropped, the list that follows has it."""
    pending = bytearray()
    async with aclosing(stream.chunks()) as chunks:
        async for chunk in chunks:
            pending += chunk
            if b"\n" not in chunk:
                continue
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                if line.strip():
                    yield line


def _parse_watch_line(line: bytes) -> WatchEvent:
    """Read one line of a watch.

    Raises:
        ResourceExpired: An ERROR event of code 410; the answer's own status is 200.
        StreamBroken: Another ERROR event, or something that is no watch event.
    """
    raw = parse_json_object(line) or {}
    kind = text_at(raw, "type")
    body: JsonObject | None = raw["object"] if isinstance(raw.get("object"), dict) else None
    is_change = kind in ("ADDED", "MODIFIED", "DELETED")
    if body is None or kind is None or (is_change and not is_stored_object(body)):
        raise StreamBroken("What the watch sent is not a watch event.", was_sent=True)
    if kind in ("ADDED", "MODIFIED"):
        return Changed(body)
    if kind == "DELETED":
        return Deleted(body)
    if kind == "BOOKMARK":
        return StillWatching()
    message = str(body.get("message") or kind)[:500]
    if body.get("code") == 410:
        raise ResourceExpired(f"The watch has to start anew: {message}", status=410)
    raise StreamBroken(f"The watch ended with an error: {message}", was_sent=True)
