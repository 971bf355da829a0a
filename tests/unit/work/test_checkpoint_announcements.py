from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.work.checkpoint_announcements import AnnouncedCheckpoint, AnnouncementReader

LINE = b"claude-jobs-checkpoint 1 c-1764486000-12 1764486000\n"
ANNOUNCED = AnnouncedCheckpoint("c-1764486000-12", datetime(2025, 11, 30, 7, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (LINE, ANNOUNCED),
        (LINE.replace(b"\n", b"\r\n"), ANNOUNCED),
        (b"keeper.sh: a warning\n" + LINE + b"Killed\n", ANNOUNCED),
        (LINE.replace(b"-12 ", b"-9 ") + LINE, ANNOUNCED),
        (LINE[:-1], None),
        (b"x" + LINE, None),
        (LINE[:-1] + b" more\n", None),
        (LINE.replace(b" 1 ", b" 2 "), None),
        (LINE.replace(b"c-", b"C-"), None),
        (LINE.replace(b"c-1764486000-12", b"../../etc"), None),
        (LINE.replace(b"c-1764486000-12", b"c" * 41), None),
        (LINE.replace(b" 1764486000\n", b" 999999999999\n"), None),
        (LINE.replace(b" 1764486000\n", b" -1\n"), None),
        (b"\n\n\xff\x00\n", None),
        (b"", None),
    ],
)  # fmt: skip
def test_only_whole_lines_of_the_form_are_announcements(
    log: bytes, found: AnnouncedCheckpoint | None
) -> None:
    assert AnnouncementReader().feed(log) == found


@given(st.lists(st.sampled_from([LINE, b"words\n", b"\xff", LINE[:20], b"\n"])), st.data())
def test_log_in_pieces_announces_what_the_whole_does(
    parts: list[bytes], data: st.DataObject
) -> None:
    log = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)))))
    reader, last = AnnouncementReader(), None
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        last = reader.feed(log[begin:end]) or last

    assert last == AnnouncementReader().feed(log)


def test_line_without_an_end_takes_no_memory() -> None:
    reader = AnnouncementReader()
    for _ in range(1000):
        assert reader.feed(b"x" * 100_000) is None

    assert reader.feed(b"\n" + LINE) == ANNOUNCED
