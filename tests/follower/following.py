"""A follower of a pod behind the local server, with a clock that runs faster than time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tasks.cluster.cluster_client import ClusterClient
from tasks.log_following.log_follower import LogFollower, LogTarget
from tasks.transcript.line_grammar import StdoutLine
from tests.follower.log_api import TOKEN, WORK_DIR, Faults, Pod, serve_pod

_SPEED = 50.0  # a second of the test is so many of the follower's clock


def fast_clock() -> float:
    return asyncio.get_running_loop().time() * _SPEED


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
        sleep_seconds: float | None = None,
    ) -> None:
        self.pod = Pod(clock=fast_clock, numbered=numbered)
        self.spool = spool
        self.delivered: list[StdoutLine] = []
        self.pause: Callable[[], Awaitable[None]] | None = None
        self._arrived = asyncio.Event()
        self._stack = stack
        self._faults = faults
        self._exec_allowed = exec_allowed
        self._above = acknowledge_above_bytes
        self._silence_seconds = silence_seconds
        self._sleep_seconds = sleep_seconds
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
            sleep=self._sleep,
            monotonic=fast_clock,
            jitter=lambda: 1.0,
        )
        return self

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(self._sleep_seconds or seconds / _SPEED)

    async def take(self, lines: Sequence[StdoutLine]) -> None:
        if self.pause is not None:
            await self.pause()
        self.delivered += lines
        self._arrived.set()

    async def delivered_until(self, number: int) -> None:
        """Wait until this line was delivered."""
        while not self.delivered or self.delivered[-1].number < number:
            await self._arrived.wait()
            self._arrived.clear()

    def end(self) -> None:
        self.pod.end()
        self.follower.look_again()

    @property
    def payloads(self) -> list[bytes]:
        return [line.payload for line in self.delivered]

    def payload_of(self, number: int) -> bytes:
        """What the pod printed as this line."""
        return self.pod.copy[number - 1].split(b" ", 4)[4]
