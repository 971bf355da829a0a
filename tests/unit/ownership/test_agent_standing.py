from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.observation.snapshots import LeaseSnapshot
from tasks.ownership.agent_standing import (
    AgentStanding,
    Spending,
    find_standing,
    standing_note,
)
from tasks.ownership.lease import LeaseHolder, build_noted
from tasks.vocabulary.names import ANNOTATION_STANDING

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
STANDING = AgentStanding("Succeeded", NOON, date(2026, 11, 29), Spending(0.25, 1), Spending(7.5, 2))


@pytest.mark.parametrize(
    ("day", "on_day", "in_month"),
    [
        (date(2026, 11, 29), Spending(0.25, 1), Spending(7.5, 2)),
        (date(2026, 11, 30), Spending(), Spending(7.5, 2)),
        (date(2026, 12, 1), Spending(), Spending()),
        (date(2027, 11, 29), Spending(), Spending()),
    ],
)
def test_spending_counts_for_its_own_day_and_month(
    day: date, on_day: Spending, in_month: Spending
) -> None:
    assert STANDING.spent_on(day) == on_day
    assert STANDING.spent_in_month_of(day) == in_month


@pytest.mark.parametrize(
    "standing",
    [STANDING, AgentStanding("Claude failed", NOON, date(2026, 11, 29), None, None)],
)
def test_note_is_read_as_it_was_written(standing: AgentStanding) -> None:
    assert find_standing(standing_note(standing)) == standing


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "7", "{", '{"outcome": "a"}', "[" * 9_000),
        standing_note(STANDING)[ANNOTATION_STANDING].replace("2026", "MMXXVI"),
        standing_note(STANDING)[ANNOTATION_STANDING].replace("00Z", "00"),
        standing_note(STANDING)[ANNOTATION_STANDING].replace("0.25", "[]"),
    ],
)
def test_note_of_another_form_is_none(text: str) -> None:
    assert find_standing({ANNOTATION_STANDING: text}) is None


def test_agent_without_a_note_has_no_standing() -> None:
    assert find_standing({}) is None


@given(st.text(max_size=200))
def test_outcome_is_one_safe_line(outcome: str) -> None:
    found = find_standing(standing_note(AgentStanding(outcome, NOON, NOON.date(), None, None)))

    assert found is not None
    assert len(found.outcome.splitlines()) <= 1


def test_note_keeps_what_is_on_the_lease() -> None:
    me = LeaseHolder("run/1")
    lease = LeaseSnapshot("lease", holder=me, epoch=3, annotations={"paused": "yes"})

    body = build_noted(lease, me, NOON, {"new": "a"})

    assert body["metadata"]["annotations"] == {"paused": "yes", "new": "a"}
    assert body["spec"]["holderIdentity"] == me
    assert body["spec"]["leaseTransitions"] == 3
    with pytest.raises(ValueError, match="held by"):
        build_noted(lease, LeaseHolder("run/2"), NOON, {})
