"""Which read of a pod's log comes next, until everything readable was read.

The log is followed. When it skips lines they are looked for further back, then from the log's
start, then in the pod's own copy, and given up only when none of these has them. A log that is
refused is read from the copy as long as the container lives. A read's end proves nothing: only the
trailer does, or the container's end and a whole read after it.
"""

import math
import random
from collections.abc import Callable
from typing import assert_never

from tasks.transcript.line_grammar import awaits_acknowledgement
from tasks.transcript.numbered_lines import Transcript
from tasks.transcript.read_steps import (
    Acknowledge,
    Attempt,
    FollowLog,
    LogRead,
    Pause,
    PodView,
    ReadCopy,
    ReadEnd,
    ReadLog,
    ReadOutcome,
    ReadStep,
    SkipMissing,
    Stop,
)
from tasks.transcript.rotation_watch import RotationWatch
from tasks.vocabulary.backoff import Backoff

SILENCE_SECONDS = 120.0  # a dead connection is found in this time; a silent agent is normal
READ_SILENCE_SECONDS = 30.0  # what is there already comes at once
OVERLAP_SECONDS = 30.0  # lines are numbered, so overlap costs nothing but bytes
WIDE_OVERLAP_SECONDS = 300.0
UNREADABLE_SECONDS = 600.0  # the longest outage that a log survives once the container has ended
COPY_SECONDS = 120.0  # on a busy node commands fail for a while; what is given up is lost
REFUSED_SECONDS = 30.0  # an answer is no outage; only a kubelet that lags behind changes its mind

_UNSTARTED_PAUSE_SECONDS = 1.0
_TRIES_OF_GONE_POD = 3
_TRIES_OF_COPY = 6
_EMPTY_READS_OF_COPY = 2  # a line may reach the log a moment before the copy
_TRIES_TO_ACKNOWLEDGE = 6
_BARREN_READS_BEFORE_COPY = 3
_REFUSED_READS_BEFORE_COPY = 3
_REFUSED_READS_AT_END = 4  # one after the other, before stderr is given up
_REFUSALS = {ReadEnd.FORBIDDEN, ReadEnd.REFUSED, ReadEnd.SERVER_ERROR}
_COPY_PAUSE_SECONDS = 5.0  # each look into the pod is a process there and two requests
_WHOLE_READS_IN_VAIN = 3  # one may have ended early; servers on the way cut without an error


