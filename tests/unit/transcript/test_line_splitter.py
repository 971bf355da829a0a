import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.transcript.numbered_lines import LineSplitter

TEXTS = [
    b"",
    b"\n",
    b"\n\n",
    b"one\ntwo\n",
    b"one\ntwo",
    "漢字\u2028\u0085🎉\r\n\x0b\x0c\x1c\nlast".encode(),
]


def split(chunks: list[bytes], longest: int = 1000) -> tuple[list[bytes], bytes]:
    splitter = LineSplitter(longest)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines, splitter.flush()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_splitter_cut_in_two_at_any_byte_gives_the_same_lines(text: bytes):
    *lines, rest = text.split(b"\n")

    for cut in range(len(text) + 1):
        assert split([text[:cut], text[cut:]]) == (lines, rest)
    assert split([bytes([byte]) for byte in text]) == (lines, rest)


@given(
    chunks=st.lists(st.binary(max_size=50) | st.sampled_from([b"\n", b"\n\n", b"", "漢".encode()]))
)
def test_splitter_gives_what_one_split_on_lf_gives(chunks: list[bytes]):
    *lines, rest = b"".join(chunks).split(b"\n")

    assert split(chunks, longest=10**6) == (lines, rest)


def test_splitter_starts_anew_after_a_flush():
    splitter = LineSplitter()
    splitter.feed(b"one\ntw")

    assert splitter.flush() == b"tw"
    assert splitter.flush() == b""
    assert splitter.feed(b"o\n") == [b"o"]


@given(
    pieces=st.lists(st.integers(0, 40), min_size=1), longest=st.integers(1, 60), ends=st.booleans()
)
def test_splitter_keeps_only_the_head_of_a_line_above_the_limit(
    pieces: list[int], longest: int, ends: bool
):
    chunks = [b"x" * size for size in pieces]
    kept = min(longest, sum(pieces))
    lines, rest = split([*chunks, b"\nnext"] if ends else chunks, longest)

    if ends:
        assert lines == [b"x" * kept]
        assert rest == b"next"[:longest]
    else:
        assert (lines, rest) == ([], b"x" * kept)
