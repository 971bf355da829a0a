import pytest

from bench.figures import (
    Goal,
    LineCount,
    Table,
    count_lines,
    count_round_trips,
    percentile,
    ratio,
    render_line_counts,
    render_number,
    render_spread,
    render_table,
    spread_rows,
)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1.0), (50, 5.0), (95, 10.0), (99, 10.0), (100, 10.0)],
)
def test_percentile_is_a_measured_value(percent: int, expected: float) -> None:
    values = [10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]

    assert percentile(values, percent) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.005, "0.01"), (1.15, "1.15"), (14.62, "14.6"), (3427.4, "3,427"), (12.0, "12")],
)
def test_number_is_as_short_as_it_can_be_compared(value: float, expected: str) -> None:
    assert render_number(value) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7], "7"), ([7, 7, 7], "7"), ([9, 1_000, 20], "20 (9–1,000)")],
    ids=["one", "equal", "different"],
)
def test_spread_is_told_where_there_is_one(values: list[float], expected: str) -> None:
    assert render_spread(values) == expected


def test_line_counts_of_several_rounds_are_told_together() -> None:
    counts = [LineCount(0, 0), LineCount(50, 0), LineCount(1_000, 2)]

    assert render_line_counts(counts) == "50 (0–1,000) / 0 (0–2)"


@pytest.mark.parametrize(
    ("base", "expected"), [(2.0, "1.50 ×"), (None, "–"), (0.0, "–")], ids=["base", "none", "zero"]
)
def test_ratio_needs_a_base(base: float | None, expected: str) -> None:
    assert ratio(3.0, base) == expected


@pytest.mark.parametrize(
    ("measured", "is_missed", "expected"),
    [
        (12.5, False, "met – delay: at most 300 ms, measured 12.5 ms"),
        (300, False, "met – delay: at most 300 ms, measured 300 ms"),
        (301, True, "MISSED – delay: at most 300 ms, measured 301 ms"),
        (None, False, "not measured – delay: at most 300 ms"),
    ],
)
def test_goal_says_whether_it_is_met(
    measured: float | None, is_missed: bool, expected: str
) -> None:
    goal = Goal("delay", measured, 300, "ms")

    assert (goal.is_missed, goal.render()) == (is_missed, expected)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3, 4], LineCount(0, 0)),
        ([1, 2], LineCount(2, 0)),
        ([1, 2, 2, 3, 4, 4, 4], LineCount(0, 3)),
        ([4, 3], LineCount(2, 0)),
        ([], LineCount(4, 0)),
        ([1, 2, 3, 4, 9], LineCount(0, 0)),
    ],
    ids=["all", "broken off", "doubled", "disordered", "none", "foreign"],
)
def test_lines_are_lost_or_doubled_by_their_numbers(
    numbers: list[int], expected: LineCount
) -> None:
    assert count_lines(numbers, 4) == expected


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (1, 2), (2, 3)], 3),
        ([(0, 2), (0, 1), (0.5, 2)], 1),
        ([(0, 1), (1, 9), (1, 2), (2, 3)], 3),
    ],
    ids=["none", "one", "one after the other", "together", "one beside two"],
)
def test_requests_under_way_together_are_one_round_trip(
    spans: list[tuple[float, float]], expected: int
) -> None:
    assert count_round_trips(spans) == expected


def test_spread_compares_medians_and_keeps_a_row_for_who_has_no_value() -> None:
    rows = spread_rows({"ours": [1.0, 2.0, 3.0], "peer": [4.0], "gone": []}, "ours")

    assert rows == (
        ("ours", "3", "2", "3", "3", "3", "1.00 ×"),
        ("peer", "1", "4", "4", "4", "4", "2.00 ×"),
        ("gone", "0", "–", "–", "–", "–", "–"),
    )


def test_table_says_goals_and_notes_below_its_rows() -> None:
    table = Table("Delay", ("", "ms"), (("ours", "12"),), (Goal("it", 12, 10, "ms"),), ("Note.",))

    assert render_table(table).splitlines() == [
        "### Delay",
        "",
        "|      | ms |",
        "|------|----|",
        "| ours | 12 |",
        "",
        "- MISSED – it: at most 10 ms, measured 12 ms",
        "- Note.",
    ]
