"""The agent's output, live, in order and exactly once, out of streams that promise none of it.

What is read when is decided in `tasks.transcript.read_policy`; here it is read.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from tasks.cluster.api_status import refuse_kubelet_excuse
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.log_following.line_delivery import LineDelivery, OnLines
from tasks.log_following.log_reads import (
    LogTarget,
    acknowledge,
    asked_delay_seconds,
    classify_failure,
    open_log_read,
)
from tasks.outcome.run_result import LineRange, TranscriptProof
from tasks.transcript.line_grammar import (
    CheckBegunLine,
    StdoutLine,
    Trailer,
    parse_line,
    parse_trailer_text,
)
from tasks.transcript.numbered_lines import LineSplitter, Transcript
from tasks.transcript.read_policy import SILENCE_SECONDS, ReadPolicy
from tasks.transcript.read_steps import (
    Acknowledge,
    Attempt,
    FollowLog,
    Pause,
    PodView,
    ReadCopy,
    ReadEnd,
    ReadLog,
    ReadOutcome,
    SkipMissing,
    Stop,
)

__all__ = ["FollowedLog", "LogFollower", "LogTarget", "PodView"]

_DRAIN_SECONDS = 3.0  # what a follow may take to end by itself once the container has


@dataclass(frozen=True)
class FollowedLog:
    """What was read in the end.

    Attributes:
        proof: How much of stdout was delivered, and whether that is proven.
        trailer: The script's account, if it could be read.
        stderr_lines: The kept lines of the agent's stderr.
        numbered: Whether lines bore numbers; None when nothing was read that tells.
        gave_up: Why reading ended before the end was reached, a sentence; None when it was.
        log_refusal: Why the container's log could not be read when it was asked for last, a
            sentence; None when it could be.
        foreign_line: The first line of the log that the run script did not print, for example the
            container runtime's own.
        check_begun: What the script said when the check began; None where that was not seen.
        check_lines: The kept lines of the check's output.
    """

    proof: TranscriptProof
    trailer: Trailer | None
    stderr_lines: tuple[bytes, ...]
    numbered: bool | None
    gave_up: str | None
    log_refusal: str | None = None
    foreign_line: bytes | None = None
    check_begun: CheckBegunLine | None = None
    check_lines: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls, transcript: Transcript, gave_up: str | None, log_refusal: str | None = None
    ) -> "FollowedLog":
        """Sum up what was put together."""
        had = transcript.proof()
        return cls(
            proof=TranscriptProof(
                complete=had.complete,
                lines=had.lines,
                stdout_bytes=had.stdout_bytes,
                sha256=had.sha256,
                missing=tuple(LineRange(first=gap.first, last=gap.last) for gap in had.missing),
            ),
            trailer=transcript.trailer,
            stderr_lines=transcript.stderr_lines,
            numbered=transcript.numbered if transcript.header or had.lines else None,
            gave_up=gave_up,
            log_refusal=log_refusal,
            foreign_line=transcript.foreign_line,
            check_begun=transcript.check_begun,
            check_lines=transcript.check_lines,
        )


class LogFollower:
    """Follows one agent's output to its end; `follow` may be cancelled and called again."""

    def __init__(
        self,
        client: ClusterClient,
        target: LogTarget,
        *,
        spool: Path,
        observe: Callable[[], PodView],
        on_lines: OnLines,
        silence_seconds: float = SILENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Read nothing yet.

        Args:
            client: The connection.
            target: Whose output.
            spool: File for the agent's stdout; begun anew by the first `follow`.
            observe: Returns how the pod is seen now; asked before every step.
            on_lines: Takes the next lines, after they were spooled; nothing is read meanwhile. A
                cancelled `follow` leaves it running, and the next one waits for it.
            silence_seconds: When a follow counts as dead; proxies may cut idle ones earlier.
            sleep: Waits, in seconds.
            monotonic: Seconds of a clock that never jumps.
            jitter: Numbers from 0 to 1.
        """
        self._client = client
        self._target = target
        self._delivery = LineDelivery(spool, on_lines)
        self._observe = observe
        self._sleep = sleep
        self._monotonic = monotonic
        self._transcript = Transcript(target.token)
        self._policy = ReadPolicy(
            self._transcript,
            exec_allowed=target.exec_allowed,
            acknowledge_above_bytes=target.acknowledge_above_bytes,
            silence_seconds=silence_seconds,
            jitter=jitter,
        )
        self._trailer_prefix = target.token.encode() + b" t "
        self._view = observe()
        self._has_news = asyncio.Event()
        self._bound: asyncio.Timeout | None = None  # of a follow, until it is to be replaced
        self._had_bytes = False
        self._last_output_at: float | None = None

    @property
    def last_output_at(self) -> float | None:
        """When the last new line came, by the monotonic clock; None before the first."""
        return self._last_output_at

    @property
    def delivered_lines(self) -> int:
        """How many stdout lines were delivered."""
        return self._transcript.proof().lines

    @property
    def check_begun(self) -> CheckBegunLine | None:
        """What the script said when the check began; None before, and where there is none."""
        return self._transcript.check_begun

    @property
    def agent_has_ended(self) -> bool:
        """Whether the script has said so: that its check has begun, or that all is over."""
        return self._transcript.check_begun is not None or self._transcript.trailer is not None

    def look_again(self) -> None:
        """Look at the pod again now; call it when its state has changed."""
        seen = self._observe()
        if seen == self._view:
            return
        self._has_news.set()
        if self._bound is not None and (seen.container_ended or seen.pod_gone):
            self._bound.reschedule(asyncio.get_running_loop().time() + _DRAIN_SECONDS)
            self._bound = None

    async def follow(self) -> FollowedLog:
        """Deliver lines until nothing more can be read.

        Raises:
            OSError: The spool cannot be written.
            Exception: Whatever `on_lines` raised.
        """
        with self._delivery.open() as self._spool:
            while True:
                self._has_news.clear()
                self._view = self._observe()
                self._take_termination_message()
                step = self._policy.next_step(self._monotonic(), self._view)
                match step:
                    case Stop():
                        await self._delivery.settle()
                        self._finish()
                        return self.so_far(step.gave_up)
                    case Pause():
                        await self._pause(step.seconds)
                    case SkipMissing():
                        self._transcript.skip_missing()
                    case _:
                        outcome = await self._attempt(step)
                        self._policy.note(step, outcome, self._monotonic())

    def _take_termination_message(self) -> None:
        if self._view.termination_message is not None and self._transcript.trailer is None:
            trailer = parse_trailer_text(self._view.termination_message)
            if trailer is not None:
                self._transcript.learn_trailer(trailer)

    def _finish(self) -> None:
        if self._transcript.is_at_end and self._transcript.lacks_final_newline:
            self._spool.cut_to(self._transcript.proof().stdout_bytes)

    def so_far(self, gave_up: str | None = None) -> FollowedLog:
        """Return what was read until now, to be used where `follow` was broken off."""
        return FollowedLog.of(self._transcript, gave_up, self._policy.log_refusal)

    async def _pause(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        waking = asyncio.ensure_future(self._has_news.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    # --- one read --------------------------------------------------------------------------------

    async def _attempt(self, attempt: Attempt) -> ReadOutcome:
        """Make the attempt; no failure of the cluster leaves it."""
        # What a cancelled follow has handed over; from here on each new line can be, at once.
        await self._delivery.settle()
        before = self._had
        self._had_bytes = False
        failure: ClusterError | None = None
        try:
            end = await self._perform(attempt)
        except ClusterError as error:
            end, failure = classify_failure(error, attempt), error
        return ReadOutcome(
            end=end,
            had_bytes=self._had_bytes,
            progressed=self._had != before,
            detail=failure.message if failure is not None else "",
            retry_after_seconds=asked_delay_seconds(failure) if failure is not None else None,
        )

    @property
    def _had(self) -> tuple[int, int, bool, bool]:
        transcript = self._transcript
        kept = len(transcript.stderr_lines) + len(transcript.check_lines)
        has_begun = transcript.check_begun is not None
        return transcript.next_number, kept, has_begun, transcript.trailer is not None

    async def _perform(self, attempt: Attempt) -> ReadEnd:
        if isinstance(attempt, Acknowledge):
            await acknowledge(self._client, self._target)
            return ReadEnd.END_OF_FILE
        if not isinstance(attempt, FollowLog):
            return await self._read(attempt)
        try:
            async with asyncio.timeout(None) as bound:
                self._bound = bound
                self._expect_bytes(is_reading=True)
                return await self._read(attempt)
        except TimeoutError:
            return ReadEnd.REPLACED if self._bound is None else ReadEnd.SILENT
        finally:
            self._bound = None

    def _expect_bytes(self, *, is_reading: bool) -> None:
        """Bound the silence of a follow while it is read, unless it is to be replaced anyway."""
        if self._bound is not None:
            now = asyncio.get_running_loop().time()
            self._bound.reschedule(now + self._policy.quiet_seconds if is_reading else None)

    async def _read(self, read: FollowLog | ReadLog | ReadCopy) -> ReadEnd:
        if not isinstance(read, ReadCopy):
            self._transcript.begin_stream()
        splitter = LineSplitter()
        async with (
            open_log_read(self._client, self._target, read) as chunks,
            aclosing(chunks),
        ):
            is_first = not isinstance(read, ReadCopy)
            async for chunk in chunks:
                self._expect_bytes(is_reading=False)
                lines = splitter.feed(chunk)
                if is_first and lines:
                    refuse_kubelet_excuse(lines[0])
                    is_first = False
                self._had_bytes = True
                end = await self._take(lines, read)
                if end is not None:
                    return end
                self._expect_bytes(is_reading=True)
        rest = splitter.flush()
        if is_first:
            refuse_kubelet_excuse(rest)
        await self._deliver(self._transcript.end_stream(rest))
        return ReadEnd.END_OF_FILE

    async def _take(
        self, lines: Sequence[bytes], read: FollowLog | ReadLog | ReadCopy
    ) -> ReadEnd | None:
        """Deliver what is new; return how the read ends, if it does here."""
        skips_gaps = isinstance(read, ReadLog) and read.skips_gaps
        is_copy, transcript = isinstance(read, ReadCopy), self._transcript
        new: list[StdoutLine] = []
        end = None
        for line in lines:
            if is_copy:
                line = self._as_in_the_log(line)
            new += transcript.accept(line)
            is_trailer = line.startswith(self._trailer_prefix)
            if transcript.missing_range is None and not is_trailer:
                continue
            while skips_gaps and self._is_beyond_lack(line, is_trailer):
                transcript.skip_missing()
                new += transcript.accept(line)
            if self._is_beyond_lack(line, is_trailer):
                end = ReadEnd.GAP
            elif is_trailer and transcript.trailer is not None:
                end = ReadEnd.TRAILER
            if end is not None:
                break
        await self._deliver(new)
        return end

    def _is_beyond_lack(self, line: bytes, is_trailer: bool) -> bool:
        """Tell whether this line comes after lines that are missing."""
        transcript = self._transcript
        if transcript.missing_range is None:
            return False
        parsed = parse_line(line, self._target.token)
        return is_trailer or (
            isinstance(parsed, StdoutLine) and parsed.number > transcript.next_number
        )

    def _as_in_the_log(self, line: bytes) -> bytes:
        """Return a line of the copy; the termination message behind it becomes the trailer."""
        return self._target.token.encode() + b" " + line if line.startswith(b"t ") else line

    async def _deliver(self, lines: Sequence[StdoutLine]) -> None:
        if lines:
            self._last_output_at = self._monotonic()
            self._policy.note_output(self._last_output_at)
            await self._delivery.deliver(lines, self._spool)
