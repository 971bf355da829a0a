import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.outcome.run_result import WorkFile, WorkResult
from tasks.work.checkpoint_contents import (
    LONGEST_PATH_BYTES,
    ChangedFile,
    ChangedFiles,
    CheckpointContents,
    CheckpointFacts,
    CheckpointNote,
    FileStatus,
    NoteKind,
)
from tasks.work.collected_work import (
    BundleFile,
    CheckedBlob,
    CheckedWork,
    StoredWork,
    collected_work,
    files_json,
    note_sentences,
    path_text,
    refused_pack,
    uncollected_work,
    why_without_pack,
    work_files,
)

A, B, C = "a" * 40, "b" * 40, "c" * 40
FACTS = CheckpointFacts(
    base=A, head=B, tree=C, branch="topic", commits=2, files=3, insertions=4, deletions=5
)
BLOBS = {"1": CheckedBlob(10, "f" * 64), "2": CheckedBlob(20, None)}
CHANGES = ChangedFiles(
    (
        ChangedFile(b"hashed", FileStatus.ADDED, "1", 1, 0),
        ChangedFile(b"large", FileStatus.MODIFIED, "2", None, None),
        ChangedFile(b"lacking", FileStatus.TYPE_CHANGED, "3", 1, 1),
        ChangedFile(b"gone", FileStatus.DELETED, None, 0, 9),
    ),
    4,
)
FILES = (
    WorkFile(
        path="hashed",
        status="added",
        insertions=1,
        deletions=0,
        size_bytes=10,
        sha256="f" * 64,
    ),
    WorkFile(path="large", status="modified", size_bytes=20),
    WorkFile(path="lacking", status="type_changed", insertions=1, deletions=1),
    WorkFile(path="gone", status="deleted", insertions=0, deletions=9),
)
KEYS = StoredWork(bundle_key="x/bundle", patch_key="x/patch", files_key="x/files")


def checked(
    notes: tuple[CheckpointNote, ...] = (), problem: str | None = None, has_bundle: bool = True
) -> CheckedWork:
    return CheckedWork(
        contents=CheckpointContents(FACTS, notes, CHANGES),
        blobs=BLOBS,
        bundle=BundleFile(Path("bundle"), 100, "e" * 64) if has_bundle else None,
        patch=Path("patch"),
        files=Path("files"),
        problem=problem,
        remarks=("A remark.",),
    )


def test_result_says_all_that_is_known() -> None:
    notes = (CheckpointNote(NoteKind.TOO_LARGE, b"disk.img"),)

    assert collected_work(checked(notes), KEYS) == WorkResult(
        collected=True,
        base_commit=A,
        head_commit=B,
        work_commit=C,
        branch="topic",
        commits=2,
        files_changed=4,
        insertions=4,
        deletions=5,
        files=FILES,
        left_out=("“disk.img” was left out, since it is too large.", "A remark."),
        bundle_key="x/bundle",
        patch_key="x/patch",
        files_key="x/files",
        bundle_bytes=100,
        bundle_sha256="e" * 64,
    )


@pytest.mark.parametrize(
    ("stored", "said", "problem"),
    [
        (KEYS, "The bucket is full.", "The bucket is full."),
        (StoredWork(), "The bucket is full.", "The bucket is full."),
        (StoredWork(), None, "The result storage does not hold all of it."),
        (
            StoredWork(bundle_key="x", patch_key="y"),
            None,
            "The result storage does not hold all of it.",
        ),
    ],
)
def test_what_is_not_stored_is_not_collected(
    stored: StoredWork, said: str | None, problem: str
) -> None:
    result = collected_work(checked(), stored, said)

    assert (result.collected, result.problem) == (False, problem)
    assert result.bundle_key == stored.bundle_key
    assert (result.bundle_bytes is None) == (stored.bundle_key is None)


def test_what_the_check_refused_comes_before_what_the_storage_did() -> None:
    work = checked(problem="Git refuses it.", has_bundle=False)

    result = collected_work(work, StoredWork(patch_key="p"), "The bucket is full.")

    assert (result.collected, result.problem) == (False, "Git refuses it.")
    assert (result.bundle_key, result.patch_key) == (None, "p")


def test_run_that_changed_nothing_is_collected() -> None:
    facts = CheckpointFacts(base=A, head=A, tree=A, commits=0, files=0, insertions=0, deletions=0)

    result = collected_work(CheckedWork(contents=CheckpointContents(facts)), StoredWork())

    assert result.collected
    assert result.is_unchanged
    assert (result.bundle_key, result.files, result.left_out) == (None, (), ())


def test_result_has_the_first_files_alone_and_the_json_all() -> None:
    files = tuple(ChangedFile(b"%d" % n, FileStatus.ADDED, None) for n in range(1_000))
    contents = CheckpointContents(FACTS, changes=ChangedFiles(files, 1_000))

    result = collected_work(CheckedWork(contents=contents), StoredWork())

    assert [file.path for file in result.files] == [str(n) for n in range(200)]
    assert result.files_changed == 1_000
    assert len(json.loads(b"".join(files_json(contents, {})))) == 1_000


