import mmap
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.work.checkpoint_contents import (
    LONGEST_PATH_BYTES,
    ChangedFile,
    ChangedFiles,
    CheckpointFacts,
    CheckpointNote,
    FileStatus,
    NoteKind,
    parse_changes,
    parse_facts,
    parse_notes,
)
from tasks.work.checkpoint_stream import WorkDamaged

A, B, C = "a" * 40, "b" * 40, "c" * 40
NONE = "0" * 40


def raw(path: str | bytes, status: str = "M", mode: str = "100644", blob: str = B) -> bytes:
    name = path.encode() if isinstance(path, str) else path
    return f":100644 {mode} {A} {blob} {status}".encode() + b"\0" + name + b"\0"


def numstat(path: str, counts: str = "1\t2") -> bytes:
    return f"{counts}\t{path}\0".encode()


def test_facts_are_read() -> None:
    content = (
        f"version=1\nbase={A}\nhead={B}\nbranch=feature/x=y\ncommits=3\ntree={C}\n"
        "object_format=sha1\nfiles=7\ninsertions=12\ndeletions=0\nlater=unknown\n"
    )

    assert parse_facts(content.encode()) == CheckpointFacts(
        base=A,
        head=B,
        tree=C,
        branch="feature/x=y",
        commits=3,
        files=7,
        insertions=12,
        deletions=0,
    )


def test_facts_that_could_not_be_found_out_are_unknown() -> None:
    assert parse_facts(b"version=1\n") == CheckpointFacts()


def test_object_format_may_be_told_by_the_ids_alone() -> None:
    assert parse_facts(b"version=1\nbase=" + b"a" * 64 + b"\n").object_format == "sha256"


def test_branch_may_hold_any_byte() -> None:
    facts = parse_facts(b"version=1\nbranch=--upload-pack=\x00\x1b[31m\xff\r\n")

    assert facts.branch == "--upload-pack=\x00\x1b[31m�\r"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "version 1"),
        (b"version=2\n", "version 1"),
        (b"version=1", "end within a line"),
        (b"version=1\nbase", "end within a line"),
        (b"version=1\nno key\n", "cannot be read"),
        (b"version=1\n\n", "cannot be read"),
        (b"version=1\nVERSION=1\n", "cannot be read"),
        (b"version=1\nversion=1\n", "twice what version"),
        (b"version=1\nbase=\n", "a base that cannot be"),
        (b"version=1\nhead=HEAD\n", "a head that cannot be"),
        (b"version=1\ntree=--all\n", "a tree that cannot be"),
        (b"version=1\nbase=" + b"A" * 40 + b"\n", "a base that cannot be"),
        (b"version=1\nbase=" + b"a" * 41 + b"\n", "a base that cannot be"),
        (b"version=1\ncommits=many\n", "no number as commits"),
        (b"version=1\ncommits=-1\n", "no number as commits"),
        (b"version=1\nfiles=" + b"9" * 16 + b"\n", "no number as files"),
        (b"version=1\nobject_format=md5\n", "another object format"),
        (b"version=1\nobject_format=sha256\nbase=" + b"a" * 40 + b"\n", "another object format"),
        (
            b"version=1\nbase=" + b"a" * 40 + b"\ntree=" + b"a" * 64 + b"\n",
            "another object format",
        ),
    ],
)
def test_facts_that_break_their_form_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(WorkDamaged, match=said):
        parse_facts(content)


@pytest.mark.parametrize(
    ("facts", "head_is_in_base", "tree_is_in_base"),
    [
        (CheckpointFacts(), False, False),
        (CheckpointFacts(base=A, head=A, tree=A, commits=0), True, True),
        (CheckpointFacts(base=A, head=A, tree=B, commits=0), True, False),
        (CheckpointFacts(base=A, head=B, tree=B, commits=0), True, True),
        (CheckpointFacts(base=A, head=B, tree=B, commits=1), False, False),
        (CheckpointFacts(base=A, head=B, tree=B), False, False),
        (CheckpointFacts(base=A, tree=A), False, True),
    ],
)
def test_work_that_the_base_holds_is_known(
    facts: CheckpointFacts, head_is_in_base: bool, tree_is_in_base: bool
) -> None:
    assert facts.head_is_in_base == head_is_in_base
    assert facts.tree_is_in_base == tree_is_in_base


def test_notes_are_read_with_any_text() -> None:
    content = b"too_large\ta\n\t\xff\0history_rewritten\t\0later_kind\tx\0"

    assert parse_notes(content) == (
        CheckpointNote(NoteKind.TOO_LARGE, b"a\n\t\xff"),
        CheckpointNote(NoteKind.HISTORY_REWRITTEN, b""),
        CheckpointNote("later_kind", b"x"),
    )
    assert parse_notes(b"") == ()


