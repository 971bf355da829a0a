import hashlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.transcript.line_grammar import (
    CheckEnd,
    LineRange,
    StdoutLine,
    Trailer,
    parse_trailer_text,
)
from tasks.transcript.numbered_lines import LineSplitter, Transcript
from tests.unit.transcript.printed_log import TOKEN, number_line, print_lines, print_stdout

RPC_ERROR = b"rpc error: code = NotFound desc = an error occurred when try to find container"
PAYLOADS = [b'{"type":"system"}', b"", "漢字🎉".encode(), b"x" * 5000, b"plain text", b"\xff\xfe"]

payload_lists = st.lists(
    st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"|"))
    | st.text("漢é🎉\u2028 a", max_size=8).map(str.encode),
    max_size=12,
)


def take(transcript: Transcript, lines: Iterable[bytes]) -> list[bytes]:
    return [line.payload for each in lines for line in transcript.accept(each)]


def read(transcript: Transcript, chunks: Iterable[bytes]) -> list[bytes]:
    """Read one stream of bytes to its end."""
    transcript.begin_stream()
    splitter = LineSplitter()
    delivered = [
        line.payload
        for chunk in chunks
        for each in splitter.feed(chunk)
        for line in transcript.accept(each)
    ]
    return delivered + [line.payload for line in transcript.end_stream(splitter.flush())]


def trailer_of(lines: Sequence[bytes]) -> Trailer:
    trailer = parse_trailer_text(lines[-1].decode().removeprefix(f"{TOKEN} "))
    assert trailer is not None
    return trailer


@pytest.mark.parametrize(
    ("payloads", "final_newline"),
    [
        ([], True),
        ([b""], True),
        ([b""] * 5, True),
        ([b"one"], True),
        ([b"one"], False),
        ([b"", b"", b" "], False),
        (PAYLOADS, True),
        (PAYLOADS, False),
    ],
)
def test_whole_log_is_delivered_and_proven(payloads: list[bytes], final_newline: bool):
    transcript = Transcript(TOKEN)
    lines = print_lines(payloads, final_newline=final_newline, stderr=[b"oops", b""])

    assert take(transcript, lines) == payloads
    state = transcript.proof()
    raw = print_stdout(payloads, final_newline)
    assert state.complete is True
    assert (state.lines, state.stdout_bytes) == (len(payloads), len(raw))
    assert state.sha256 == hashlib.sha256(raw).hexdigest()
    assert state.missing == ()
    assert transcript.is_at_end
    assert transcript.missing_range is None
    assert transcript.lacks_final_newline is not final_newline
    assert transcript.stderr_lines == (b"oops", b"")
    assert transcript.numbered
    assert transcript.header is not None


@pytest.mark.parametrize("numbered", [True, False])
def test_check_is_kept_apart_from_the_transcript_however_often_it_is_read(numbered: bool):
    transcript = Transcript(TOKEN)
    lines = print_lines([b"a", b"b"], stderr=[b"oops"], numbered=numbered, check=[b"1 failed", b""])

    assert take(transcript, lines[:-3]) == [b"a", b"b"]
    assert transcript.check_begun is not None
    assert transcript.trailer is None
    transcript.begin_stream()
    assert take(transcript, lines) == []
    assert transcript.check_lines == (b"1 failed", b"")
    assert transcript.stderr_lines == (b"oops",)
    assert transcript.trailer is not None
    assert transcript.trailer.check == CheckEnd(1, False, 2, 2, 0)
    assert transcript.proof().complete is (True if numbered else None)


def test_delivered_lines_bear_their_numbers():
    transcript = Transcript(TOKEN)
    delivered = [line for each in print_lines([b"a", b"b"]) for line in transcript.accept(each)]

    assert delivered == [StdoutLine(1, b"a"), StdoutLine(2, b"b")]


def test_repeated_lines_are_dropped():
    transcript = Transcript(TOKEN)
    lines = print_lines(PAYLOADS)

    assert take(transcript, [*lines[:4], *lines[1:], *lines, *lines[3:]]) == PAYLOADS
    assert transcript.proof().complete is True


