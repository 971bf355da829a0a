import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.vocabulary.backoff import Backoff

SHARES = st.floats(0, 1)


def whole(backoff: Backoff, *failures: int) -> list[float]:
    return [backoff.delay_seconds(number) for number in failures]


def test_delays_double_up_to_the_longest_and_stay_there() -> None:
    backoff = Backoff(0.2, 10.0, jitter=lambda: 1.0)

    assert whole(backoff, 1, 2, 3, 4, 5, 6, 7, 8, 10_000) == pytest.approx(
        [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    )


@pytest.mark.parametrize(
    ("least_share", "chance", "delay"),
    [(0.0, 0.0, 0.0), (0.0, 1.0, 4.0), (0.5, 0.0, 2.0), (0.5, 0.5, 3.0), (1.0, 0.0, 4.0)],
    ids=["full-jitter-least", "full-jitter-most", "half-least", "half-middle", "no-jitter"],
)
def test_chance_leaves_the_least_share(least_share: float, chance: float, delay: float) -> None:
    backoff = Backoff(1.0, 8.0, least_share=least_share, jitter=lambda: chance)

    assert backoff.delay_seconds(3) == delay


@pytest.mark.parametrize(
    ("asked", "delay"), [(None, 1.0), (0.0, 1.0), (3.0, 4.0), (60.0, 61.0), (3600.0, 61.0)]
)
def test_what_the_server_asks_for_comes_on_top_up_to_a_minute(
    asked: float | None, delay: float
) -> None:
    assert Backoff(1.0, 8.0, jitter=lambda: 1.0).delay_seconds(1, asked) == delay


@given(
    first=st.floats(0.001, 10),
    factor=st.floats(1, 1000),
    least_share=SHARES,
    chance=SHARES,
    failures=st.integers(1, 10_000),
)
def test_no_number_of_failures_leaves_the_bounds(
    first: float, factor: float, least_share: float, chance: float, failures: int
) -> None:
    longest = first * factor
    backoff = Backoff(first, longest, least_share=least_share, jitter=lambda: chance)
    delay = backoff.delay_seconds(failures)

    assert first * least_share <= delay * 1.0001
    assert 0 <= delay <= longest * 1.0001
    assert delay <= backoff.delay_seconds(failures + 1) * 1.0001
