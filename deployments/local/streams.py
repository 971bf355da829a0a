"""Answers that go on: watches and logs, and how faults break them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from deployments.local.faults import StreamLimit


async def send_stream(
    request: web.Request,
    response: web.StreamResponse,
    blocks: AsyncIterator[bytes],
    limit: StreamLimit | None,
) -> None:
    """Send an answer piece by piece, until source or client or a fault ends it."""
    with contextlib.suppress(ConnectionError):
        await _send(request, response, blocks, limit)


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    blocks: AsyncIterator[bytes],
    limit: StreamLimit | None,
) -> None:
    await response.prepare(request)
    if limit is None:
        async for block in blocks:
            await response.write(block)
        await response.write_eof()
        return
    try:
        async with asyncio.timeout(limit.after_seconds):
            is_over = await _send_limited(response, blocks, limit.after_bytes)
    except TimeoutError:
        is_over = False
    if is_over or limit.end == "eof":
        await response.write_eof()
    elif limit.end == "hang":
        await asyncio.Event().wait()  # until the client leaves or the server restarts
    elif request.transport is not None:
        request.transport.abort()


async def _send_limited(
    response: web.StreamResponse, blocks: AsyncIterator[bytes], after_bytes: int | None
) -> bool:
    """Return whether the source ended before the limit."""
    left = after_bytes
    async for block in blocks:
        if left is not None and len(block) >= left:
            await response.write(block[:left])
            # The last bytes must leave before a cut, which throws away what is not sent.
            await asyncio.sleep(0.05)
            return False
        await response.write(block)
        if left is not None:
            left -= len(block)
    return True
