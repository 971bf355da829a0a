"""What is taken from inside of libraries is still there, and does what it is taken for."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tasks.cluster.http_transport import WEBSOCKET_LIMITS, abort, transport_of
from tests.scripted_api import serve


async def echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


async def test_open_websocket_shows_the_connection_that_is_cut() -> None:
    async with serve(echo) as api, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(api.url, timeout=WEBSOCKET_LIMITS)
        await socket.send_str("still there")
        said = await socket.receive_str()
        transport = transport_of(socket)
        abort(transport)
        ended = await socket.receive()

    assert said == "still there"
    assert isinstance(transport, asyncio.Transport)
    assert ended.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}


def test_websocket_s_end_is_not_waited_for() -> None:
    assert WEBSOCKET_LIMITS.ws_close == 1.0


class ForgottenTls(asyncio.Transport):
    """As the transport of TLS in Python 3.11.2, once it has been closed twice."""

    def abort(self) -> None:
        raise AttributeError("'NoneType' object has no attribute '_abort'")


@pytest.mark.parametrize("transport", [None, ForgottenTls()])
def test_connection_that_is_closed_already_is_left(transport: asyncio.Transport | None) -> None:
    abort(transport)
