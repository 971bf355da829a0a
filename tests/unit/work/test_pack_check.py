import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.work.checkpoint_contents import CheckpointFacts
from tasks.work.checkpoint_stream import CheckpointReceiver, WorkDamaged
from tasks.work.collected_work import CheckedBlob, CheckedWork, work_files
from tasks.work.pack_check import CheckLimits, bundle_header, check_work
from tasks.work.restricted_git import GitFailed, GitMissing, RestrictedGit, find_git
from tests.unit.work.made_checkpoints import (
    BLOB,
    COMMIT,
    OFFSET_DELTA,
    TREE,
    commit_all,
    commit_content,
    commit_id,
    facts_text,
    git,
    make_base,
    object_id,
    parts_of,
    raw_pack,
    snapshot,
    stream_of,
    tree_content,
    varint,
    write_parts,
)
from tests.waits import wait_until

BASE = "b" * 40
HELLO = b"hello\n"
HELLO_ID = object_id("blob", HELLO)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def work_in(folder: Path) -> None:
    """Commit, and leave something uncommitted: the names are the worst that a folder may have."""
    (folder / "changed").write_text("one\n2\nthree\n")
    (folder / "new folder").mkdir()
    (folder / "new folder" / "line\nfeed").write_bytes(bytes(range(256)) * 40)
    commit_all(folder, "First")
    (folder / "removed").unlink()
    os.link(folder / "kept", folder / "same as kept")
    (folder / "link").symlink_to("../../etc/passwd")
    commit_all(folder, "Second")
    Path(os.fsdecode(os.fsencode(folder) + b"/not \xff utf-8")).write_text("x")
    (folder / "--option").write_text("uncommitted\n")


async def check_received(parts: dict[str, bytes], folder: Path) -> CheckedWork:
    """Send the parts through the stream and check what was received."""
    write_parts(folder, {})
    receiver = CheckpointReceiver(folder, 100_000_000)
    stream = stream_of(parts)
    for at in range(0, len(stream), 4_000):
        receiver.feed(stream[at : at + 4_000])
    receiver.close()
    return await check_work(folder)


def tree_listing(folder: Path, commit: str) -> bytes:
    return git(folder, "ls-tree", "-r", "-z", "--full-tree", commit)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
async def test_bundle_brings_the_work_into_a_clone_that_has_the_base(
    tmp_path: Path, repository: Path, object_format: str
) -> None:
    base = make_base(repository, object_format)
    git(tmp_path, "clone", "-q", str(repository), "clone")
    clone = tmp_path / "clone"
    work_in(repository)
    parts = parts_of(repository, base)

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem is None
    assert checked.bundle is not None
    bundle = checked.bundle.path.read_bytes()
    assert (len(bundle), hashlib.sha256(bundle).hexdigest()) == (
        checked.bundle.size_bytes,
        checked.bundle.sha256,
    )
    said = git(clone, "bundle", "verify", str(checked.bundle.path)).decode()
    assert f"requires this ref:\n{base}" in said
    git(clone, "fetch", "-q", str(checked.bundle.path), "refs/heads/claude-jobs/*:refs/heads/w/*")
    assert commit_id(clone, "w/head") == commit_id(repository)
    assert commit_id(clone, "w/work") == snapshot(repository)
    assert tree_listing(clone, "w/work") == tree_listing(repository, snapshot(repository))
    git(clone, "fsck", "--strict")
    git(clone, "checkout", "-q", "w/work")
    assert not (clone / "removed").exists()
    assert (clone / "link").readlink() == Path("../../etc/passwd")


