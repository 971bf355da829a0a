import asyncio

import pytest

from tasks.pod import wait_for_first

FOREVER = 3_600


async def test_wait_ends_with_the_news():
    await wait_for_first(asyncio.sleep(0), asyncio.Event(), FOREVER)


async def test_wait_ends_when_the_run_is_cancelled():
    cancel = asyncio.Event()
    asyncio.get_running_loop().call_soon(cancel.set)
    await wait_for_first(asyncio.sleep(FOREVER), cancel, FOREVER)


async def test_wait_ends_when_time_is_up():
    await wait_for_first(asyncio.sleep(FOREVER), asyncio.Event(), 0.01)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_what_was_known_before_does_not_end_the_wait(is_cancelled: bool):
    """Else whoever waits in a loop looks again and again without a pause."""
    cancel, news = asyncio.Event(), asyncio.Event()
    if is_cancelled:
        cancel.set()
    waiting = asyncio.ensure_future(wait_for_first(news.wait(), cancel, FOREVER))
    for _ in range(100):
        await asyncio.sleep(0)

    assert not waiting.done()
    news.set()
    await waiting


async def test_nothing_is_left_running():
    before = asyncio.all_tasks()
    await wait_for_first(asyncio.sleep(FOREVER), asyncio.Event(), 0.01)
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