def test_missing_lines_hold_back_everything_after_them():
    transcript = Transcript(TOKEN)
    lines = print_lines([b"1", b"2", b"3", b"4", b"5"])

    assert take(transcript, [lines[0], lines[1], lines[4]]) == [b"1"]
    assert transcript.gap == LineRange(2, 3)
    assert take(transcript, [lines[3], lines[5]]) == []
    assert transcript.gap == LineRange(2, 2)
    assert take(transcript, lines) == [b"2", b"3", b"4", b"5"]
    assert transcript.gap is None
    assert transcript.proof().complete is True


def test_missing_lines_given_up_are_named_and_the_rest_goes_on():
    transcript = Transcript(TOKEN)
    lines = print_lines([b"1", b"2", b"3", b"4", b"5", b"6"])
    take(transcript, [lines[1], lines[4]])
    transcript.skip_missing()

    assert take(transcript, lines) == [b"4", b"5", b"6"]
    state = transcript.proof()
    assert state.complete is False
    assert state.missing == (LineRange(2, 3),)
    assert state.lines == 4
    assert transcript.is_at_end


def test_nothing_is_given_up_where_nothing_is_missing():
    transcript = Transcript(TOKEN)
    take(transcript, print_lines([b"1"])[:2])
    transcript.skip_missing()

    assert transcript.next_number == 2
    assert transcript.proof().missing == ()


def test_neighbouring_ranges_are_named_as_one():
    transcript = Transcript(TOKEN)
    take(transcript, [number_line(3, b"")])
    transcript.skip_missing()
    take(transcript, [number_line(5, b"")])
    transcript.skip_missing()
    take(transcript, [number_line(5, b"5"), number_line(9, b"")])

    assert transcript.proof().missing == (LineRange(1, 4), LineRange(6, 8))


def test_trailer_tells_of_lines_that_nobody_saw():
    transcript = Transcript(TOKEN)
    lines = print_lines([b"1", b"2", b"3"])

    assert take(transcript, [*lines[:2], lines[-1]]) == [b"1"]
    assert transcript.gap is None
    assert transcript.missing_range == LineRange(2, 3)
    assert not transcript.is_at_end
    assert transcript.proof().missing == (LineRange(2, 3),)
    assert transcript.proof().complete is False
    transcript.skip_missing()
    assert transcript.is_at_end
    assert transcript.proof().missing == (LineRange(2, 3),)


def test_trailer_of_the_termination_message_proves_as_well():
    transcript = Transcript(TOKEN)
    lines = print_lines(PAYLOADS)
    take(transcript, lines[:-1])
    assert transcript.proof().complete is None
    transcript.learn_trailer(trailer_of(lines))
    transcript.learn_trailer(trailer_of(print_lines([])))

    assert transcript.proof().complete is True


def test_transcript_without_a_trailer_is_unproven():
    transcript = Transcript(TOKEN)
    take(transcript, print_lines(PAYLOADS)[:-1])

    assert transcript.proof().complete is None
    assert not transcript.is_at_end
    assert not transcript.lacks_final_newline


@pytest.mark.parametrize(
    ("told", "printed", "expected"),
    [
        pytest.param(print_lines([b"1", b"2"]), [b"1", b"3"], False, id="other-content"),
        pytest.param(print_lines([b"1"]), [b"1", b"2"], False, id="more-than-counted"),
        pytest.param(print_lines([b"1", b"22"]), [b"1", b"2"], False, id="other-size"),
        pytest.param(
            print_lines([b"1"], sha256="-"), [b"1"], None, id="hash-that-was-not-computed"
        ),
    ],
)
def test_trailer_that_disagrees_or_lacks_the_hash_proves_nothing(
    told: list[bytes], printed: list[bytes], expected: bool | None
):
    transcript = Transcript(TOKEN)
    take(transcript, [*print_lines(printed)[:-1], told[-1]])

    assert transcript.proof().complete is expected


