import hashlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.work.checkpoint_stream import (
    CheckpointDecoder,
    CheckpointReceiver,
    PartName,
    WorkDamaged,
)
from tests.unit.work.made_checkpoints import stream_of

LIMIT = 1_000_000
PARTS = {
    "facts": b"version=1\n",
    "notes": b"",
    "files": b"some files",
    "pack": bytes(range(256)) * 3,
    "patch": b"\n\nclaude-jobs-work 1 x\n\n",
}
STREAM = stream_of(PARTS)
HEADER_BYTES = len(STREAM) - sum(map(len, PARTS.values()))
SHA = "0" * 64

contents = st.binary(max_size=300)
parts = st.fixed_dictionaries(
    {"facts": contents},
    optional=dict.fromkeys(("notes", "files", "pack", "patch"), contents),
)


def decoded(decoder: CheckpointDecoder, *chunks: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for chunk in chunks:
        for name, content in decoder.feed(chunk):
            found[name] = found.get(name, b"") + bytes(content)
    return found


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in pairwise(bounds)]


@given(parts, st.lists(st.integers(min_value=0), max_size=20))
def test_parts_come_out_whatever_the_pieces(sent: dict[str, bytes], cuts: list[int]) -> None:
    decoder = CheckpointDecoder(LIMIT)

    assert decoded(decoder, *pieces(stream_of(sent), cuts)) == sent
    assert decoder.is_complete
    assert decoder.received_bytes == len(stream_of(sent))


def test_stream_is_read_byte_by_byte() -> None:
    decoder = CheckpointDecoder(LIMIT)

    assert decoded(decoder, *(STREAM[n : n + 1] for n in range(len(STREAM)))) == PARTS
    assert decoder.is_complete


def test_stream_that_is_cut_at_any_byte_and_resumed_gives_the_same_parts(tmp_path: Path) -> None:
    for cut in range(len(STREAM) + 1):
        receiver = CheckpointReceiver(tmp_path, LIMIT)
        receiver.feed(STREAM[:cut])
        assert receiver.received_bytes == cut
        assert receiver.is_complete == (cut == len(STREAM))

        receiver.feed(STREAM[receiver.received_bytes :])
        receiver.close()

        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == PARTS
        assert receiver.is_complete


def test_checkpoint_is_known_from_its_first_line_on() -> None:
    first = STREAM.index(b"\n") + 1
    decoder = CheckpointDecoder(LIMIT)

    decoder.feed(STREAM[: first - 1])
    assert decoder.checkpoint_id is None
    decoder.feed(STREAM[first - 1 : first])
    assert decoder.checkpoint_id == "20261129t225000z-1"


@given(st.integers(min_value=0, max_value=len(STREAM) - 1), st.integers(min_value=0, max_value=7))
def test_flipped_bit_is_found(at: int, bit: int) -> None:
    damaged = bytearray(STREAM)
    damaged[at] ^= 1 << bit
    decoder = CheckpointDecoder(LIMIT)
    try:
        found = decoded(decoder, bytes(damaged))
    except WorkDamaged:
        found = None

    # Where it makes a size larger, the stream ends too early; an id may be any.
    is_unnoticed = found is not None and decoder.is_complete
    assert not is_unnoticed or decoder.checkpoint_id != "20261129t225000z-1"
    assert not is_unnoticed or found == PARTS


def test_every_flipped_byte_of_a_part_is_found() -> None:
    for at in range(HEADER_BYTES, len(STREAM)):
        damaged = bytearray(STREAM)
        damaged[at] ^= 0xFF
        with pytest.raises(WorkDamaged, match="does not match its SHA-256"):
            CheckpointDecoder(LIMIT).feed(bytes(damaged))


@given(st.binary(max_size=2_000), st.integers(min_value=1, max_value=500))
def test_any_bytes_are_refused_or_waited_for(noise: bytes, size: int) -> None:
    decoder = CheckpointDecoder(LIMIT)
    with suppress(WorkDamaged):
        decoded(decoder, *(noise[n : n + size] for n in range(0, len(noise), size)))

    assert not decoder.is_complete


