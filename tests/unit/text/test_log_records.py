import json

from hypothesis import given
from hypothesis import strategies as st

from tasks.text.log_records import RECORD_BYTES_MAX, RecordBuffer, cut_text, json_bytes


def test_lines_within_a_second_become_one_record() -> None:
    buffer = RecordBuffer()

    assert buffer.add("one", now=10.0) == []
    assert buffer.add("two", now=10.5) == []
    assert buffer.due_at() == 11.0
    assert buffer.flush() == ["one\ntwo"]
    assert buffer.due_at() is None
    assert buffer.flush() == []


def test_full_record_is_returned_at_once() -> None:
    assert RecordBuffer().add("x" * 70_000, now=0.0) == ["x" * 70_000]


def test_line_that_no_record_can_hold_is_cut() -> None:
    buffer = RecordBuffer()
    buffer.add("small", now=0.0)
    wide = "漢\x1b" * RECORD_BYTES_MAX

    records = [*buffer.add(wide, now=0.0), *buffer.flush()]

    assert "".join(records).replace("\n", "") == "small" + wide
    assert all(json_bytes(record) <= RECORD_BYTES_MAX for record in records)


@given(
    st.lists(st.text(st.characters(exclude_characters="\n"), max_size=300), max_size=60),
    st.integers(min_value=5_000, max_value=RECORD_BYTES_MAX),
)
def test_every_line_comes_out_once_and_in_order(lines: list[str], bytes_max: int) -> None:
    buffer = RecordBuffer(bytes_max)
    records = [record for line in lines for record in buffer.add(line, now=0.0)]
    records += buffer.flush()

    assert "\n".join(records) == "\n".join(lines)
    assert all(json_bytes(record) <= bytes_max for record in records)


def test_line_that_does_not_fit_beside_others_gets_a_record_of_its_own() -> None:
    buffer = RecordBuffer()
    buffer.add("x" * 60_000, now=0.0)

    assert buffer.add("y" * 150_000, now=0.0) == ["x" * 60_000, "y" * 150_000]


@given(st.text(max_size=500), st.integers(min_value=16, max_value=4_000))
def test_pieces_of_a_text_fit_and_are_the_text(text: str, bytes_max: int) -> None:
    pieces = cut_text(text, bytes_max)

    assert "".join(pieces) == text
    assert all(json_bytes(piece) <= bytes_max for piece in pieces)


@given(st.text() | st.text(st.characters(codec="ascii")))
def test_size_of_a_text_is_that_of_its_json(text: str) -> None:
    assert json_bytes(text) == len(json.dumps(text))
