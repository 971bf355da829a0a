import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from tasks.cluster.api_answers import parse_answer
from tasks.cluster.call_retry import RETRY_NEVER, RETRY_SAFE, RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    ClusterUnavailable,
    ClusterUnreachable,
    StreamBroken,
    StreamSilent,
    TooManyRequests,
)
from tasks.cluster.json_objects import RequestTarget
from tests.scripted_api import Answer, reset, serve, status

POD = "/api/v1/namespaces/a/pods/p"
PODS = "/api/v1/namespaces/a/pods"


class Sleeps:
    """Waits no time and remembers how long it should have waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def in_turn(*answers: Callable[[web.Request], web.Response]) -> Answer:
    """Give each answer once, then the last one for ever."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))

    async def answer(request: web.Request) -> web.StreamResponse:
        return next(turns)(request)

    return answer


def good(_: web.Request) -> web.Response:
    return web.json_response({"ok": True})


def failed(code: int, **headers: str) -> Callable[[web.Request], web.Response]:
    def answer(_: web.Request) -> web.Response:
        response = status(code)
        response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return response

    return answer


def cut(request: web.Request) -> web.Response:
    reset(request)
    return web.Response()


async def test_read_is_repeated_after_two_500_with_growing_waits() -> None:
    sleeps = Sleeps()
    async with (
        serve(in_turn(failed(500), failed(500), good)) as api,
        ClusterClient(api.connection, sleep=sleeps) as client,
    ):
        answer = await client.request("GET", POD)

    assert answer.json == {"ok": True}
    assert client.requests == {"get pods": 3}
    assert len(sleeps.seconds) == 2
    assert 0 <= sleeps.seconds[0] <= 0.5
    assert 0 <= sleeps.seconds[1] <= 1.0


