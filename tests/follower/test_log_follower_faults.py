import asyncio
import random
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tasks.log_following.log_follower import FollowedLog
from tests.follower.following import Run
from tests.follower.log_api import TOKEN, Faults


def printed_lines(rng: random.Random, count: int) -> list[bytes]:
    kinds: list[Callable[[], bytes]] = [
        lambda: '{"type":"assistant","text":"é – 漢字 🎉"}'.encode() * rng.randint(1, 20),
        lambda: rng.randbytes(rng.randint(0, 200)).replace(b"\n", b" "),
        lambda: b"",
        lambda: b"\r",
        lambda: b"%s o 1 3 abc" % TOKEN.encode(),
        lambda: b"plain " * rng.randint(1, 100),
    ]
    lines = [rng.choice(kinds)() for _ in range(count)]
    lines[rng.randrange(count)] = bytes(rng.choices(b"abc{}\xc3\xa9", k=400_000))
    return lines


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    sys.stdout.write(f"seed {request.param}\n")  # shown when the test fails
    return int(request.param)


_STDERR = (b"warning", b"")


def assert_whole(run: Run, followed: FollowedLog) -> None:
    assert [line.number for line in run.delivered] == list(range(1, len(run.delivered) + 1))
    assert run.payloads == [line.split(b" ", 4)[4] for line in run.pod.copy]
    assert followed.proof.complete is True
    assert followed.proof.missing == ()
    assert followed.proof.lines == run.follower.delivered_lines == len(run.pod.copy)
    assert followed.proof.stdout_bytes == len(run.pod.stdout)
    assert run.spool.read_bytes() == run.pod.stdout
    assert followed.gave_up is None


async def print_all(run: Run, rng: random.Random, lines: list[bytes], rotates: bool) -> None:
    run.pod.start()
    run.follower.look_again()
    for index, line in enumerate(lines):
        is_last = index == len(lines) - 1
        run.pod.print(line, b"" if is_last and rng.random() < 0.5 else b"\n")
        if rng.random() < 0.1:
            await asyncio.sleep(rng.random() * 0.01)
        if rotates and rng.random() < 0.02:
            run.pod.rotate()
    run.pod.print_end(_STDERR)


@pytest.mark.parametrize("seed", range(12), indirect=True)
async def test_output_arrives_whole_whatever_the_streams_do(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    faults = Faults(rng, left=25, hangs=seed % 3 == 0)
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool", faults=faults).open()
        following = asyncio.create_task(run.follower.follow())
        await print_all(run, rng, printed_lines(rng, 400), rotates=False)
        if seed % 2:
            await asyncio.sleep(0.05)
        run.end()
        followed = await following

    assert_whole(run, followed)
    assert followed.trailer is not None
    assert followed.numbered is True
    assert followed.stderr_lines == _STDERR


@pytest.mark.parametrize("seed", range(12), indirect=True)
async def test_rotated_lines_are_had_from_the_copy(seed: int, tmp_path: Path) -> None:
    rng = random.Random(1000 + seed)
    faults = Faults(rng, left=15)
    async with AsyncExitStack() as stack:
        run = await Run(
            stack, tmp_path / "spool", faults=faults, acknowledge_above_bytes=1_000
        ).open()
        run.pod.hangs_at_rotation = seed % 4 >= 2
        following = asyncio.create_task(run.follower.follow())
        await print_all(run, rng, printed_lines(rng, 600), rotates=True)
        if seed % 2:
            run.pod.rotate()  # the end of it, trailer and all
        await asyncio.wait_for(run.pod.acknowledged.wait(), 20)
        run.end()
        followed = await following

    assert_whole(run, followed)
    assert followed.stderr_lines in {_STDERR, ()} if seed % 2 else followed.stderr_lines == _STDERR


@pytest.mark.parametrize("seed", range(8), indirect=True)
async def test_without_exec_every_line_is_delivered_or_named(seed: int, tmp_path: Path) -> None:
    rng = random.Random(2000 + seed)
    faults = Faults(rng, left=15)
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool", faults=faults, exec_allowed=seed % 2 == 0).open()
        run.pod.exec_status = 403
        run.pod.tells_termination = True
        following = asyncio.create_task(run.follower.follow())
        await print_all(run, rng, printed_lines(rng, 600), rotates=True)
        run.end()
        followed = await following

    had = {line.number for line in run.delivered}
    named = {n for gap in followed.proof.missing for n in range(gap.first, gap.last + 1)}
    assert [line.number for line in run.delivered] == sorted(had)
    assert had.isdisjoint(named)
    assert had | named == set(range(1, len(run.pod.copy) + 1))
    assert all(run.payload_of(line.number) == line.payload for line in run.delivered)
    assert followed.proof.complete is (not named)
    assert followed.gave_up is None


@pytest.mark.parametrize("seed", range(6), indirect=True)
async def test_cancelled_again_and_again_it_delivers_each_line_once(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(3000 + seed)
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool", faults=Faults(rng, left=5)).open()
        run.pause = lambda: asyncio.sleep(rng.random() * 0.02)
        printing = asyncio.create_task(print_all(run, rng, printed_lines(rng, 300), rotates=False))
        followed = None
        for attempt in range(1000):
            following = asyncio.create_task(run.follower.follow())
            if printing.done() and attempt > 20:
                run.end()
                followed = await following
                break
            await asyncio.sleep(rng.random() * 0.03)
            following.cancel()
            await asyncio.wait({following})
        await printing

    assert followed is not None
    assert_whole(run, followed)


@pytest.mark.parametrize("seed", range(4), indirect=True)
async def test_every_task_cancelled_at_once_costs_no_line(seed: int, tmp_path: Path) -> None:
    rng = random.Random(4000 + seed)
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool").open()
        printing = asyncio.create_task(print_all(run, rng, printed_lines(rng, 300), rotates=False))
        for _ in range(15):
            following = asyncio.create_task(run.follower.follow())
            for _ in range(rng.randrange(200)):
                await asyncio.sleep(0)
            tasks = {task for task in asyncio.all_tasks() if is_of_follower(task)}
            for task in tasks:
                task.cancel()
            await asyncio.wait({following})
        await printing
        followed = await run.follower.follow()

    assert_whole(run, followed)


def is_of_follower(task: asyncio.Task[object]) -> bool:
    name = getattr(task.get_coro(), "__qualname__", "")
    return name.startswith(("LogFollower", "LineDelivery"))
