from collections.abc import Sequence

import pytest

from tasks.transcript.line_grammar import parse_trailer_text
from tasks.transcript.numbered_lines import Transcript
from tasks.transcript.read_policy import COPY_SECONDS, ReadPolicy
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
    ReadStep,
    SkipMissing,
    Stop,
)

TOKEN = "0badcafe"
UNSTARTED = PodView(container_started=False, container_ended=False, pod_gone=False)
RUNNING = PodView(container_started=True, container_ended=False, pod_gone=False)
ENDED = PodView(container_started=True, container_ended=True, pod_gone=False)
GONE = PodView(container_started=True, container_ended=True, pod_gone=True)

NOTHING_CAME = ReadOutcome(ReadEnd.END_OF_FILE)
SILENT = ReadOutcome(ReadEnd.SILENT)
UNREACHABLE = ReadOutcome(ReadEnd.UNAVAILABLE, detail="No route to the API.")
SERVER_ERROR = ReadOutcome(ReadEnd.SERVER_ERROR, detail="The kubelet answered 500.")
READ_COPY = ReadOutcome(ReadEnd.END_OF_FILE, had_bytes=True)
NOT_FOUND = ReadOutcome(ReadEnd.NOT_FOUND, detail="No such pod.")
FORBIDDEN = ReadOutcome(ReadEnd.FORBIDDEN, detail="Not allowed.")
GAP = ReadOutcome(ReadEnd.GAP, had_bytes=True)
WHOLE_LOG = ReadLog(None, 30.0)


class Reader:
    """A policy, the transcript that it looks at, and a clock."""

    def __init__(self, *, exec_allowed: bool = True, above: int = 1_000) -> None:
        self.transcript = Transcript(TOKEN)
        self.policy = ReadPolicy(
            self.transcript,
            exec_allowed=exec_allowed,
            acknowledge_above_bytes=above,
            jitter=lambda: 1.0,
        )
        self.now = 1000.0

    def step(self, view: PodView = RUNNING) -> ReadStep:
        return self.policy.next_step(self.now, view)

    def note(self, attempt: Attempt, outcome: ReadOutcome) -> None:
        self.policy.note(attempt, outcome, self.now)

    def steps(self, outcomes: Sequence[ReadOutcome], view: PodView = RUNNING) -> list[ReadStep]:
        """Take steps until so many attempts were answered, and one further; pauses are waited."""
        left = list(outcomes)
        taken: list[ReadStep] = []
        while True:
            step = self.step(view)
            match step:
                case Pause(seconds):
                    self.now += seconds
                    continue
                case SkipMissing():
                    self.transcript.skip_missing()
                    taken.append(step)
                    continue
                case Stop():
                    return [*taken, step]
                case _:
                    taken.append(step)
            if not left:
                return taken
            self.note(step, left.pop(0))

    def print(self, number: int, payload: bytes = b"line") -> None:
        self.transcript.accept(b"%s o %d %d %s" % (TOKEN.encode(), number, len(payload), payload))
        self.policy.note_output(self.now)

    def print_trailer(self, lines: int, stdout_bytes: int = 0) -> None:
        text = (
            f"t 1 lines={lines} bytes={stdout_bytes} sha256=- exit=0 timed_out=0 last_result=0 "
            f"copied={lines} stderr_lines=0 stderr_skipped=0 refused=-"
        )
        trailer = parse_trailer_text(text)
        assert trailer is not None
        self.transcript.learn_trailer(trailer)

    def lose_lines(self) -> None:
        """Lines 1 and 2 have come, then 10."""
        self.print(1)
        self.print(2)
        self.transcript.accept(b"%s o 10 4 line" % TOKEN.encode())


def seconds_of(step: ReadStep) -> float:
    assert isinstance(step, Pause)
    return step.seconds


def test_container_that_has_not_started_is_looked_at_again_soon() -> None:
    assert Reader().step(UNSTARTED) == Pause(1.0)


def test_log_is_followed_from_its_start() -> None:
    assert Reader().step() == FollowLog(None, 120.0)


