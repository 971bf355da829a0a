from hypothesis import given
from hypothesis import strategies as st

from tasks.claude_code.log_records import RECORD_BYTES_MAX, RecordBuffer


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


def test_line_that_would_overfill_a_record_starts_a_new_one() -> None:
    buffer = RecordBuffer()
    buffer.add("small", now=0.0)
    wide = "漢" * (RECORD_BYTES_MAX // 4) + "漢" * (RECORD_BYTES_MAX // 4)

    records = buffer.add(wide, now=0.0)

    assert "".join(records).replace("\n", "") == "small" + wide
    assert all(len(record.encode()) <= RECORD_BYTES_MAX for record in records)


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=300), max_size=60))
def test_every_line_comes_out_once_and_in_order(lines: list[str]) -> None:
    buffer = RecordBuffer()
    records = [record for line in lines for record in buffer.add(line, now=0.0)]
    records += buffer.flush()

    assert "\n".join(records) == "\n".join(lines)


def test_line_that_does_not_fit_beside_others_gets_a_record_of_its_own() -> None:
    buffer = RecordBuffer()
    buffer.add("x" * 60_000, now=0.0)

    assert buffer.add("y" * 150_000, now=0.0) == ["x" * 60_000, "y" * 150_000]