ID = "claude-jobs-work 1 x\n"
EMPTY = hashlib.sha256().hexdigest()


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ("sh: not found\n", "does not begin like a checkpoint"),
        ("s", "does not begin like a checkpoint"),
        ("\n", "first line"),
        ("claude-jobs-work 2 x\n", "version 2"),
        ("claude-jobs-work 1 X\n", "first line"),
        (f"claude-jobs-work 1 {'x' * 41}\n", "first line"),
        ("claude-jobs-work 1 \n", "first line"),
        ("claude-jobs-work 1 x y\n", "first line"),
        ("claude-jobs-work 1 " + "x" * 200, "too long"),
        (f"{ID}\n", "no facts"),
        (f"{ID}pack 0 {EMPTY}\n\n", "no facts"),
        (f"{ID}facts 0 {EMPTY}\nfacts 0 {EMPTY}\n", "“facts” twice"),
        (f"{ID}passwords 0 {EMPTY}\n", "“passwords”, which is unknown"),
        (f"{ID}../../x 0 {EMPTY}\n", "cannot be read"),
        (f"{ID}facts 00 {EMPTY}\n", "cannot be read"),
        (f"{ID}facts -1 {EMPTY}\n", "cannot be read"),
        (f"{ID}facts 1\n", "cannot be read"),
        (f"{ID}facts 0 {EMPTY.upper()}\n", "cannot be read"),
        (f"{ID}facts 0 {EMPTY} \n", "cannot be read"),
        (f"{ID}facts 0 {EMPTY}\r\n", "cannot be read"),
        (f"{ID}facts 65537 {SHA}\n", "“facts” of the checkpoint has 65,537 bytes"),
        (f"{ID}notes 16777217 {SHA}\n", "“notes” of the checkpoint has 16,777,217 bytes"),
        (f"{ID}pack 1000001 {SHA}\n", "1,000,001 bytes, above the limit of 1,000,000"),
        (f"{ID}pack 999999 {SHA}\npatch 2 {SHA}\n", "1,000,001 bytes, above the limit"),
        (f"{ID}pack 999999999999999 {SHA}\n", "above the limit"),
        (f"{ID}pack 9999999999999999 {SHA}\n", "cannot be read"),
        (f"{ID}facts 0 {SHA}\n\n", "does not match its SHA-256"),
        (f"{ID}facts 1 {SHA}\n\nx", "does not match its SHA-256"),
        (f"{ID}facts 0 {EMPTY}\n\nx", "More bytes follow"),
    ],
)
def test_stream_that_breaks_its_form_is_refused(stream: str, said: str) -> None:
    whole, bytewise = CheckpointDecoder(LIMIT), CheckpointDecoder(LIMIT)

    with pytest.raises(WorkDamaged, match=said):
        whole.feed(stream.encode())
    with pytest.raises(WorkDamaged, match=said):
        decoded(bytewise, *(bytes([each]) for each in stream.encode()))


def test_facts_and_notes_do_not_count_for_the_limit() -> None:
    decoder = CheckpointDecoder(limit_bytes=10)

    assert decoded(decoder, stream_of({"facts": b"x" * 60_000, "notes": b"x" * 20, "pack": b"p"}))
    assert decoder.is_complete


def test_damage_stays_until_the_receiver_restarts(tmp_path: Path) -> None:
    receiver = CheckpointReceiver(tmp_path, LIMIT)
    receiver.feed(STREAM[: HEADER_BYTES + 5])
    with pytest.raises(WorkDamaged):
        receiver.feed(b"other bytes" * 300)
    with pytest.raises(WorkDamaged):
        receiver.feed(STREAM[HEADER_BYTES + 5 :])

    receiver.restart()
    assert list(tmp_path.iterdir()) == []
    assert (receiver.checkpoint_id, receiver.received_bytes) == (None, 0)
    receiver.feed(STREAM)

    assert receiver.is_complete
    assert (tmp_path / PartName.PACK).read_bytes() == PARTS["pack"]


def test_stream_that_ends_early_is_damaged(tmp_path: Path) -> None:
    receiver = CheckpointReceiver(tmp_path, LIMIT)
    receiver.close()
    receiver.feed(STREAM[:-1])

    with pytest.raises(WorkDamaged, match="before its end"):
        receiver.close()


def test_files_of_an_earlier_receiver_are_not_continued(tmp_path: Path) -> None:
    CheckpointReceiver(tmp_path, LIMIT).feed(STREAM)
    CheckpointReceiver(tmp_path, LIMIT).feed(STREAM)

    assert (tmp_path / PartName.PACK).read_bytes() == PARTS["pack"]