@pytest.mark.parametrize(
    ("silent_for", "since_seconds"), [(0.0, 30), (0.2, 31), (60.0, 90), (7200.0, 7230)]
)
def test_follow_is_resumed_from_the_last_line_and_half_a_minute(
    silent_for: float, since_seconds: int
) -> None:
    reader = Reader()
    reader.print(1)
    reader.note(FollowLog(None, 120.0), SILENT)
    reader.now += silent_for

    assert reader.step() == FollowLog(since_seconds, 120.0)


def test_unnumbered_log_is_always_read_from_its_start() -> None:
    reader = Reader()
    reader.transcript.accept(f"{TOKEN} h 1 pod_uid=u numbered=0 started=1".encode())
    reader.transcript.accept(b"plain")
    reader.policy.note_output(reader.now)
    reader.note(FollowLog(None, 120.0), SILENT)

    assert reader.step() == FollowLog(None, 120.0)


def test_reconnects_slow_down_to_ten_seconds_and_hurry_again_after_progress() -> None:
    reader = Reader()
    delays: list[float] = []
    for outcome in [UNREACHABLE] * 8 + [ReadOutcome(ReadEnd.UNAVAILABLE, progressed=True)]:
        reader.note(FollowLog(None, 120.0), outcome)
        delays.append(seconds_of(reader.step()))
        reader.now += delays[-1]

    expected = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 0.2]
    assert delays == pytest.approx(expected)


@pytest.mark.parametrize(("asked", "waited"), [(3.0, 3.2), (3600.0, 60.2)])
def test_server_that_asks_for_patience_gets_it_within_bounds(asked: float, waited: float) -> None:
    reader = Reader()
    reader.note(FollowLog(None, 120.0), ReadOutcome(ReadEnd.UNAVAILABLE, retry_after_seconds=asked))

    assert seconds_of(reader.step()) == pytest.approx(waited)


@pytest.mark.parametrize("end", [ReadEnd.SILENT, ReadEnd.REPLACED])
def test_silence_is_normal_and_followed_by_the_next_follow_at_once(end: ReadEnd) -> None:
    reader = Reader()
    reader.note(FollowLog(None, 120.0), ReadOutcome(end))

    assert reader.step() == FollowLog(None, 120.0)


@pytest.mark.parametrize("outcome", [UNREACHABLE, NOT_FOUND, FORBIDDEN, NOTHING_CAME])
def test_running_container_is_never_given_up(outcome: ReadOutcome) -> None:
    reader = Reader(exec_allowed=False)
    taken = reader.steps([outcome] * 1000)

    assert set(taken) == {FollowLog(None, 120.0)}
    assert reader.now > 1000 + 900 * 10