def test_json_of_files_is_what_the_result_would_hold() -> None:
    contents = CheckpointContents(FACTS, changes=CHANGES)
    listed = json.loads(b"".join(files_json(contents, BLOBS)))

    assert tuple(WorkFile.model_validate(each) for each in listed) == FILES
    assert json.loads(b"".join(files_json(CheckpointContents(FACTS), {}))) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"src/a b.py", "src/a b.py"),
        ("grüße/漢".encode(), "grüße/漢"),
        (b"a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd"),
        (b"a\r\nb", "a\\x0d\\x0ab"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\xfe", "��"),
        (b"\xed\xa0\x80", "���"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        (b"x" * LONGEST_PATH_BYTES, "x" * LONGEST_PATH_BYTES + "…"),
    ],
)
def test_path_is_one_line_that_steers_nothing(path: bytes, text: str) -> None:
    assert path_text(path) == text


@given(st.binary(max_size=200))
def test_any_path_becomes_a_file_of_a_result(path: bytes) -> None:
    file = ChangedFile(path, FileStatus.ADDED, None)
    contents = CheckpointContents(FACTS, changes=ChangedFiles((file,), 1))

    [shown] = work_files(contents, {})

    assert WorkFile.model_validate_json(shown.model_dump_json()) == shown
    assert "\n" not in shown.path
    assert "\x1b" not in shown.path


def test_branch_is_one_bounded_line() -> None:
    facts = CheckpointFacts(branch="a\x1b[2J\r\n" + "x" * 1_000)

    branch = collected_work(CheckedWork(contents=CheckpointContents(facts)), KEYS).branch

    assert branch is not None
    assert branch.startswith("a\\x1b[2J x")
    assert len(branch) < 300


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("too_large", b"a{}b\nc", "“a{}b\\x0ac” was left out, since it is too large."),
        (
            "submodule",
            b"vendor/x.",
            "The content of “vendor/x.” was left out, since it is a repository of its own.",
        ),
        ("unreadable", b"secret", "This could not be read: “secret”."),
        (
            "pack_too_large",
            b"",
            "There is no bundle: commits and files take more than may be collected.",
        ),
        (
            "patch_too_large",
            b"",
            "There is no patch: it would take more than may be collected.",
        ),
        (
            "history_rewritten",
            b"",
            "The agent rewrote history: the commit it started from is not an ancestor of its HEAD.",
        ),
        (
            "no_repository",
            b"There is no folder of objects.",
            "The folder was not a Git repository at the agent's end. "
            "The keeper says: “There is no folder of objects.”",
        ),
        ("no_commits", b"", "The repository had no commit at the agent's end."),
        (
            "unsupported",
            b"What HEAD holds is not a commit.",
            "Not all of it could be collected: “What HEAD holds is not a commit”.",
        ),
        ("in_progress", b"a rebase", "The agent left this unfinished: “a rebase”."),
        ("error", b"fatal: \x1b[0mbad", "Git failed in the pod: “fatal: \\x1b[0mbad”."),
        ("later_kind", b"x", "The keeper noted later_kind: “x”."),
    ],
)
def test_note_is_a_sentence(kind: str, text: bytes, sentence: str) -> None:
    assert list(note_sentences([CheckpointNote(kind, text)])) == [sentence]


def test_every_kind_of_note_has_a_sentence_of_its_own() -> None:
    sentences = [next(note_sentences([CheckpointNote(kind, b"")])) for kind in NoteKind]

    assert [each for each in sentences if each.startswith("The keeper noted")] == []
    assert len(set(sentences)) == len(NoteKind)


def test_many_notes_of_a_kind_are_counted() -> None:
    notes = [CheckpointNote("too_large", b"%d" % n) for n in range(199)]
    notes.append(CheckpointNote("too_large", b"and 4801 more"))
    notes += [CheckpointNote("error", b"and 5 more"), CheckpointNote("no_commits", b"")]
    notes += [CheckpointNote("later_kind", b"x")] * 30

    sentences = list(note_sentences(notes))

    assert len(sentences) == 1 + 21 + 1 + 21
    assert "4,980 more files were left out, since they are too large." in sentences
    assert "There are 10 more notes of the kind later_kind." in sentences
    # A file of that name, where it is the only one of its kind.
    assert "Git failed in the pod: “and 5 more”." in sentences


@pytest.mark.parametrize(
    ("facts", "notes", "reason"),
    [
        (CheckpointFacts(base=A, head=A, tree=A), (), None),
        (CheckpointFacts(base=A, head=B, tree=B, commits=0), (), None),
        (CheckpointFacts(base=A), (), "The keeper could not find out what the agent made."),
        (FACTS, (), "The keeper could not find out what the agent made."),
        (
            FACTS,
            (CheckpointNote("error", b"x"), CheckpointNote("pack_too_large", b"")),
            "There is no bundle: commits and files take more than may be collected.",
        ),
        (FACTS, (CheckpointNote("error", b"x"),), "Git failed in the pod: “x”."),
    ],
)
def test_reason_for_a_missing_pack_is_told(
    facts: CheckpointFacts, notes: tuple[CheckpointNote, ...], reason: str | None
) -> None:
    assert why_without_pack(CheckpointContents(facts, notes)) == reason


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("", "Git refuses the objects of the work."),
        (
            "warning: x\nerror: object 1: hasDotgit: contains '.git'\nfatal: fsck error\n",
            "Git refuses the objects of the work: "
            "“error: object 1: hasDotgit: contains '.git'; fatal: fsck error”.",
        ),
        ("Killed\n", "Git refuses the objects of the work: “Killed”."),
    ],
)
def test_refused_pack_says_what_git_said(said: str, sentence: str) -> None:
    assert refused_pack(said) == sentence


def test_work_that_could_not_be_had_has_its_reason() -> None:
    assert uncollected_work("The pod is gone.") == WorkResult(
        collected=False, problem="The pod is gone."
    )