def test_foreign_and_damaged_lines_are_never_delivered():
    transcript = Transcript(TOKEN)
    lines = print_lines([b"one", b"two"])
    damaged = lines[2][:-1]

    assert take(transcript, [RPC_ERROR, lines[0], lines[1], RPC_ERROR, damaged]) == [b"one"]
    assert take(transcript, lines[2:]) == [b"two"]
    assert transcript.proof().complete is True


@pytest.mark.parametrize("which", [1, 2, 3])
def test_line_without_lf_at_the_end_of_a_stream_counts_only_when_it_is_whole(which: int):
    lines = print_lines([b"one", b"two"])
    text = b"\n".join(lines[: which + 1])
    whole, cut = Transcript(TOKEN), Transcript(TOKEN)

    assert read(whole, [text]) == [b"one", b"two"][:which]
    assert whole.proof().complete is (True if which == 3 else None)
    assert read(cut, [text[:-1]]) == [b"one", b"two"][: which - 1 if which < 3 else 2]
    assert cut.trailer is None
    assert read(cut, [b"\n".join(lines)]) == [b"one", b"two"][which - 1 if which < 3 else 2 :]
    assert cut.proof().complete is True


@given(payloads=payload_lists, data=st.data())
@settings(deadline=None)
def test_any_reads_deliver_a_prefix_once_and_name_the_gap_exactly(
    payloads: list[bytes], data: st.DataObject
):
    """Reads begin and end at any byte, in any chunks, repeat, skip, and are mixed with others."""
    lines = print_lines(payloads, stderr=[b"oops"])
    log = b"".join(line + b"\n" for line in lines)
    starts = [sum(len(line) + 1 for line in lines[:index]) for index in range(len(lines))]
    transcript = Transcript(TOKEN)
    delivered: list[bytes] = []
    for _ in range(data.draw(st.integers(0, 6))):
        begin = data.draw(st.integers(0, len(log)))
        end = data.draw(st.integers(begin, len(log)))
        before = len(delivered)
        delivered += read(transcript, cut(log[begin:end], data))

        # The model: whole lines within the read, in order.
        seen = [
            number
            for number in range(1, len(payloads) + 1)
            if begin <= starts[number] and starts[number] + len(lines[number]) <= end
        ]
        expected = before
        for number in seen:
            expected += number == expected + 1
        assert len(delivered) == expected
        later = [number for number in seen if number > expected]
        if later and expected > before:
            assert transcript.gap == LineRange(expected + 1, later[0] - 1)
        elif later:
            assert transcript.gap is not None
            assert transcript.gap.first == expected + 1
            assert transcript.gap.last <= later[0] - 1
    assert delivered == payloads[: len(delivered)]
    assert transcript.next_number == len(delivered) + 1

    delivered += read(transcript, cut(log, data))
    assert delivered == payloads
    assert transcript.stderr_lines == (b"oops",)
    assert transcript.proof().complete is True


@given(payloads=payload_lists, data=st.data())
@settings(deadline=None)
def test_lost_ranges_are_the_named_ones(payloads: list[bytes], data: st.DataObject):
    lost = data.draw(st.sets(st.integers(1, max(1, len(payloads)))))
    lines = print_lines(payloads)
    transcript = Transcript(TOKEN)
    delivered: list[bytes] = []
    for number, line in enumerate(lines):
        if number in lost and number <= len(payloads):
            continue
        got = take(transcript, [line])
        if transcript.missing_range is not None:
            transcript.skip_missing()
            got += take(transcript, [line])
        delivered += got

    kept = [payload for number, payload in enumerate(payloads, 1) if number not in lost]
    missing = {n for gap in transcript.proof().missing for n in range(gap.first, gap.last + 1)}
    assert delivered == kept
    assert missing == {number for number in lost if number <= len(payloads)}
    assert transcript.proof().complete is (not missing)


def cut(text: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