REFUSALS = [
    pytest.param(SERVER_ERROR, id="500 of the kubelet"),
    pytest.param(FORBIDDEN, id="403"),
    pytest.param(ReadOutcome(ReadEnd.REFUSED, detail="No log."), id="200 with an excuse"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_log_is_read_from_the_copy_in_turns_while_the_container_lives(
    refusal: ReadOutcome,
) -> None:
    reader = Reader()
    follow, copy = FollowLog(None, 120.0), ReadCopy(1, holds=True)

    assert reader.steps([refusal] * 3) == [follow, follow, follow, copy]
    begun = reader.now
    for _ in range(10):
        reader.note(copy, READ_COPY)
        assert seconds_of(reader.step()) == pytest.approx(5.0)
        assert reader.steps([refusal]) == [follow, copy]
    assert reader.now - begun == pytest.approx(50.0)
    assert reader.policy.log_refusal == refusal.detail


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_log_costs_no_line_at_the_end_and_the_script_is_let_go(
    refusal: ReadOutcome,
) -> None:
    reader = Reader()
    reader.steps([refusal] * 3)
    reader.print(1)
    reader.print_trailer(1, 5)
    reader.note(ReadCopy(1, holds=True), ReadOutcome(ReadEnd.END_OF_FILE, True, True))

    taken = reader.steps([refusal] * 4 + [READ_COPY])
    assert taken == [WHOLE_LOG] * 4 + [Acknowledge(), Stop()]


def test_log_that_is_refused_now_and_then_at_the_end_still_brings_its_stderr() -> None:
    reader = Reader()
    reader.steps([SERVER_ERROR] * 3)
    reader.print(1)
    reader.print_trailer(1, 5)
    reader.note(ReadCopy(1, holds=True), ReadOutcome(ReadEnd.END_OF_FILE, True, True))

    cut = ReadOutcome(ReadEnd.UNAVAILABLE, had_bytes=True)
    assert reader.steps([SERVER_ERROR] * 3 + [cut] * 3) == [WHOLE_LOG] * 7


def test_refused_log_with_a_gap_is_read_from_the_copy_at_once() -> None:
    reader = Reader()
    reader.steps([SERVER_ERROR] * 3)
    reader.lose_lines()

    assert reader.step() == ReadCopy(3, holds=True)


def test_log_that_is_served_again_is_followed_again_and_the_script_still_let_go() -> None:
    reader = Reader()
    reader.steps([SERVER_ERROR] * 3)
    reader.note(ReadCopy(1, holds=True), READ_COPY)
    assert reader.steps([SILENT, SILENT]) == [FollowLog(None, 120.0)] * 3
    assert reader.policy.log_refusal is None
    reader.print(1)
    reader.print_trailer(1, 5)
    trailer = ReadOutcome(ReadEnd.TRAILER, had_bytes=True, progressed=True)
    reader.note(FollowLog(None, 120.0), trailer)

    assert reader.steps([READ_COPY]) == [Acknowledge(), Stop()]


def test_refused_log_and_refused_copy_take_turns() -> None:
    reader = Reader()
    taken = reader.steps([SERVER_ERROR] * 12)

    assert [isinstance(step, ReadCopy) for step in taken] == ([False] * 3 + [True]) * 3 + [False]


def test_missing_lines_are_looked_for_further_back_then_from_the_start_then_in_the_copy() -> None:
    reader = Reader()
    reader.lose_lines()
    reader.note(FollowLog(None, 120.0), ReadOutcome(ReadEnd.GAP, progressed=True))
    taken = reader.steps([GAP, GAP, NOTHING_CAME, NOTHING_CAME, GAP])

    assert taken == [
        ReadLog(300, 30.0),
        WHOLE_LOG,
        ReadCopy(3),
        ReadCopy(3),
        ReadLog(None, 30.0, skips_gaps=True),
        ReadLog(None, 30.0, skips_gaps=True),
    ]


def test_lines_missing_from_the_very_start_are_not_looked_for_where_they_were_not() -> None:
    reader = Reader()
    reader.transcript.accept(b"%s o 10 4 line" % TOKEN.encode())
    reader.note(FollowLog(None, 120.0), GAP)

    assert reader.step() == ReadCopy(1)


def test_copy_that_has_had_nothing_is_asked_again_for_later_lines() -> None:
    reader = Reader()
    reader.lose_lines()
    reader.steps([GAP, GAP, *[NOTHING_CAME] * 5])
    assert reader.transcript.next_number == 10
    reader.print(10)
    reader.transcript.accept(b"%s o 20 4 line" % TOKEN.encode())
    reader.note(FollowLog(None, 120.0), ReadOutcome(ReadEnd.GAP, progressed=True))

    assert reader.steps([GAP, GAP])[-1] == ReadCopy(11)


def test_forbidden_copy_is_asked_for_once() -> None:
    reader = Reader()
    reader.lose_lines()
    taken = reader.steps([GAP, GAP, FORBIDDEN, GAP, GAP, NOTHING_CAME])
    reader.transcript.accept(b"%s o 20 4 line" % TOKEN.encode())
    taken += reader.steps([GAP, GAP])

    assert [step for step in taken if isinstance(step, ReadCopy)] == [ReadCopy(3)]
    assert taken[-1] == ReadLog(None, 30.0, skips_gaps=True)


def test_copy_that_fails_is_given_up_only_while_the_log_can_be_read() -> None:
    reader = Reader()
    reader.lose_lines()
    outage = reader.steps([GAP, GAP, *[UNREACHABLE] * 50])
    assert outage.count(ReadCopy(3)) == 1
    outage_over = reader.now
    tries = 0
    while not (isinstance(step := reader.step(), ReadLog) and step.skips_gaps):
        if isinstance(step, Pause):
            reader.now += step.seconds
        elif isinstance(step, ReadCopy):
            assert step == ReadCopy(3)
            tries += 1
            reader.note(step, UNREACHABLE)
        else:
            assert isinstance(step, ReadLog)
            reader.note(step, GAP)

    assert tries == 12
    assert COPY_SECONDS <= reader.now - outage_over <= COPY_SECONDS + 20


def fail_copy(reader: Reader, times: int) -> None:
    for _ in range(times):
        reader.note(ReadCopy(3), UNREACHABLE)
        reader.note(WHOLE_LOG, GAP)


def next_attempt(reader: Reader) -> ReadStep:
    while isinstance(step := reader.step(), Pause):
        reader.now += step.seconds
    return step


def reader_of_failing_copy() -> Reader:
    reader = Reader()
    reader.lose_lines()
    reader.steps([GAP, GAP])
    fail_copy(reader, 5)
    return reader


def test_copy_is_given_up_at_the_sixth_failure_two_minutes_after_the_first() -> None:
    reader = reader_of_failing_copy()
    reader.now += COPY_SECONDS
    fail_copy(reader, 1)

    assert next_attempt(reader) == ReadLog(None, 30.0, skips_gaps=True)


def test_copy_that_can_be_read_again_is_not_given_up_for_what_failed_before() -> None:
    reader = reader_of_failing_copy()
    reader.now += COPY_SECONDS
    reader.note(ReadCopy(3), ReadOutcome(ReadEnd.UNAVAILABLE, had_bytes=True, progressed=True))
    reader.note(WHOLE_LOG, GAP)
    fail_copy(reader, 6)

    assert next_attempt(reader) == ReadCopy(3)


def test_outage_does_not_count_against_the_copy() -> None:
    reader = reader_of_failing_copy()
    reader.now += 10.0
    reader.note(WHOLE_LOG, UNREACHABLE)
    reader.now += COPY_SECONDS
    reader.note(WHOLE_LOG, GAP)
    fail_copy(reader, 1)
    assert next_attempt(reader) == ReadCopy(3)

    reader.now += COPY_SECONDS
    fail_copy(reader, 1)
    assert next_attempt(reader) == ReadLog(None, 30.0, skips_gaps=True)


@pytest.mark.parametrize(
    ("view", "exec_allowed"), [(RUNNING, False), (ENDED, True)], ids=["no exec", "ended"]
)
def test_lines_that_only_the_trailer_knows_of_are_given_up_after_whole_reads_in_vain(
    view: PodView, exec_allowed: bool
) -> None:
    reader = Reader(exec_allowed=exec_allowed)
    reader.print(1)
    reader.print_trailer(lines=3)
    final = ReadLog(None, 30.0, skips_gaps=True)
    taken = [
        step
        for step in reader.steps([NOTHING_CAME] * 6, view)
        if not (isinstance(step, ReadLog) and not step.skips_gaps)
    ]

    assert taken[:4] == [final, final, final, SkipMissing()]
    assert taken[-1] == Stop()
    assert reader.transcript.proof().missing == ((2, 3),)


def test_follow_that_ends_early_is_caught_up_with_from_the_copy() -> None:
    reader = Reader()
    reader.print(1)
    taken = reader.steps([NOTHING_CAME, NOTHING_CAME])

    assert taken == [FollowLog(30, 120.0), ReadCopy(2), FollowLog(31, 120.0)]


def test_copy_that_was_cut_is_read_on() -> None:
    reader = Reader()
    reader.print(1)
    reader.steps([NOTHING_CAME])
    reader.print(2)
    reader.note(ReadCopy(2), ReadOutcome(ReadEnd.UNAVAILABLE, progressed=True))

    assert reader.steps([]) == [ReadCopy(3)]


def test_follows_cut_before_anything_new_begin_later_and_then_use_the_copy() -> None:
    reader = Reader()
    reader.print(1)
    cut = ReadOutcome(ReadEnd.UNAVAILABLE, had_bytes=True)
    taken = reader.steps([cut, cut, cut])

    assert taken == [
        FollowLog(30, 120.0),
        FollowLog(16, 120.0),
        FollowLog(9, 120.0),
        ReadCopy(2),
    ]


def test_silence_is_looked_into_soon_only_when_a_log_file_may_be_full() -> None:
    reader = Reader(above=10_000)
    reader.print(1)
    assert reader.policy.quiet_seconds == 120.0
    reader.print(2, b"x" * 2_000)
    assert reader.policy.quiet_seconds == 40.0
    reader.print(3, b"x" * 10_000)
    assert reader.policy.quiet_seconds == 5.0


def test_silence_is_looked_into_ever_more_slowly_until_something_comes() -> None:
    reader = Reader(above=100)
    reader.print(1, b"x" * 1_000)
    waits: list[float] = []
    for _ in range(5):
        waits.append(reader.policy.quiet_seconds)
        reader.note(FollowLog(30, 120.0), SILENT)
        assert reader.step() == ReadCopy(2)
        reader.note(ReadCopy(2), NOTHING_CAME)
    reader.note(FollowLog(30, 120.0), ReadOutcome(ReadEnd.SILENT, progressed=True))

    assert waits == [5.0, 10.0, 20.0, 40.0, 40.0]
    assert reader.policy.quiet_seconds == 5.0


@pytest.mark.parametrize("by_gap", [True, False])
def test_after_a_rotation_the_next_one_is_far(by_gap: bool) -> None:
    reader = Reader(above=1_000)
    reader.print(1, b"x" * 2_000)
    assert reader.policy.quiet_seconds == 5.0
    if by_gap:
        reader.note(FollowLog(30, 120.0), GAP)
    else:
        reader.note(ReadCopy(2), ReadOutcome(ReadEnd.END_OF_FILE, progressed=True))

    assert reader.policy.quiet_seconds == 40.0


def test_small_output_ends_with_its_trailer() -> None:
    reader = Reader()
    reader.print(1)
    reader.print_trailer(lines=1, stdout_bytes=5)
    reader.note(FollowLog(None, 120.0), ReadOutcome(ReadEnd.TRAILER, progressed=True))

    assert reader.step() == Stop()


def test_trailer_learnt_elsewhere_still_asks_for_the_log_where_stderr_stands() -> None:
    reader = Reader()
    reader.print(1)
    reader.print_trailer(lines=1, stdout_bytes=5)

    assert reader.steps([NOTHING_CAME]) == [WHOLE_LOG, Stop()]


def finished(above: int = 100, *, exec_allowed: bool = True) -> Reader:
    reader = Reader(above=above, exec_allowed=exec_allowed)
    reader.print(1, b"x" * 999)
    reader.print_trailer(lines=1, stdout_bytes=1000)
    reader.note(FollowLog(None, 120.0), ReadOutcome(ReadEnd.TRAILER, progressed=True))
    return reader


@pytest.mark.parametrize(
    ("reader", "view", "expected"),
    [
        pytest.param(finished(), RUNNING, [Acknowledge(), Stop()], id="waiting"),
        pytest.param(finished(), ENDED, [Stop()], id="not waiting any more"),
        pytest.param(finished(above=2000), RUNNING, [Stop()], id="not enough to wait"),
        pytest.param(finished(exec_allowed=False), RUNNING, [Stop()], id="cannot be told"),
    ],
)
def test_script_is_told_when_it_waits_and_can_be_told(
    reader: Reader, view: PodView, expected: list[ReadStep]
) -> None:
    assert reader.steps([NOTHING_CAME], view) == expected


@pytest.mark.parametrize(
    ("outcome", "tries"), [(FORBIDDEN, 1), (UNREACHABLE, 6)], ids=["forbidden", "unreachable"]
)
def test_script_that_cannot_be_told_is_left_to_its_own_bound(
    outcome: ReadOutcome, tries: int
) -> None:
    assert finished().steps([outcome] * 10) == [*[Acknowledge()] * tries, Stop()]


def test_ended_container_is_read_from_the_start_until_nothing_new_comes_thrice() -> None:
    reader = Reader()
    reader.print(1)
    came = ReadOutcome(ReadEnd.END_OF_FILE, had_bytes=True, progressed=True)
    # A stream may end early without an error, so that one read in vain proves nothing.
    reads = [came, NOTHING_CAME, NOTHING_CAME, came, NOTHING_CAME, NOTHING_CAME, NOTHING_CAME]
    taken = reader.steps(reads, ENDED)

    assert taken == [WHOLE_LOG] * 7 + [Stop()]
    assert reader.now - 1000 == pytest.approx(0.2 + 0.4 + 0.2 + 0.4)


def test_whole_read_from_before_the_end_does_not_count() -> None:
    reader = Reader()
    reader.lose_lines()
    reader.steps([GAP])
    reader.note(WHOLE_LOG, NOTHING_CAME)
    reader.transcript.skip_missing()

    assert reader.step(ENDED) == WHOLE_LOG


def test_end_of_the_container_cuts_short_the_wait_for_the_next_read() -> None:
    reader = Reader()
    for _ in range(8):
        reader.note(FollowLog(None, 120.0), UNREACHABLE)
    assert isinstance(reader.step(), Pause)

    assert reader.step(ENDED) == WHOLE_LOG


@pytest.mark.parametrize(
    ("view", "outcome", "lasts", "gave_up"),
    [
        pytest.param(
            GONE, NOT_FOUND, (0, 5), "The pod is gone, and its log with it.", id="pod gone"
        ),
        pytest.param(
            ENDED, NOT_FOUND, (30, 45), "after the agent's end: No such pod.", id="not found"
        ),
        pytest.param(ENDED, FORBIDDEN, (30, 45), "end: Not allowed.", id="forbidden"),
        pytest.param(GONE, FORBIDDEN, (30, 45), "end: Not allowed.", id="gone and forbidden"),
        pytest.param(ENDED, UNREACHABLE, (600, 615), "end: No route to the API.", id="away"),
        pytest.param(GONE, UNREACHABLE, (600, 615), "end: No route to the API.", id="both away"),
    ],
)
def test_log_that_cannot_be_read_after_the_end_is_given_up_in_time(
    view: PodView, outcome: ReadOutcome, lasts: tuple[float, float], gave_up: str
) -> None:
    reader = Reader()
    reader.print(1)
    *_, last = reader.steps([outcome] * 1000, view)

    assert isinstance(last, Stop)
    assert last.gave_up is not None
    assert gave_up in last.gave_up
    assert lasts[0] <= reader.now - 1000 <= lasts[1]


def test_outage_before_the_end_does_not_shorten_the_patience_after_it() -> None:
    reader = Reader()
    reader.steps([UNREACHABLE] * 200)
    before = reader.now
    reader.steps([UNREACHABLE] * 200, ENDED)

    assert reader.now - before >= 600


def test_progress_between_failures_renews_the_patience() -> None:
    reader = Reader()
    came = ReadOutcome(ReadEnd.UNAVAILABLE, had_bytes=True, progressed=True)
    taken = reader.steps([UNREACHABLE, UNREACHABLE, came, UNREACHABLE] * 100, ENDED)

    assert set(taken) == {WHOLE_LOG}


def test_refusals_among_other_failures_are_an_outage() -> None:
    reader = Reader()
    reader.steps([FORBIDDEN, UNREACHABLE] * 1000, ENDED)

    assert reader.now - 1000 >= 600