async def test_files_have_size_and_hash_of_their_content(tmp_path: Path, repository: Path) -> None:
    base = make_base(repository)
    work_in(repository)

    checked = await check_received(parts_of(repository, base), tmp_path / "received")

    found = {
        file.path: (file.status, file.size_bytes, file.sha256)
        for file in work_files(checked.contents, checked.blobs)
    }
    binary = bytes(range(256)) * 40
    assert found == {
        "--option": ("added", 12, hashlib.sha256(b"uncommitted\n").hexdigest()),
        "changed": ("modified", 12, hashlib.sha256(b"one\n2\nthree\n").hexdigest()),
        "link": ("added", 16, hashlib.sha256(b"../../etc/passwd").hexdigest()),
        "new folder/line\\x0afeed": ("added", 10_240, hashlib.sha256(binary).hexdigest()),
        "not � utf-8": ("added", 1, hashlib.sha256(b"x").hexdigest()),
        "removed": ("deleted", None, None),
        "same as kept": ("added", 5, hashlib.sha256(b"kept\n").hexdigest()),
    }
    assert checked.files is not None
    assert {file["path"]: file["sha256"] for file in json.loads(checked.files.read_text())} == {
        path: sha256 for path, (_, _, sha256) in found.items()
    }
    assert checked.patch is not None
    git(tmp_path, "clone", "-q", str(repository), "clone")
    git(tmp_path / "clone", "checkout", "-q", base)
    git(tmp_path / "clone", "apply", "--index", str(checked.patch))
    tree = git(tmp_path / "clone", "write-tree").decode().strip()
    assert tree == commit_id(repository, f"{snapshot(repository)}^{{tree}}")


async def test_nothing_but_files_of_the_answer_is_left_behind(
    tmp_path: Path, repository: Path
) -> None:
    base = make_base(repository)
    work_in(repository)

    await check_received(parts_of(repository, base), tmp_path / "received")

    assert sorted(path.name for path in (tmp_path / "received").iterdir()) == [
        "facts",
        "files",
        "files.json",
        "pack",
        "patch",
        "work.bundle",
    ]


async def test_work_without_a_change_is_whole_without_a_bundle(
    tmp_path: Path, repository: Path
) -> None:
    base = make_base(repository)

    checked = await check_received(parts_of(repository, base), tmp_path / "received")

    assert (checked.problem, checked.bundle, checked.patch, checked.files) == (None,) * 4


async def test_commits_without_a_changed_file_are_kept(tmp_path: Path, repository: Path) -> None:
    base = make_base(repository)
    commit_all(repository, "Empty")
    head = commit_id(repository)
    pack = git(repository, "pack-objects", "--stdout", "-q", given=f"{head}\n".encode())
    facts = parts_of(repository, base)["facts"]

    checked = await check_received({"facts": facts, "pack": pack}, tmp_path / "received")

    assert checked.problem is None
    assert checked.bundle is not None
    assert git(repository, "bundle", "list-heads", str(checked.bundle.path)).count(b"\n") == 2


@pytest.mark.parametrize("has_pack", [True, False])
async def test_history_that_was_set_back_can_be_fetched(
    tmp_path: Path, repository: Path, has_pack: bool
) -> None:
    first = make_base(repository)
    (repository / "second").write_text("second\n")
    commit_all(repository, "Second")
    base = commit_id(repository)
    git(tmp_path, "clone", "-q", str(repository), "clone")
    git(repository, "reset", "-q", "--hard", first)
    parts = parts_of(repository, base, notes=b"history_rewritten\t\0")
    if not has_pack:
        del parts["pack"]

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem is None
    assert checked.bundle is not None
    git(tmp_path / "clone", "fetch", "-q", str(checked.bundle.path), "claude-jobs/work:w")
    assert commit_id(tmp_path / "clone", "w") == first


def made_by_hand(
    pack: bytes, *, head: str, tree: str | None = None, blob: str | None = None
) -> dict[str, bytes]:
    facts = {"version": "1", "base": BASE, "head": head, "tree": tree or head, "commits": "1"}
    parts = {"facts": facts_text(facts)}
    if blob is not None:
        none = "0" * 40
        parts["files"] = f":000000 100644 {none} {blob} A\0file\0\0".encode()
    return {**parts, "pack": pack}