@pytest.mark.parametrize(
    "content",
    [b"too_large\ta", b"too_large a\0", b"\0", b"Too\tx\0", b"a\tb\0\0", b"a\tb\0" * 10_001],
)
def test_notes_that_break_their_form_are_refused(content: bytes) -> None:
    with pytest.raises(WorkDamaged):
        parse_notes(content)


def test_changed_files_are_read_with_their_counts() -> None:
    content = (
        raw("new", "A")
        + raw("gone", "D", "000000", NONE)
        + raw("line\nfeed\t", "M")
        + raw("picture", "M")
        + raw("link", "T", "120000")
        + raw("module", "M", "160000")
        + b"\0"
        + numstat("new", "5\t0")
        + numstat("gone", "0\t3")
        + numstat("line\nfeed\t")
        + numstat("picture", "-\t-")
        + numstat("module", "1\t1")
    )

    assert parse_changes(content, "sha1", 100) == ChangedFiles(
        (
            ChangedFile(b"new", FileStatus.ADDED, B, 5, 0),
            ChangedFile(b"gone", FileStatus.DELETED, None, 0, 3),
            ChangedFile(b"line\nfeed\t", FileStatus.MODIFIED, B, 1, 2),
            ChangedFile(b"picture", FileStatus.MODIFIED, B, None, None),
            ChangedFile(b"link", FileStatus.TYPE_CHANGED, B, None, None),
            ChangedFile(b"module", FileStatus.MODIFIED, None, 1, 1),
        ),
        6,
    )


def test_files_above_what_is_listed_are_counted() -> None:
    names = [f"file{number}" for number in range(50)]
    content = b"".join(map(raw, names)) + b"\0" + b"".join(map(numstat, names))

    changes = parse_changes(content, "sha1", 10)

    assert changes.total == 50
    assert [(file.path, file.insertions) for file in changes.listed] == [
        (name.encode(), 1) for name in names[:10]
    ]


def test_path_without_end_is_cut() -> None:
    path = "x" * 1_000_000
    content = raw(path) + raw("y") + b"\0" + numstat(path) + numstat("y")

    long, short = parse_changes(content, "sha1", 10).listed

    assert (len(long.path), long.insertions) == (LONGEST_PATH_BYTES, 1)
    assert short == ChangedFile(b"y", FileStatus.MODIFIED, B, 1, 2)


def test_mapped_file_is_read_like_bytes(tmp_path: Path) -> None:
    path = tmp_path / "files"
    path.write_bytes(raw("a") + b"\0" + numstat("a"))
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        assert parse_changes(content, "sha1", 9) == parse_changes(path.read_bytes(), "sha1", 9)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        raw("a"),
        raw("a")[:-1],
        raw("")[:-1] + b"\0\0",
        raw("a", "X") + b"\0",
        raw("a", "R100") + b"\0",
        raw("a", blob="b" * 64) + b"\0",
        raw("a", blob="../x") + b"\0",
        raw("a")[1:] + b"\0",
        b"x" * 5_000,
        raw("a") + b"\0" + b"1\t2\ta",
        raw("a") + b"\0" + b"1\ta\0",
        raw("a") + b"\0" + b"one\t2\ta\0",
        raw("a") + b"\0" + numstat("b"),
        raw("a") + b"\0" + numstat("a") + numstat("b"),
        raw("a") + raw("b") + b"\0" + numstat("b") + numstat("a"),
        b"\0" + numstat("a"),
    ],
)
def test_changed_files_that_break_their_form_are_refused(content: bytes) -> None:
    with pytest.raises(WorkDamaged):
        parse_changes(content, "sha1", 100)


paths = st.binary(min_size=1, max_size=30).map(lambda path: path.replace(b"\0", b"/"))


@given(st.lists(paths, max_size=20), st.data())
def test_any_path_comes_out_as_it_went_in(names: list[bytes], data: st.DataObject) -> None:
    counted = [name for name in names if data.draw(st.booleans())]
    content = b"".join(map(raw, names)) + b"\0" + b"".join(b"1\t2\t%s\0" % n for n in counted)

    changes = parse_changes(content, "sha1", 100)

    assert [file.path for file in changes.listed] == names
    assert sum(file.insertions is not None for file in changes.listed) == len(counted)


@given(st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for parse in (parse_facts, parse_notes):
        with suppress(WorkDamaged):
            parse(content)
    with suppress(WorkDamaged):
        assert parse_changes(content, "sha1", 5).total >= 0
