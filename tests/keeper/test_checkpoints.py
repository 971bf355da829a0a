"""Checkpoints that the keeper makes by itself while the agent works."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.keeper.kept_work import (
    MEBIBYTE,
    Checkpoint,
    Keeper,
    commit_all,
    git,
    head_of,
    take_apart,
    wait_for,
)

ANNOUNCED = re.compile(rb"claude-jobs-checkpoint 1 (c-[0-9-]+) ([0-9]+)\n")
SOON = {"CLAUDE_JOBS_KEEPER_CHECKPOINT_SECONDS": "1"}


def announce(keeper: Keeper) -> bytes | None:
    """Let the keeper make a checkpoint; return its id if it announces one."""
    code, stdout, stderr = keeper.run("checkpoint")
    assert (code, stderr) == (0, b"")
    if not stdout:
        return None
    announced = ANNOUNCED.fullmatch(stdout)
    assert announced is not None, stdout
    assert abs(int(announced[2]) - time.time()) < 60
    return announced[1]


def fetch(keeper: Keeper, checkpoint_id: bytes) -> Checkpoint:
    code, stdout, _ = keeper.run("resume", checkpoint_id.decode(), "0")
    assert code == 0
    checkpoint = take_apart(stdout)
    assert checkpoint.id.encode() == checkpoint_id
    return checkpoint


def test_checkpoint_is_announced_once_for_each_change(keeper: Keeper):
    keeper.clone({"kept": b"1\n", "changed": b"1\n"})
    assert announce(keeper) is None

    keeper.write({"changed": b"2\n", "new": b"1\n"})
    first = announce(keeper)
    assert first is not None
    assert fetch(keeper, first).changes == {b"changed": "M", b"new": "A"}

    os.utime(keeper.tree / "kept")
    keeper.write({"changed": b"2\n"})
    assert announce(keeper) is None
    assert fetch(keeper, first).changes == {b"changed": "M", b"new": "A"}

    commit_all(keeper.tree)
    second = announce(keeper)
    assert second not in {None, first}
    assert keeper.run("resume", first.decode(), "0")[0] == 3

    git(keeper.tree, "reset", "-q", "--hard", "HEAD~1")
    third = announce(keeper)
    assert third is not None
    assert fetch(keeper, third).changes == {}


# Nothing that git knew of the files for the first may be believed for the second.
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(10, id="small"),
        pytest.param(33 * MEBIBYTE, id="big", marks=pytest.mark.slice),
    ],
)
def test_files_changed_between_two_checkpoints_are_in_the_second(keeper: Keeper, size: int):
    keeper.limit_bytes = 200 * MEBIBYTE
    keeper.clone({"stays": b"1\n", "goes": b"1\n", "back": b"1\n", "same size": b"0" * size})
    keeper.write({"back": b"2\n", "new": b"1\n", "same size": b"1" * size})
    (keeper.tree / "goes").unlink()
    assert announce(keeper) is not None
    keeper.write({"back": b"1\n", "new": b"2\n", "same size": b"2" * size, "goes": b"3\n"})
    times = (keeper.tree / "stays").stat()
    keeper.write({"stays": b"4\n"})
    os.utime(keeper.tree / "stays", ns=(times.st_atime_ns, times.st_mtime_ns))

    checkpoint = keeper.collect()

    restored = keeper.restore(checkpoint)
    assert checkpoint.changes == dict.fromkeys([b"goes", b"new", b"same size", b"stays"], "M") | {
        b"new": "A"
    }
    for name in ("stays", "goes", "back", "same size", "new"):
        assert (restored / name).read_bytes() == (keeper.tree / name).read_bytes()


@pytest.fixture
def waiting(keeper: Keeper) -> Iterator[subprocess.Popen[bytes]]:
    """The first process, beside an agent that has begun to work on its clone."""
    keeper.clone({"a": b"1\n"})
    keeper.alive.write_text(f"{int(time.time())}\n")
    process = keeper.start(**SOON)
    time.sleep(1)
    yield process
    keeper.alive.unlink(missing_ok=True)


@pytest.mark.slice
def test_first_process_announces_changes_by_itself(
    keeper: Keeper, waiting: subprocess.Popen[bytes]
):
    assert waiting.stdout is not None
    keeper.write({"a": b"2\n"})
    first = ANNOUNCED.fullmatch(waiting.stdout.readline())
    assert first is not None
    assert fetch(keeper, first[1]).changes == {b"a": "M"}

    keeper.write({"folder/b": b"1\n"})
    second = ANNOUNCED.fullmatch(waiting.stdout.readline())
    assert second is not None
    assert fetch(keeper, second[1]).changes == {b"a": "M", b"folder/b": "A"}

    keeper.alive.write_text(f"{int(time.time())}\n")
    keeper.run("finish")
    assert waiting.wait(timeout=20) == 0
    assert waiting.stdout.read() == b""


@pytest.mark.slice
def test_agent_that_has_ended_gets_no_more_checkpoints(
    keeper: Keeper, waiting: subprocess.Popen[bytes]
):
    keeper.alive.unlink()
    time.sleep(3)
    keeper.write({"a": b"2\n"})
    time.sleep(6)
    keeper.run("finish")

    assert waiting.wait(timeout=20) == 0
    assert waiting.stdout is not None
    assert waiting.stdout.read() == b""


@pytest.mark.slice
def test_collect_at_the_end_does_not_wait_for_a_checkpoint_of_before(keeper: Keeper):
    keeper.clone({"a": b"1\n"})
    keeper.write({"a": b"2\n"})
    slow = keeper.start("checkpoint")
    wait_for(keeper.dir / "lock")
    while not list(keeper.dir.glob("lock/c-*")):
        time.sleep(0.01)
    os.killpg(slow.pid, signal.SIGSTOP)
    keeper.write({"b": b"1\n"})
    began = time.monotonic()

    checkpoint = keeper.collect()
    # What was stopped stays so, where it was not killed.
    with suppress(ProcessLookupError):
        os.killpg(slow.pid, signal.SIGKILL)

    assert time.monotonic() - began < 20
    assert checkpoint.changes == {b"a": "M", b"b": "A"}
    assert checkpoint.facts["head"] == head_of(keeper.tree)


@pytest.mark.slice
def test_checkpoint_leaves_a_collect_alone(keeper: Keeper):
    keeper.clone({"a": b"1\n"})
    keeper.write({"a": b"2\n"})
    slow = keeper.start("collect")
    wait_for(keeper.dir / "lock")
    while list(keeper.dir.glob("lock/free")):
        time.sleep(0.01)
    os.killpg(slow.pid, signal.SIGSTOP)
    try:
        code, stdout, stderr = keeper.run("checkpoint")
    finally:
        os.killpg(slow.pid, signal.SIGCONT)

    assert (code, stdout) == (1, b"")
    assert b"another collect is still at work" in stderr
    assert take_apart(slow.communicate(timeout=60)[0]).changes == {b"a": "M"}