def good_objects(
    blob: bytes = HELLO, name: str = "file", mode: str = "100644"
) -> tuple[str, list[tuple[int, bytes, bytes]]]:
    """Return a commit with one file: its id and the entries of a pack."""
    tree = tree_content((mode, name, object_id("blob", blob)))
    commit = commit_content(object_id("tree", tree), BASE)
    entries = [(COMMIT, b"", commit), (TREE, b"", tree), (BLOB, b"", blob)]
    return object_id("commit", commit), entries


async def test_pack_made_by_hand_is_good(tmp_path: Path) -> None:
    head, entries = good_objects()
    parts = made_by_hand(raw_pack(entries), head=head, blob=HELLO_ID)

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem is None
    assert checked.blobs == {HELLO_ID: CheckedBlob(6, hashlib.sha256(HELLO).hexdigest())}


GITMODULES = b'[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch /tmp/owned\n'
BROKEN_COMMIT = b"tree " + b"1" * 40 + b"\nauthor nobody\n\n"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (good_objects(name=".git")[1], "hasDotgit"),
        (good_objects(name=".GIT")[1], "hasDotgit"),
        (good_objects(name="git~1")[1], "hasDotgit"),
        (good_objects(name="..")[1], "hasDotdot"),
        (good_objects(name="a/b")[1], "fullPathname"),
        (good_objects(GITMODULES, ".gitmodules")[1], "gitmodulesUrl"),
        (good_objects(b"../x", ".gitmodules", "120000")[1], "gitmodulesSymlink"),
        ([(COMMIT, b"", BROKEN_COMMIT)], "missingEmail"),
        ([(TREE, b"", b"40000 x\0short")], "fatal"),
        ([(BLOB, b"", b"x"), (OFFSET_DELTA, b"\x7f", b"\x01\x01\x90\x01")], "fatal"),
        ([(7, bytes(20), b"\x01\x01\x90\x01")], "unresolved delta"),
    ],
)
async def test_objects_that_git_calls_bad_are_refused(
    tmp_path: Path, entries: list[tuple[int, bytes, bytes]], said: str
) -> None:
    head = object_id("commit", entries[0][2])
    parts = {**made_by_hand(raw_pack(entries), head=head), "patch": b"patch"}

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem is not None
    assert "Git refuses the objects of the work: “" in checked.problem
    assert said in checked.problem
    assert checked.bundle is None
    assert checked.patch is not None
    assert not (tmp_path / "received" / "work.bundle").exists()


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (b"", "is not a pack"),
        (b"PACK", "is not a pack"),
        (b"#!/bin/sh\nexit 1\n", "is not a pack"),
        (raw_pack(good_objects()[1])[:-1], "Git refuses"),
        (raw_pack(good_objects()[1]) + b"x", "junk at the end"),
        (raw_pack(good_objects()[1], count=4), "Git refuses"),
        (raw_pack(good_objects()[1], count=2), "Git refuses"),
        (raw_pack(good_objects()[1], count=2**32 - 1), "4,294,967,295 objects"),
        (raw_pack(good_objects()[1][1:]), "does not have the commit"),
        (raw_pack([]), "does not have the commit"),
    ],
)
async def test_pack_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, pack: bytes, said: str
) -> None:
    checked = await check_received(
        made_by_hand(pack, head=good_objects()[0]), tmp_path / "received"
    )

    assert checked.problem is not None
    assert said in checked.problem
    assert checked.bundle is None


async def test_head_that_is_not_a_commit_is_refused(tmp_path: Path) -> None:
    parts = made_by_hand(raw_pack(good_objects()[1]), head=HELLO_ID)

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem == f"The pack of the work does not have the commit {HELLO_ID}."


