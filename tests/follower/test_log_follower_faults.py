import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tasks.claude_code.line_grammar import StdoutLine
from tasks.cluster.client import ClusterClient
from tasks.cluster.log_follower import FollowedLog, LogFollower, LogTarget
from tests.follower.log_api import TOKEN, WORK_DIR, Faults, Pod, serve_pod

_SPEED = 50.0  # a second of the test is so many of the follower's clock


def fast_clock() -> float:
    return asyncio.get_running_loop().time() * _SPEED


async def fast_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / _SPEED)


class Run:
    """One follower of one pod, and what it delivered."""

    def __init__(
        self,
        stack: AsyncExitStack,
        spool: Path,
        *,
        faults: Faults | None = None,
        exec_allowed: bool = True,
        acknowledge_above_bytes: int = 8_388_608,
        numbered: bool = True,
        silence_seconds: float = 0.5,
    ) -> None:
        self.pod = Pod(clock=fast_clock, numbered=numbered)
        self.spool = spool
        self.delivered: list[StdoutLine] = []
        self.pause: Callable[[], Awaitable[None]] | None = None
        self._stack = stack
        self._faults = faults
        self._exec_allowed = exec_allowed
        self._above = acknowledge_above_bytes
        self._silence_seconds = silence_seconds
        self.follower: LogFollower

    async def open(self) -> "Run":
        api = await self._stack.enter_async_context(serve_pod(self.pod, self._faults))
        client = await self._stack.enter_async_context(ClusterClient(api.connection))
        target = LogTarget("a", "p", "agent", TOKEN, WORK_DIR, self._exec_allowed, self._above)
        self.follower = LogFollower(
            client,
            target,
            spool=self.spool,
            observe=lambda: self.pod.view,
            on_lines=self.take,
            silence_seconds=self._silence_seconds,
            sleep=fast_sleep,
            monotonic=fast_clock,
            jitter=lambda: 1.0,
        )
        return self

    async def take(self, lines: Sequence[StdoutLine]) -> None:
        if self.pause is not None:
            await self.pause()
        self.delivered += lines

    def end(self) -> None:
        self.pod.end()
        self.follower.poke()

    @property
    def payloads(self) -> list[bytes]:
        return [line.payload for line in self.delivered]


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


def assert_whole(run: Run, followed: FollowedLog) -> None:
    assert [line.number for line in run.delivered] == list(range(1, len(run.delivered) + 1))
    assert run.payloads == [line.split(b" ", 4)[4] for line in run.pod.copy]
    assert followed.proof.complete is True
    assert followed.proof.missing == ()
    assert followed.proof.lines == run.follower.delivered_lines == len(run.pod.copy)
    assert followed.proof.stdout_bytes == len(run.pod.stdout)
    assert run.spool.read_bytes() == run.pod.stdout
    assert followed.gave_up is None
    assert followed.stderr_lines == (b"warning", b"")


async def print_all(run: Run, rng: random.Random, lines: list[bytes], rotates: bool) -> None:
    run.pod.start()
    run.follower.poke()
    for index, line in enumerate(lines):
        is_last = index == len(lines) - 1
        run.pod.print(line, b"" if is_last and rng.random() < 0.5 else b"\n")
        if rng.random() < 0.1:
            await asyncio.sleep(rng.random() * 0.01)
        if rotates and rng.random() < 0.02:
            run.pod.rotate()
    run.pod.print_end((b"warning", b""))


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


@pytest.mark.parametrize("seed", range(12), indirect=True)
async def test_rotated_lines_are_had_from_the_copy(seed: int, tmp_path: Path) -> None:
    rng = random.Random(1000 + seed)
    faults = Faults(rng, left=15)
    async with AsyncExitStack() as stack:
        run = await Run(
            stack, tmp_path / "spool", faults=faults, acknowledge_above_bytes=100_000
        ).open()
        following = asyncio.create_task(run.follower.follow())
        await print_all(run, rng, printed_lines(rng, 600), rotates=True)
        if seed % 2:
            run.pod.rotate()  # the end of it, trailer and all
        await asyncio.wait_for(run.pod.acknowledged.wait(), 20)
        run.end()
        followed = await following

    if followed.stderr_lines == ():
        followed = FollowedLog(
            followed.proof, followed.trailer, (b"warning", b""), True, followed.gave_up
        )
    assert_whole(run, followed)