class ReadPolicy:
    """Chooses steps; tell it how each `Attempt` ended. Times are monotonic seconds."""

    def __init__(
        self,
        transcript: Transcript,
        *,
        exec_allowed: bool,
        acknowledge_above_bytes: int,
        silence_seconds: float = SILENCE_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Begin with nothing read.

        Args:
            transcript: What was put together so far; read, never changed.
            exec_allowed: Whether the copy may be read and the acknowledgement be given.
            acknowledge_above_bytes: The script's own limit.
            silence_seconds: When a follow counts as dead.
            jitter: Numbers from 0 to 1.
        """
        self._transcript = transcript
        self._acknowledge_above_bytes = acknowledge_above_bytes
        # Most often an idle connection was dropped, and live output shall not stall.
        self._backoff = Backoff(0.2, 10.0, jitter=jitter)
        self._delays = 0
        self._silence_seconds = silence_seconds
        self._rotation = RotationWatch(transcript, acknowledge_above_bytes)
        self._exec_works = exec_allowed
        self._last_output_at: float | None = None
        self._over_since: float | None = None
        self._unreadable_since: float | None = None
        self._refused_since: float | None = None
        self._not_before = 0.0
        self._refusals_of_gone_pod = 0
        self._barren_reads = 0
        self._refused_reads = 0
        self._refused_reads_at_end = 0
        self._holds_script = False
        self._last_failure = ReadOutcome(ReadEnd.END_OF_FILE)
        # Where the lines missing next were looked for; each forgotten when they begin elsewhere.
        self._gap_first = 0
        self._searched = 0  # 1: in the wide window, 2: from the log's start
        self._skip_reads_in_vain = 0
        self._copy_failures = 0
        self._copy_failing_since: float | None = None
        self._copy_is_suspect = False
        self._not_in_copy = 0
        self._empty_copy_reads = 0
        self._copy_is_wanted = False
        self._whole_reads_in_vain = 0  # since the container's end
        self._has_seen_end = False
        self._is_acknowledged = False
        self._acknowledge_failures = 0

    def next_step(self, now: float, view: PodView) -> ReadStep:
        """Choose what to do now that the pod is seen like this."""
        is_over = view.container_ended or view.pod_gone
        if is_over and self._over_since is None:
            self._over_since, self._not_before = now, now
        if not (view.container_started or is_over):
            return Pause(_UNSTARTED_PAUSE_SECONDS)
        if self._has_everything:
            return self._step_at_end(now, is_over)
        gave_up = self._reason_to_give_up(now, view)
        if gave_up is not None:
            return Stop(gave_up)
        if now < self._not_before:
            return Pause(self._not_before - now)
        if self._transcript.missing_range is not None:
            return self._step_at_gap(now, is_over)
        if is_over or self._transcript.is_at_end:
            was_in_vain = self._whole_reads_in_vain >= _WHOLE_READS_IN_VAIN
            return Stop() if was_in_vain else self._read_log(None)
        if self._copy_is_wanted and self._copy_is_there:
            return self._read_copy()
        return FollowLog(self._window(now, OVERLAP_SECONDS), self._silence_seconds)

    @property
    def _has_everything(self) -> bool:
        # Where the log is refused to its end, its stderr is given up; the copy has the rest.
        is_refused = self._refused_reads_at_end >= _REFUSED_READS_AT_END
        is_enough = self._has_seen_end or (self._holds_script and is_refused)
        return self._transcript.is_at_end and is_enough

    @property
    def log_refusal(self) -> str | None:
        """Why the log cannot be read, as the last answer said; None when it could be."""
        return self._last_failure.detail if self._unreadable_since is not None else None

    @property
    def _is_refused(self) -> bool:
        return self._refused_reads >= _REFUSED_READS_BEFORE_COPY

    def _read_copy(self) -> ReadCopy:
        return ReadCopy(self._transcript.next_number, holds=self._is_refused)

    def _read_log(self, since_seconds: int | None, *, skips_gaps: bool = False) -> ReadLog:
        silence_seconds = min(READ_SILENCE_SECONDS, self._silence_seconds)
        return ReadLog(since_seconds, silence_seconds, skips_gaps)

    def _step_at_end(self, now: float, is_over: bool) -> ReadStep:
        trailer = self._transcript.trailer
        is_waiting = self._holds_script or (
            trailer is not None and awaits_acknowledgement(trailer, self._acknowledge_above_bytes)
        )
        if is_over or not is_waiting or self._is_acknowledged or not self._exec_works:
            return Stop()
        if self._acknowledge_failures >= _TRIES_TO_ACKNOWLEDGE:
            return Stop()
        return Pause(self._not_before - now) if now < self._not_before else Acknowledge()

    def _reason_to_give_up(self, now: float, view: PodView) -> str | None:
        if self._over_since is None or self._unreadable_since is None:
            return None
        if view.pod_gone and self._refusals_of_gone_pod >= _TRIES_OF_GONE_POD:
            return "The pod is gone, and its log with it."
        lasted = now - max(self._over_since, self._unreadable_since)
        refused = now - max(self._over_since, self._refused_since or now)
        if lasted < UNREADABLE_SECONDS and refused < REFUSED_SECONDS:
            return None
        return (
            f"The log could not be read for {lasted:.0f} s after the agent's end: "
            f"{self._last_failure.detail}"
        )

    def _step_at_gap(self, now: float, is_over: bool) -> ReadStep:
        first = self._transcript.next_number
        self._note_place(first)
        if not is_over and self._is_refused and self._copy_is_there:
            return self._read_copy()
        if not is_over:
            wide = self._window(now, WIDE_OVERLAP_SECONDS)
            if self._searched < 1 and wide is not None:
                return self._read_log(wide)
            if self._searched < 2:
                return self._read_log(None)
            if self._copy_is_there:
                return self._read_copy()
        if self._skip_reads_in_vain < _WHOLE_READS_IN_VAIN:
            return self._read_log(None, skips_gaps=True)
        return SkipMissing()

    @property
    def quiet_seconds(self) -> float:
        """How long the follow that is open may say nothing, as of now."""
        if not self._rotation.may_be_rotated:
            return self._silence_seconds
        return min(self._rotation.quiet_seconds, self._silence_seconds)

    @property
    def _copy_is_there(self) -> bool:
        is_given_up = self._not_in_copy == self._transcript.next_number
        return self._exec_works and self._transcript.numbered and not is_given_up

    def _window(self, now: float, overlap_seconds: float) -> int | None:
        """Return how far back to read; None for the log's start.

        That is where to begin while nothing has come yet, and always where lines bear no numbers:
        from the header on they can be counted. Where reads are cut before they get past what is
        known, the window shrinks.
        """
        if self._last_output_at is None or not self._transcript.numbered:
            return None
        overlap = overlap_seconds / 2 ** min(self._barren_reads, 5)
        return math.ceil(now - self._last_output_at + overlap)

    def note(self, attempt: Attempt, outcome: ReadOutcome, now: float) -> None:
        """Take into account how the attempt ended."""
        if outcome.progressed:
            self._note_progress()
        if outcome.has_failed:
            self._last_failure = outcome
        match attempt:
            case FollowLog() | ReadLog():
                self._note_log_read(attempt, outcome, now)
            case ReadCopy():
                self._note_copy_read(attempt, outcome)
            case Acknowledge():
                self._is_acknowledged = outcome.end is ReadEnd.END_OF_FILE
                self._acknowledge_failures += not self._is_acknowledged
            case _:
                assert_never(attempt)
        if outcome.end is ReadEnd.FORBIDDEN and isinstance(attempt, ReadCopy | Acknowledge):
            self._exec_works = False
        self._not_before = now + self._delay_seconds(attempt, outcome)

    def note_output(self, now: float) -> None:
        """New stdout lines have come."""
        self._last_output_at = now

    def _note_progress(self) -> None:
        self._delays = 0
        self._barren_reads = 0
        self._copy_failures = 0
        self._copy_failing_since = None
        self._empty_copy_reads = 0
        self._rotation.note_progress()
        self._whole_reads_in_vain = 0

    def _delay_seconds(self, attempt: Attempt, outcome: ReadOutcome) -> float:
        if self._is_refused and self._over_since is None:
            if isinstance(attempt, ReadCopy) and not outcome.has_failed:
                return 0.0 if self._transcript.is_at_end else _COPY_PAUSE_SECONDS
            is_log = isinstance(attempt, FollowLog | ReadLog)
            if is_log and self._copy_is_there and not self._transcript.is_at_end:
                return outcome.retry_after_seconds or 0.0
        is_early = outcome.end is ReadEnd.END_OF_FILE and (
            isinstance(attempt, FollowLog)
            or (isinstance(attempt, ReadCopy) and self._transcript.missing_range is not None)
            or (isinstance(attempt, ReadLog) and self._must_read_again)
        )
        if not outcome.has_failed and not is_early:
            return 0.0
        self._delays += 1
        return self._backoff.delay_seconds(self._delays, outcome.retry_after_seconds)

    @property
    def _must_read_again(self) -> bool:
        """Whether a read of the whole log has brought nothing, and is not believed yet."""
        tries = max(self._whole_reads_in_vain, self._skip_reads_in_vain)
        return 0 < tries < _WHOLE_READS_IN_VAIN

    def _note_log_read(self, read: LogRead, outcome: ReadOutcome, now: float) -> None:
        if outcome.has_failed:
            self._note_failed_log_read(outcome, now)
            return
        if self._unreadable_since is not None and self._copy_failing_since is not None:
            # Nothing could be had in an outage, so its time does not count against the copy.
            began = max(self._unreadable_since, self._copy_failing_since)
            self._copy_failing_since += now - began
        self._unreadable_since = self._refused_since = None
        self._refused_reads = self._refused_reads_at_end = 0
        self._refusals_of_gone_pod = 0
        if self._copy_is_suspect:
            # The log can be read and the copy could not: that is no outage.
            self._copy_is_suspect = False
            self._note_copy_failure(now)
        is_at_end = outcome.end in {ReadEnd.END_OF_FILE, ReadEnd.TRAILER}
        if isinstance(read, FollowLog):
            self._note_follow(outcome)
            if outcome.end is not ReadEnd.GAP:
                return
        elif is_at_end:
            self._note_whole_read(read, outcome)
        self._note_search(read, outcome)

    def _note_copy_failure(self, now: float) -> None:
        self._copy_failures += 1
        if self._copy_failing_since is None:
            self._copy_failing_since = now
        lasted = now - self._copy_failing_since
        if self._copy_failures >= _TRIES_OF_COPY and lasted >= COPY_SECONDS:
            self._not_in_copy = self._transcript.next_number

    def _note_follow(self, outcome: ReadOutcome) -> None:
        self._has_seen_end = self._has_seen_end or outcome.end is ReadEnd.TRAILER
        is_quiet = outcome.end is ReadEnd.SILENT and self._rotation.may_be_rotated
        is_early = outcome.end is ReadEnd.END_OF_FILE and self._last_output_at is not None
        self._copy_is_wanted = is_quiet or is_early
        if is_quiet and not outcome.progressed:
            self._rotation.note_silence()
        if outcome.end is ReadEnd.GAP:
            self._rotation.note_rotation()

    def _note_failed_log_read(self, outcome: ReadOutcome, now: float) -> None:
        if self._unreadable_since is None or outcome.progressed:
            self._unreadable_since = now
        if outcome.end in {ReadEnd.SERVER_ERROR, ReadEnd.UNAVAILABLE}:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        self._refusals_of_gone_pod += outcome.end is ReadEnd.NOT_FOUND
        self._barren_reads += outcome.had_bytes and not outcome.progressed
        # Whoever refuses the log may still let commands be run in the pod.
        self._refused_reads += outcome.end in _REFUSALS
        self._refused_reads_at_end += self._transcript.is_at_end and outcome.end in _REFUSALS
        is_barren = self._barren_reads >= _BARREN_READS_BEFORE_COPY
        self._copy_is_wanted = is_barren or self._is_refused

    def _note_whole_read(self, read: ReadLog, outcome: ReadOutcome) -> None:
        self._has_seen_end = self._has_seen_end or self._transcript.trailer is not None
        if self._over_since is not None and read.since_seconds is None:
            self._whole_reads_in_vain += not outcome.progressed
        if read.skips_gaps and not outcome.progressed:
            self._skip_reads_in_vain += 1

    def _note_search(self, read: LogRead, outcome: ReadOutcome) -> None:
        """Remember how far back the first missing line was looked for, and not found."""
        self._note_place(self._transcript.next_number)
        if isinstance(read, ReadLog) or not outcome.progressed:
            depth = 2 if read.since_seconds is None else int(isinstance(read, ReadLog))
            self._searched = max(self._searched, depth)

    def _note_place(self, first: int) -> None:
        """Forget where the lines missing next were looked for when others are missing now."""
        if first != self._gap_first:
            self._gap_first = first
            self._searched = self._skip_reads_in_vain = 0

    def _note_copy_read(self, read: ReadCopy, outcome: ReadOutcome) -> None:
        self._holds_script |= read.holds and not outcome.has_failed
        # Cut on its way, it still is the quickest way there.
        self._copy_is_wanted = outcome.has_failed and outcome.progressed
        if outcome.progressed:
            self._rotation.note_rotation()
        if outcome.has_failed:
            self._copy_is_suspect = True
            self._searched = self._refused_reads = 0
        elif not outcome.progressed and self._transcript.missing_range is not None:
            self._empty_copy_reads += 1
            if self._empty_copy_reads >= _EMPTY_READS_OF_COPY:
                self._not_in_copy = self._transcript.next_number
