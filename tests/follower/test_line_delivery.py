import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.log_following.line_delivery import LineDelivery
from tasks.transcript.line_grammar import StdoutLine

FIRST, SECOND = [StdoutLine(1, b"one")], [StdoutLine(2, b"two")]


class Taker:
    """Takes lines once its gate is open."""

    def __init__(self) -> None:
        self.begun: list[StdoutLine] = []
        self.taken: list[StdoutLine] = []
        self.gate = asyncio.Event()

    async def take(self, lines: Sequence[StdoutLine]) -> None:
        self.begun += lines
        await self.gate.wait()
        self.taken += lines


async def cancel_everything_since(before: set[asyncio.Task[object]]) -> None:
    """Do what the end of an event loop does to its tasks."""
    tasks = asyncio.all_tasks() - before
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_cancelled_wait_leaves_the_lines_with_their_taker(tmp_path: Path) -> None:
    taker = Taker()
    delivery = LineDelivery(tmp_path / "spool", taker.take)
    with delivery.open() as spool:
        delivering = asyncio.create_task(delivery.deliver(FIRST, spool))
        await asyncio.sleep(0.01)
        delivering.cancel()
        await asyncio.wait({delivering})
        taker.gate.set()
        await delivery.settle()
        await delivery.deliver(SECOND, spool)

    assert delivering.cancelled()
    assert taker.taken == [*FIRST, *SECOND]


@pytest.mark.parametrize(
    ("steps", "taken"),
    [
        pytest.param(1, FIRST, id="taker had not begun: handed over again"),
        pytest.param(2, [], id="taker had begun: its own affair"),
    ],
)
async def test_lines_are_handed_over_once_when_every_task_is_cancelled(
    tmp_path: Path, steps: int, taken: list[StdoutLine]
) -> None:
    taker = Taker()
    delivery = LineDelivery(tmp_path / "spool", taker.take)
    before = asyncio.all_tasks()
    with delivery.open() as spool:
        asyncio.create_task(delivery.deliver(FIRST, spool))  # noqa: RUF006 # kept by the loop
        for _ in range(steps):
            await asyncio.sleep(0)
        await cancel_everything_since(before)
    taker.gate.set()
    await delivery.settle()
    with delivery.open() as spool:
        await delivery.deliver(SECOND, spool)

    assert taker.begun == [*FIRST, *SECOND]
    assert taker.taken == [*taken, *SECOND]
    assert (tmp_path / "spool").read_bytes() == b"one\ntwo\n"


async def test_failure_of_the_taker_is_told_to_each_who_waits(tmp_path: Path) -> None:
    async def fail(_: Sequence[StdoutLine]) -> None:
        raise LookupError("no room")

    delivery = LineDelivery(tmp_path / "spool", fail)
    with delivery.open() as spool, pytest.raises(LookupError):
        await delivery.deliver(FIRST, spool)
    with pytest.raises(LookupError):
        await delivery.settle()


async def test_spool_holds_lines_before_their_taker_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    seen: list[bytes] = []

    async def look(_: Sequence[StdoutLine]) -> None:
        seen.append(path.read_bytes())  # a test may block

    delivery = LineDelivery(path, look)
    with delivery.open() as spool:
        await delivery.deliver(FIRST, spool)
        await delivery.deliver(SECOND, spool)

    assert seen == [b"one\n", b"one\ntwo\n"]
