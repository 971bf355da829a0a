"""The keeper's first process: when it ends, and when it must not."""

import os
import signal
import subprocess
import time

import pytest

from tests.keeper.kept_work import Keeper

PATIENCE = {"CLAUDE_JOBS_KEEPER_PATIENCE_SECONDS": "2"}


def ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        assert process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    return True


def be_alive(keeper: Keeper, age: float = 0) -> None:
    keeper.alive.write_text(f"{int(time.time() - age)}\n")


def test_finish_ends_it(keeper: Keeper):
    process = keeper.start()
    assert not ends_within(process, 0.5)
    assert keeper.run("finish") == (0, b"", b"")

    assert ends_within(process, 10)
    assert keeper.run() == (0, b"", b"")


@pytest.mark.slice
def test_agent_that_has_not_started_is_waited_for(keeper: Keeper):
    process = keeper.start(**PATIENCE)

    assert not ends_within(process, 6)


@pytest.mark.slice
def test_agent_that_is_gone_is_outlived_by_the_patience(keeper: Keeper):
    be_alive(keeper)
    process = keeper.start(**PATIENCE)
    assert not ends_within(process, 5)
    keeper.alive.unlink()
    gone_at = time.monotonic()

    assert ends_within(process, 15)
    assert time.monotonic() - gone_at >= 1.5


@pytest.mark.parametrize(
    "content", ["old", "future", "-5", "1e9", "0x7", "9" * 40, "$(id)", "x\ny"]
)
@pytest.mark.slice
def test_sign_of_life_that_is_none_counts_as_the_end(keeper: Keeper, content: str):
    seconds = {"old": time.time() - 100, "future": time.time() + 9999}.get(content)
    keeper.alive.write_text(content if seconds is None else str(int(seconds)))
    process = keeper.start(**PATIENCE)

    assert ends_within(process, 15)


@pytest.mark.slice
def test_stale_sign_of_life_ends_it_and_a_fresh_one_does_not(keeper: Keeper):
    be_alive(keeper, age=100)
    process = keeper.start(CLAUDE_JOBS_KEEPER_PATIENCE_SECONDS="4")
    time.sleep(1)
    be_alive(keeper)
    assert not ends_within(process, 6)
    be_alive(keeper, age=100)

    assert ends_within(process, 15)


@pytest.mark.slice
def test_sign_of_life_that_is_just_being_written_tells_nothing(keeper: Keeper):
    be_alive(keeper)
    process = keeper.start(**PATIENCE)
    time.sleep(1)
    keeper.alive.write_text("")

    assert not ends_within(process, 6)


@pytest.mark.slice
def test_sign_of_life_that_is_a_pipe_does_not_block(keeper: Keeper):
    be_alive(keeper)
    process = keeper.start(**PATIENCE)
    time.sleep(1)
    keeper.alive.unlink()
    os.mkfifo(keeper.alive)

    assert ends_within(process, 15)


@pytest.mark.slice
def test_sigterm_lets_the_flow_collect_before_the_end(keeper: Keeper):
    keeper.clone({"a": b"a\n"})
    be_alive(keeper)
    process = keeper.start()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert not ends_within(process, 3)
    keeper.collect()
    keeper.run("finish")

    assert ends_within(process, 10)
