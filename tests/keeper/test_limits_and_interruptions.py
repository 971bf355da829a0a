"""The bounds of a checkpoint and of the disk; collects that meet, are killed, cannot work."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.keeper.kept_work import (
    MEBIBYTE,
    Keeper,
    commit_all,
    git,
    list_tree,
    take_apart,
    wait_for,
)

FILES: dict[str | bytes, bytes] = {"a": b"a\n", "b/c": b"c\n"}


def replace_git(keeper: Keeper, before: str) -> None:
    """Have a line of shell run before each command of git."""
    program = keeper.path / "git"
    real = program.resolve()
    program.unlink()
    program.write_text(f'#!/bin/sh\n{before}\nexec {real} "$@"\n')
    program.chmod(0o755)


def size_of(parts: dict[str, bytes]) -> int:
    return sum(len(content) for name, content in parts.items() if name not in {"facts", "notes"})


def test_files_beyond_the_limit_are_named_and_the_others_kept(keeper: Keeper):
    keeper.limit_bytes = 2 * MEBIBYTE
    keeper.clone(FILES)
    keeper.write({f"{n}": os.urandom(600_000) for n in range(6)})
    keeper.write({"small": b"small\n", "z": os.urandom(3 * MEBIBYTE)})
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert set(checkpoint.noted("too_large")) == {b"3", b"4", b"5", b"z"}
    assert set(checkpoint.changes) == {b"0", b"1", b"2", b"small"}
    assert "pack" in checkpoint.parts
    assert checkpoint.noted("patch_too_large") == [b""]
    assert size_of(dict(checkpoint.parts)) <= keeper.limit_bytes
    assert max([*sizes, keeper.disk_bytes()]) < keeper.disk_bound
    keeper.restore(checkpoint)


def test_commits_beyond_the_limit_leave_facts_and_files(keeper: Keeper):
    keeper.limit_bytes = MEBIBYTE
    keeper.clone(FILES)
    keeper.write({"large": os.urandom(3 * MEBIBYTE)})
    head = commit_all(keeper.tree)
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert list(checkpoint.parts) == ["facts", "notes", "files"]
    assert checkpoint.kinds == {"pack_too_large", "patch_too_large"}
    assert checkpoint.facts["head"] == head
    assert checkpoint.changes == {b"large": "A"}
    assert max(sizes) < keeper.disk_bound


@pytest.mark.slice
def test_list_of_files_beyond_the_limit_is_left_out(keeper: Keeper):
    keeper.limit_bytes = 10_000
    keeper.clone(FILES)
    keeper.write({f"folder/file{n:04}": b"" for n in range(300)})
    commit_all(keeper.tree)
    checkpoint = keeper.collect()

    assert "files" not in checkpoint.parts
    assert checkpoint.noted("unsupported") == [b"The list of the changed files is too large."]
    assert size_of(dict(checkpoint.parts)) <= keeper.limit_bytes


@pytest.mark.slice
def test_work_spread_over_too_many_folders_is_left_out(keeper: Keeper):
    keeper.limit_bytes = MEBIBYTE
    keeper.clone(FILES)
    keeper.write({f"{n}/file": b"" for n in range(2_000)})
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert b"too many folders" in checkpoint.noted("unsupported")[0]
    assert max(sizes) < keeper.disk_bound


@pytest.mark.slice
def test_deep_folders_cannot_fill_the_disk(keeper: Keeper):
    keeper.limit_bytes = 4 * MEBIBYTE
    keeper.clone(FILES)
    for number in range(40):
        keeper.write({f"{number}/" + "d/" * 900 + "file": b"%d" % number})
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert checkpoint.kinds == {"unsupported"}
    assert max(sizes) < keeper.disk_bound


@pytest.mark.slice
def test_file_of_short_lines_is_compared_in_little_memory(keeper: Keeper):
    keeper.limit_bytes = 64 * MEBIBYTE
    keeper.clone({**FILES, "lines": b"\n" * (4 * MEBIBYTE - 1)})
    keeper.write({"lines": b"x\n" * (2 * MEBIBYTE - 1), "new": b"new\n"})
    checkpoint = keeper.collect()

    assert checkpoint.notes == []
    assert checkpoint.changes == {b"lines": "M", b"new": "A"}
    assert list_tree(keeper.apply_patch(checkpoint)) == list_tree(keeper.tree)


@pytest.mark.slice
@pytest.mark.timeout(120)
def test_large_files_are_streamed_and_kept_as_they_are(keeper: Keeper):
    keeper.limit_bytes = 120 * MEBIBYTE
    large = os.urandom(MEBIBYTE) * 34
    keeper.clone({**FILES, "same": large, "mode": large + b"1", "changed": large + b"2"})
    keeper.write({"new": large + b"3", "changed": large + b"4", "small.txt": b"x\n"})
    (keeper.tree / "mode").chmod(0o755)
    checkpoint = keeper.collect()

    assert checkpoint.changes == {b"new": "A", b"changed": "M", b"mode": "M", b"small.txt": "A"}
    assert checkpoint.kinds == {"patch_too_large"}
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)


def test_two_collects_at_once_give_the_same_checkpoint(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({f"{n}/new": b"new\n" for n in range(200)})
    first = keeper.start("collect")
    wait_for(keeper.dir / "checkpoints")
    second = keeper.start("collect")
    with ThreadPoolExecutor() as pool:
        other = pool.submit(second.communicate, timeout=60)
        printed = [first.communicate(timeout=60), other.result()]

    assert [process.returncode for process in (first, second)] == [0, 0]
    assert [stderr for _, stderr in printed] == [b"", b""]
    assert printed[0][0] == printed[1][0]
    assert len(take_apart(printed[0][0]).changes) == 200
    assert [path.name for path in (keeper.dir / "lock").iterdir()] == ["free"]


@pytest.mark.slice
def test_collect_that_waits_too_long_says_so(keeper: Keeper):
    keeper.clone(FILES)
    with subprocess.Popen(["sleep", "60"]) as other:
        start = Path(f"/proc/{other.pid}/stat").read_text().rpartition(") ")[2].split()[19]
        (keeper.dir / "lock").mkdir()
        (keeper.dir / "lock" / f"1-1.{other.pid}.{start}").touch()
        code, stdout, stderr = keeper.run("collect", CLAUDE_JOBS_KEEPER_WAIT_SECONDS="1")
        other.kill()

    assert (code, stdout) == (1, b"")
    assert stderr == b"keeper.sh: another collect is still at work\n"
    assert keeper.collect().facts["commits"] == "0"


@pytest.mark.parametrize(
    "delay", [0.2, *[pytest.param(n / 20, marks=pytest.mark.slice) for n in range(20)]]
)
def test_collect_after_a_killed_one_starts_anew(keeper: Keeper, delay: float):
    keeper.clone(FILES)
    keeper.write({f"{n}/new": b"%d\n" % n for n in range(300)})
    killed = keeper.start("collect")
    time.sleep(delay)
    killed.kill()
    killed.wait()
    checkpoint = keeper.collect()

    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)
    assert len(list((keeper.dir / "checkpoints").iterdir())) == 1


def test_stopped_git_of_a_killed_collect_is_ended(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"new": b"new\n"})
    # Its first pipe keeps this git waiting, as a slow one would.
    slow = keeper.folder / "slow"
    slow.mkdir()
    replace_git(keeper, f"[ -e {slow}/free ] || exec sleep 61")
    killed = keeper.start("collect")
    wait_for(keeper.dir / "checkpoints")
    time.sleep(0.5)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    (slow / "free").touch()
    keeper.collect()

    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
    assert b"sleep 61" not in listed.splitlines()


def test_reader_that_goes_away_can_resume(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"new": os.urandom(500_000)})
    process = keeper.start("collect")
    assert process.stdout is not None
    head = process.stdout.read(1000)
    process.stdout.close()
    process.wait(timeout=30)
    name = head.split(b"\n")[0].split(b" ")[2].decode()
    code, rest, _ = keeper.run("resume", name, "1000")

    assert code == 0
    assert take_apart(head + rest).changes == {b"new": "A"}


@pytest.mark.slice
def test_checkpoint_that_is_being_printed_survives_the_next_one(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"new": os.urandom(1_500_000)})
    slow = keeper.start("collect")
    assert slow.stdout is not None
    head = slow.stdout.read(1000)
    second = keeper.collect()
    first = take_apart(head + slow.stdout.read())
    slow.wait()

    assert first.id != second.id
    assert first.changes == second.changes


@pytest.mark.slice
def test_git_that_takes_too_long_is_given_up(keeper: Keeper):
    keeper.clone(FILES)
    replace_git(keeper, '[ "$1" != ls-files ] || exec sleep 60')
    keeper.write({"new": b"new\n", "committed": b"1\n"})
    git(keeper.tree, "add", "committed")
    git(keeper.tree, "commit", "-q", "-m", "One")
    checkpoint = keeper.collect(CLAUDE_JOBS_KEEPER_STEP_SECONDS="1")

    assert "error" in checkpoint.kinds
    assert b"committed" in checkpoint.changes


@pytest.mark.parametrize(
    "base",
    [
        b"main\n",
        *[pytest.param(base, marks=pytest.mark.slice) for base in (b"", b"01\n", b"Z" * 40)],
    ],
)
def test_base_that_is_no_commit_is_refused(keeper: Keeper, base: bytes):
    keeper.clone(FILES)
    (keeper.dir / "base").write_bytes(base)
    code, stdout, stderr = keeper.run("collect")

    assert (code, stdout) == (1, b"")
    assert stderr.startswith(b"keeper.sh: ")
    assert stderr.count(b"\n") == 1


def test_unknown_commands_and_arguments_are_refused(keeper: Keeper):
    keeper.clone(FILES)
    for arguments in (
        ("nonsense",),
        ("resume",),
        ("resume", "../base", "0"),
        ("resume", "1", "-1"),
        ("resume", "1", "x"),
    ):
        code, stdout, stderr = keeper.run(*arguments)
        assert (code, stdout) == (1, b"")
        assert stderr.startswith(b"keeper.sh: ")
