from uuid import UUID

import pytest

from tasks.operators.agents_page import must_look_again

BEFORE, OTHER, OWN, LATER = (UUID(int=number) for number in range(4))


@pytest.mark.parametrize(
    ("there", "again"),
    [
        pytest.param((OWN,), False, id="alone"),
        pytest.param((BEFORE, OWN), False, id="only what was replaced"),
        pytest.param((OTHER, OWN), True, id="another one came during the look"),
        pytest.param((BEFORE, OTHER, OWN), True, id="another one beside what was replaced"),
        pytest.param((OWN, LATER), False, id="the writer of the later one looks again"),
        pytest.param((OTHER, OWN, LATER), False, id="the last of three looks again"),
        pytest.param((LATER,), False, id="a later one has replaced it already"),
        pytest.param((), False, id="somebody has deleted all"),
    ],
)
def test_last_writer_alone_looks_again(there: tuple[UUID, ...], again: bool):
    assert must_look_again(there, OWN, frozenset({BEFORE})) is again


def test_of_any_writers_at_once_exactly_one_looks_again():
    there = tuple(UUID(int=number) for number in range(10, 30))
    assert [must_look_again(there, own, frozenset({BEFORE})) for own in there] == [False] * 19 + [
        True
    ]
