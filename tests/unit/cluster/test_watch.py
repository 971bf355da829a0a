import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterForbidden,
    ResourceExpired,
    StreamBroken,
    StreamSilent,
)
from tasks.cluster.json_objects import PODS
from tasks.cluster.watching.watch import (
    Changed,
    Deleted,
    Listed,
    Selection,
    StillWatching,
    WatchEvent,
    WatchLost,
    watch_objects,
)
from tests.scripted_api import ScriptedApi, reset, serve, status

SELECTION = Selection(PODS, "a", label_selector="app=x")


def a_pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid of {name}"}}


def event_line(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


Step = Callable[[web.Request, web.StreamResponse], Any]


def send(*pieces: bytes) -> Step:
    async def step(_: web.Request, response: web.StreamResponse) -> None:
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.02)

    return step


async def hang(_: web.Request, response: web.StreamResponse) -> None:
    await asyncio.sleep(30)


async def cut(request: web.Request, response: web.StreamResponse) -> None:
    reset(request)


async def end(_: web.Request, response: web.StreamResponse) -> None:
    pass


async def watched(*rounds: list[Step], take: int) -> tuple[list[WatchEvent], ScriptedApi]:
    """Return the first `take` events of watches that go as told, one list of steps per round."""
    waiting = iter(rounds)

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            metadata, items = {"resourceVersion": "7"}, [a_pod("first")]
            return web.json_response({"kind": "PodList", "metadata": metadata, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        for step in next(waiting):
            await step(request, response)
        return response

    events: list[WatchEvent] = []
    async with (
        serve(answer) as api,
        ClusterClient(api.connection) as client,
        aclosing(watch_objects(client, SELECTION, silence_seconds=0.3)) as stream,
    ):
        async for event in stream:
            events.append(event)
            if len(events) == take:
                break
    return events, api


LISTED = Listed((a_pod("first"),), "7")


async def test_watch_lists_and_goes_on_from_the_lists_version() -> None:
    events, api = await watched(
        [
            send(
                event_line("ADDED", a_pod("b")),
                event_line("MODIFIED", a_pod("b")),
                event_line("BOOKMARK", {}) + event_line("DELETED", a_pod("b")),
            ),
            hang,
        ],
        take=5,
    )

    assert events == [
        LISTED,
        Changed(a_pod("b")),
        Changed(a_pod("b")),
        StillWatching(),
        Deleted(a_pod("b")),
    ]
    query = api.requests[1].query
    assert query["resourceVersion"] == "7"
    assert query["labelSelector"] == "app=x"
    assert query["allowWatchBookmarks"] == "true"


async def test_event_cut_at_every_byte_is_one_event() -> None:
    line = event_line("ADDED", a_pod("ü"))
    events, _ = await watched([send(*(line[i : i + 1] for i in range(len(line)))), hang], take=2)

    assert events == [LISTED, Changed(a_pod("ü"))]


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ([end], type(None)),
        ([cut], StreamBroken),
        ([hang], StreamSilent),
        ([send(event_line("ERROR", {"code": 410, "reason": "Expired"})), hang], ResourceExpired),
        ([send(event_line("ERROR", {"code": 500})), hang], StreamBroken),
        ([send(b"<html>\n"), hang], StreamBroken),
        ([send(b"null\n"), hang], StreamBroken),
        ([send(b'{"type":"ERROR","object":null}\n'), hang], StreamBroken),
        ([send(b'{"type":"ADDED","object":null}\n'), hang], StreamBroken),
        ([send(b'{"type":"DELETED","object":{"metadata":[]}}\n'), hang], StreamBroken),
        ([send(event_line("ADDED", a_pod("b"))[:-5]), end], type(None)),
    ],
    ids=[
        "end",
        "cut",
        "silence",
        "expired",
        "error event",
        "no event",
        "null",
        "error of null",
        "change of null",
        "no UID",
        "unfinished line",
    ],
)
async def test_watch_that_ends_anyhow_is_listed_and_watched_again(
    ending: list[Step], error: type[ClusterError | None]
) -> None:
    events, _ = await watched(ending, [send(event_line("ADDED", a_pod("c"))), hang], take=4)

    lost = events[1]
    assert isinstance(lost, WatchLost)
    assert type(lost.error) is error
    assert [events[0], *events[2:]] == [LISTED, LISTED, Changed(a_pod("c"))]


async def test_watch_that_is_never_allowed_is_tried_with_growing_waits() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def answer(_: web.Request) -> web.StreamResponse:
        return status(403, "Forbidden")

    async with (
        serve(answer) as api,
        ClusterClient(api.connection) as client,
        aclosing(watch_objects(client, SELECTION, sleep=sleep)) as stream,
    ):
        async for event in stream:
            assert isinstance(event, WatchLost)
            assert isinstance(event.error, ClusterForbidden)
            if len(waits) == 9:
                break

    assert waits[0] <= 0.2
    assert 5.0 <= waits[-1] <= 10.0
    assert all(seconds <= 10.0 for seconds in waits)
