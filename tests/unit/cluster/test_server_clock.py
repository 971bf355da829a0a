from datetime import UTC, datetime

import pytest

from tasks.cluster.server_clock import ServerClock, parse_server_time


def at(second: float) -> datetime:
    whole = int(second)
    return datetime(2026, 1, 1, 12, 0, whole, int((second - whole) * 1_000_000), tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Thu, 01 Jan 2026 12:00:05 GMT", at(5)),
        ("Thu, 01 Jan 2026 12:00:05 -0000", at(5)),
        ("Thu, 01 Jan 2026 14:00:05 +0200", at(5)),
        ("yesterday", None),
        (None, None),
    ],
)
def test_date_header_is_read_as_utc(header: str | None, expected: datetime | None) -> None:
    assert parse_server_time(header) == expected


def test_clock_is_unknown_before_the_first_answer() -> None:
    clock = ServerClock(Clock())
    clock.observe(None)

    assert clock.now() is None


def test_clock_goes_on_between_answers() -> None:
    monotonic = Clock()
    clock = ServerClock(monotonic)
    clock.observe(at(5))
    monotonic.seconds += 2.5

    assert clock.now() == at(7.5)


def test_clock_does_not_run_back_within_the_headers_rounding() -> None:
    monotonic = Clock()
    clock = ServerClock(monotonic)
    clock.observe(at(5))
    monotonic.seconds += 0.75
    clock.observe(at(5))

    assert clock.now() == at(5.75)


def test_clock_follows_a_server_that_is_ahead_of_the_estimate() -> None:
    monotonic = Clock()
    clock = ServerClock(monotonic)
    clock.observe(at(5))
    monotonic.seconds += 0.5
    clock.observe(at(6))

    assert clock.now() == at(6)


def test_clock_follows_a_server_whose_clock_was_set_back() -> None:
    monotonic = Clock()
    clock = ServerClock(monotonic)
    clock.observe(at(30))
    clock.observe(at(10))

    assert clock.now() == at(10)