async def test_pack_that_lacks_a_changed_file_is_kept_and_told(tmp_path: Path) -> None:
    head, entries = good_objects()
    parts = made_by_hand(raw_pack(entries[:2]), head=head, blob=HELLO_ID)

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem == "The pack of the work lacks the content of 1 changed file."
    assert checked.bundle is not None
    [file] = work_files(checked.contents, checked.blobs)
    assert (file.size_bytes, file.sha256) == (None, None)


def delta_bomb(result_bytes: int) -> bytes:
    """Return a small pack with a delta that makes `result_bytes`, a multiple of 8 MB."""
    base = bytes(8_000_000)
    copy_all = bytes([0x80 | 0x10 | 0x20 | 0x40]) + len(base).to_bytes(3, "little")
    delta = varint(len(base)) + varint(result_bytes) + copy_all * (result_bytes // len(base))
    head, entries = good_objects(base)
    before = raw_pack([(BLOB, b"", base)])[12:-20]
    distance = len(before)
    offset = bytes([distance & 127])
    while distance := distance >> 7:
        distance -= 1
        offset = bytes([128 | distance & 127]) + offset
    assert head
    return raw_pack([*entries, (OFFSET_DELTA, offset, delta)])


async def test_delta_that_makes_gigabytes_ends_at_the_limit_of_memory(tmp_path: Path) -> None:
    pack = delta_bomb(8_000_000_000)
    assert len(pack) < 40_000
    folder = write_parts(tmp_path / "received", made_by_hand(pack, head="a" * 40))

    checked = await check_work(folder, CheckLimits(memory_bytes=256 * 1024 * 1024))

    assert checked.problem is not None
    assert "Out of memory" in checked.problem


async def test_delta_within_the_limits_is_inflated(tmp_path: Path) -> None:
    head, _ = good_objects(bytes(8_000_000))
    parts = made_by_hand(delta_bomb(16_000_000), head=head)

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem is None


async def test_files_above_what_may_be_hashed_have_their_size_alone(tmp_path: Path) -> None:
    zeros = bytes(50_000_000)
    head, entries = good_objects(zeros)
    name = object_id("blob", zeros)
    folder = write_parts(
        tmp_path / "received", made_by_hand(raw_pack(entries), head=head, blob=name)
    )

    bounded = await check_work(folder, CheckLimits(hashed_bytes=49_999_999))
    whole = await check_work(folder, CheckLimits(hashed_bytes=50_000_000))

    assert bounded.blobs == {name: CheckedBlob(50_000_000, None)}
    assert bounded.remarks == (
        "The SHA-256 of 1 changed file was not computed, since it would have taken too long.",
    )
    assert bounded.problem is None
    assert whole.blobs == {name: CheckedBlob(50_000_000, hashlib.sha256(zeros).hexdigest())}


async def test_list_that_ends_early_says_so(tmp_path: Path, repository: Path) -> None:
    base = make_base(repository)
    work_in(repository)
    folder = write_parts(tmp_path / "received", parts_of(repository, base))

    checked = await check_work(folder, CheckLimits(listed_files=3))

    assert checked.remarks == ("The list of changed files ends before the last 4 of them.",)
    assert checked.problem is None
    assert len(checked.blobs) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slice
async def test_hashing_that_fails_leaves_the_work_good(tmp_path: Path) -> None:
    zeros = bytes(300_000_000)
    head, entries = good_objects(zeros)
    name = object_id("blob", zeros)
    parts = made_by_hand(raw_pack(entries), head=head, blob=name)
    folder = write_parts(tmp_path / "received", parts)
    check = asyncio.create_task(check_work(folder))

    def kill_the_hashing() -> bool:
        # As soon as it is seen, for it takes no longer than a second.
        found = commands_in(folder, b"--batch\0")
        for process_id in found:
            os.kill(process_id, signal.SIGKILL)
        return bool(found)

    await asyncio.to_thread(wait_until, kill_the_hashing, 20, pause_seconds=0.01)
    checked = await check

    assert checked.problem is None
    assert checked.bundle is not None
    assert checked.blobs == {name: CheckedBlob(300_000_000, None)}


def commands_in(folder: Path, argument: bytes) -> list[int]:
    """Return the ids of the processes that work below a folder and have an argument."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_there = (process / "cwd").readlink().is_relative_to(folder)
            if is_there and argument in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


async def test_output_that_ends_too_early_is_a_failure(tmp_path: Path) -> None:
    git_there = RestrictedGit(find_git(), tmp_path, 100_000_000, 10)

    with pytest.raises(GitFailed):
        async with git_there.printing("version") as stdout:
            await stdout.readexactly(1_000)


@pytest.mark.slice
async def test_check_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    head, entries = good_objects(bytes(300_000_000))
    folder = write_parts(tmp_path / "received", made_by_hand(raw_pack(entries), head=head))
    begun = time.monotonic()

    checked = await check_work(folder, CheckLimits(seconds=0.3))

    assert checked.problem == "The check of the work's objects took longer than 0.3 s."
    assert time.monotonic() - begun < 3
    assert git_processes(folder) == []


@pytest.mark.slice
async def test_cancelled_check_leaves_no_process(tmp_path: Path) -> None:
    head, entries = good_objects(bytes(300_000_000))
    folder = write_parts(tmp_path / "received", made_by_hand(raw_pack(entries), head=head))
    check = asyncio.create_task(check_work(folder))
    await asyncio.to_thread(wait_until, lambda: bool(git_processes(folder)), 20, pause_seconds=0.01)

    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check

    assert git_processes(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == ["facts", "pack"]


def git_processes(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line and "git" in line]


async def test_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    head, entries = good_objects()
    folder = write_parts(tmp_path / "received", made_by_hand(raw_pack(entries), head=head))

    with pytest.raises(GitMissing, match="not installed"):
        await check_work(folder)


async def test_configuration_of_the_machine_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[broken\n")
    for name, value in {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_DIR": str(home),
        "GIT_CONFIG_COUNT": "x",
        "GIT_TRACE": str(tmp_path / "trace"),
    }.items():
        monkeypatch.setenv(name, value)
    head, entries = good_objects()
    parts = made_by_hand(raw_pack(entries), head=head, blob=HELLO_ID)

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem is None
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "parts",
    [
        {"facts": b"nonsense"},
        {"facts": b"version=1\n", "notes": b"x"},
        {"facts": b"version=1\n", "files": b""},
        {"facts": b"version=1\n", "files": b"x"},
        {"facts": b"version=1\n", "pack": raw_pack([])},
    ],
)
async def test_parts_that_cannot_be_read_are_damaged(
    tmp_path: Path, parts: dict[str, bytes]
) -> None:
    with pytest.raises(WorkDamaged):
        await check_received(parts, tmp_path / "received")


@pytest.mark.parametrize(
    ("notes", "problem"),
    [
        (b"", "The keeper could not find out what the agent made."),
        (
            b"error\tfatal: bad\nobject\0no_repository\t\0",
            "The folder was not a Git repository at the agent's end.",
        ),
        (b"error\tfatal: bad\nobject\0", "Git failed in the pod: “fatal: bad\\x0aobject”."),
    ],
)
async def test_checkpoint_without_a_pack_says_why(
    tmp_path: Path, notes: bytes, problem: str
) -> None:
    parts = {"facts": facts_text({"version": "1", "base": BASE}), "notes": notes}

    checked = await check_received(parts, tmp_path / "received")

    assert checked.problem == problem


def test_bundle_of_another_object_format_says_so() -> None:
    facts = CheckpointFacts(base="a" * 64, tree="c" * 64, object_format="sha256")

    assert bundle_header(facts).decode() == (
        f"# v3 git bundle\n@object-format=sha256\n-{'a' * 64}\n"
        f"{'c' * 64} refs/heads/claude-jobs/work\n\n"
    )
