"""Every pair of container ending, class of stream and what the API still shows."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tasks.outcome.reasons import Reason
from tasks.outcome.verdict import judge_run
from tasks.vocabulary.error_codes import Cause
from tests.unit.outcome.ending_matrix import ENDINGS, STREAMS, VIEWS, facts_of
from tests.unit.outcome.ending_matrix_expected import (
    CAUSES,
    CODES,
    IMPOSSIBLE,
    REASONS,
)

Cell = tuple[str, str, str]
Expected = tuple[Reason, Cause | None]


def read_matrix() -> Iterator[tuple[Cell, Expected | None]]:
    """Yield every cell of the written table; `None` where it says that it cannot happen."""
    _, *blocks = (Path(__file__).with_name("ending_matrix.txt").read_text()).split("\n[")
    for block in blocks:
        title, header, *rows = block.strip().splitlines()
        for row in rows:
            ending, *cells = row.split()
            for stream, cell in zip(header.split()[1:], cells, strict=True):
                reason, _, cause = cell.partition(".")
                expected = None if cell == "--" else (REASONS[reason], CAUSES[cause])
                yield (_name(ending), _name(stream), title.removesuffix("]")), expected


def _name(word: str) -> str:
    return word if word == "start-up" else word.replace("-", " ")


WRITTEN = dict(read_matrix())
POSSIBLE = {cell: expected for cell, expected in WRITTEN.items() if expected is not None}


def test_matrix_names_every_pair_once() -> None:
    assert set(WRITTEN) == set(product(ENDINGS, STREAMS, VIEWS))
    assert len(list(read_matrix())) == len(WRITTEN) == 1080


@pytest.mark.parametrize(("view", "ending"), list(product(VIEWS, ENDINGS)))
def test_pair_has_its_expected_reason_and_cause(view: str, ending: str) -> None:
    cells = {
        cell: wanted for cell, wanted in POSSIBLE.items() if (cell[2], cell[0]) == (view, ending)
    }

    outcomes = {cell: judge_run(facts_of(*cell)) for cell in cells}

    assert {cell: (found.reason, found.cause) for cell, found in outcomes.items()} == cells
    assert all(found.code is CODES[found.reason] for found in outcomes.values())


def test_pairs_that_cannot_happen_are_those_with_a_reason() -> None:
    unlikely = {cell for cell, expected in WRITTEN.items() if expected is None}
    listed = {
        cell
        for cell in WRITTEN
        for *pattern, _reason in IMPOSSIBLE
        if all(wanted in (None, part) for wanted, part in zip(pattern, cell, strict=True))
    }

    assert unlikely == listed


def test_only_an_ended_agent_with_an_answer_succeeds() -> None:
    good = {cell for cell, expected in POSSIBLE.items() if expected[0] is Reason.SUCCESS}

    assert {ending for ending, _, _ in good} == {"exit 0", "child OOM", "trailer 0"}
    assert {stream for _, stream, _ in good} == {"answer"}