async def test_read_gives_up_after_five_tries_with_the_last_error() -> None:
    async with (
        serve(in_turn(failed(503))) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        with pytest.raises(ClusterUnavailable) as caught:
            await client.request("GET", POD)

    assert caught.value.status == 503
    assert len(api.requests) == 5


async def test_retry_after_is_waited_for_in_full() -> None:
    sleeps = Sleeps()
    async with (
        serve(in_turn(failed(429, Retry_After="3"), good)) as api,
        ClusterClient(api.connection, sleep=sleeps) as client,
    ):
        await client.request("POST", PODS, body={})

    assert len(api.requests) == 2
    assert 3.0 <= sleeps.seconds[0] <= 3.5


async def test_retry_after_beyond_the_bound_ends_at_once() -> None:
    sleeps = Sleeps()
    async with (
        serve(in_turn(failed(429, Retry_After="3600"))) as api,
        ClusterClient(api.connection, sleep=sleeps) as client,
    ):
        with pytest.raises(TooManyRequests):
            await client.request("GET", POD)

    assert (len(api.requests), sleeps.seconds) == (1, [])


async def test_reset_connection_is_repeated_for_a_read() -> None:
    # A fresh connection per try: the HTTP library repeats by itself only on an idle one.
    async with (
        serve(in_turn(cut, good)) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        assert (await client.request("GET", POD)).status == 200


@pytest.mark.parametrize("fault", [failed(500), failed(504), cut], ids=["500", "504", "reset"])
async def test_write_is_not_repeated_after_a_failure_that_may_hide_a_success(
    fault: Callable[[web.Request], web.Response],
) -> None:
    async with (
        serve(in_turn(fault, good)) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        with pytest.raises(ClusterError):
            await client.request("POST", PODS, body={})

    assert len(api.requests) == 1


async def test_write_is_repeated_when_its_caller_can_recognise_it() -> None:
    async with (
        serve(in_turn(failed(500), cut, good)) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        await client.request("POST", PODS, body={}, retry=RETRY_SAFE)

    assert len(api.requests) == 3


@pytest.mark.parametrize("code", [400, 403, 404, 409, 410, 422])
async def test_refusal_is_never_repeated(code: int) -> None:
    async with (
        serve(in_turn(failed(code))) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        with pytest.raises(ClusterError):
            await client.request("GET", POD)

    assert len(api.requests) == 1


async def test_401_is_tried_three_times() -> None:
    async with (
        serve(in_turn(failed(401))) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        with pytest.raises(ClusterUnauthorised):
            await client.request("GET", POD)

    assert len(api.requests) == 3


async def test_hanging_server_is_left_after_the_timeout_of_one_try() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    async with serve(hang) as api, ClusterClient(api.connection) as client:
        before = time.monotonic()
        with pytest.raises(ClusterUnavailable) as caught:
            await client.request("GET", POD, timeout_seconds=0.2, retry=RETRY_NEVER)

    assert time.monotonic() - before < 2
    assert caught.value.status is None
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_no_server_is_unreachable_and_tried_again_even_for_a_write() -> None:
    async with serve(in_turn(good)) as api:
        pass
    sleeps = Sleeps()
    async with ClusterClient(api.connection, sleep=sleeps) as client:
        with pytest.raises(ClusterUnreachable) as caught:
            await client.request("POST", PODS, body={}, retry=RetryPolicy(tries=2))

    assert (client.requests.total(), len(sleeps.seconds)) == (2, 1)
    assert not caught.value.was_sent
    assert caught.value.__cause__ is not None


async def test_answer_that_is_no_json_says_so() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Sign in</html>")

    async with serve(page) as api, ClusterClient(api.connection) as client:
        with pytest.raises(ClusterUnavailable, match="its answer is not a JSON object"):
            await client.request("GET", POD, retry=RETRY_NEVER)


@pytest.mark.parametrize(
    ("kind", "said"), [("JobList", "not a JobList."), ("EventList", "not an EventList.")]
)
def test_answer_of_another_kind_says_what_it_is_not(kind: str, said: str) -> None:
    with pytest.raises(ClusterUnavailable, match=f"its answer is {said}"):
        parse_answer(RequestTarget("list", "", "things"), 200, b"{}", lambda _: kind)


def streaming(then: Callable[[web.Request], Awaitable[None]]) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await then(request)
        return response

    return answer


async def read_stream(answer: Answer, received: list[bytes]) -> None:
    async with (
        serve(answer) as api,
        ClusterClient(api.connection) as client,
        client.stream(f"{POD}/log", query={}, silence_seconds=0.3) as stream,
    ):
        async for chunk in stream.chunks():
            received.append(chunk)


async def test_stream_that_falls_silent_is_left_after_its_bound() -> None:
    received: list[bytes] = []
    with pytest.raises(StreamSilent):
        await read_stream(streaming(lambda _: asyncio.sleep(30)), received)

    assert received == [b"first"]


async def test_stream_that_speaks_in_time_outlives_its_bound() -> None:
    async def chatter(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(b"x")
            await asyncio.sleep(0.15)
        return response

    received: list[bytes] = []
    await read_stream(chatter, received)

    assert b"".join(received) == b"xxxxx"


async def test_stream_that_is_cut_is_told_from_one_that_ends() -> None:
    async def abort(request: web.Request) -> None:
        await asyncio.sleep(0.05)
        reset(request)

    received: list[bytes] = []
    with pytest.raises(StreamBroken):
        await read_stream(streaming(abort), received)

    assert received == [b"first"]


async def test_refused_stream_raises_what_the_server_said() -> None:
    with pytest.raises(ClusterForbidden, match="get pods/log p in namespace a"):
        await read_stream(in_turn(failed(403)), [])


async def test_stream_without_an_answer_is_left_after_its_bound() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    with pytest.raises(StreamSilent, match="no answer"):
        await read_stream(hang, [])


async def test_right_to_write_is_asked_before_every_try() -> None:
    asked: list[float] = []

    def ask() -> None:
        asked.append(time.monotonic())
        if len(asked) == 3:
            raise PermissionError

    async with (
        serve(in_turn(failed(500))) as api,
        ClusterClient(api.connection, sleep=Sleeps()) as client,
    ):
        with pytest.raises(PermissionError):
            await client.request("POST", PODS, body={}, retry=replace(RETRY_SAFE, before_each=ask))

    assert client.requests == {"create pods": 2}


async def test_server_s_time_is_our_own_clock_s_until_it_answers() -> None:
    async def long_ago(_: web.Request) -> web.Response:
        return web.json_response({}, headers={"Date": "Thu, 01 Jan 2026 12:00:05 GMT"})

    async with serve(long_ago) as api, ClusterClient(api.connection) as client:
        before = abs(client.server_now() - datetime.now(UTC))
        await client.request("GET", POD)
        after = client.server_now() - datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)

    assert before < timedelta(seconds=1)
    assert timedelta(0) <= after < timedelta(seconds=5)
