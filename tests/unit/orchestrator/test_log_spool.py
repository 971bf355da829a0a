from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.orchestrator.log_spool import LogSpool, SpooledRecord

AT = datetime(2026, 11, 21, 8, 15, 3, 7, UTC)


def record(message: str, number: int = 0) -> SpooledRecord:
    return SpooledRecord(AT + timedelta(microseconds=number), message)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@given(
    st.lists(st.text(max_size=200), max_size=40),
    st.integers(min_value=1, max_value=3_000),
    st.integers(min_value=1, max_value=7),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_come_out_once_and_in_order_whatever_the_batch(
    path: Path, messages: list[str], batch_bytes: int, written_between: int
) -> None:
    records = [record(message, number) for number, message in enumerate(messages)]
    spool = LogSpool(path)
    read: list[SpooledRecord] = []
    for start in range(0, len(records), written_between):
        for each in records[start : start + written_between]:
            spool.append(each)
        batch = spool.first(batch_bytes)
        assert batch == spool.first(batch_bytes)
        read += batch.records
        spool.drop(batch)
    while spool.waiting_lines:
        batch = spool.first(batch_bytes)
        assert batch.records
        read += batch.records
        spool.drop(batch)
    spool.close()

    assert read == records
    assert path.stat().st_size == 0


def test_one_record_is_given_where_the_limit_holds_none(path: Path) -> None:
    spool = LogSpool(path)
    spool.append(record("a" * 100))
    spool.append(record("b"))

    assert [each.message for each in spool.first(1).records] == ["a" * 100]
    spool.close()


def test_first_records_come_last_when_they_are_put_there(path: Path) -> None:
    spool = LogSpool(path)
    for number, message in enumerate("abc"):
        spool.append(record(message, number))

    spool.put_last(spool.first(1))

    assert [each.message for each in spool.first(1000).records] == ["b", "c", "a"]
    assert spool.waiting_lines == 3
    spool.put_last(spool.first(1000))
    assert [each.message for each in spool.first(1000).records] == ["b", "c", "a"]
    spool.close()


def test_lines_are_counted_as_people_see_them(path: Path) -> None:
    spool = LogSpool(path)
    assert spool.first(10).records == ()
    spool.append(record("one\ntwo"))
    spool.append(record("three"))

    assert spool.waiting_lines == 3
    spool.drop(spool.first(60))
    assert spool.waiting_lines == 1
    spool.close()
