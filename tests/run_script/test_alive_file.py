"""The file by which the keeper of a pod knows that the agent works, under every shell."""

import shutil
import signal
import sys
import time

import pytest

from tests.run_script.script_run import ScriptRun
from tests.run_script.test_check_of_work import give_check
from tests.run_script.test_run_script_endings import OBEDIENT, STUBBORN, read_until, wait_until


def asked(script: ScriptRun, **env: str) -> dict[str, str]:
    return {"CLAUDE_JOBS_ALIVE_FILE": str(script.work / "alive"), **env}


def list_alive(script: ScriptRun) -> list[str]:
    return sorted(path.name for path in script.work.glob("alive*"))


def test_file_tells_the_time_while_the_agent_works_and_is_gone_after_it(script: ScriptRun):
    began = int(time.time())
    printed = script.run("cat", str(script.work / "alive"), env=asked(script))

    assert printed.exit_code == 0
    assert began <= int(printed.payloads[0]) <= time.time()
    assert list_alive(script) == []
    assert (script.work / "transcript").exists()
    assert printed.script_stderr == b""
    assert script.list_leftovers() == []


def test_there_is_no_file_where_nobody_asked_for_it(script: ScriptRun):
    printed = script.run("sh", "-c", f"echo {script.work}/alive*")

    assert printed.payloads == [f"{script.work}/alive*".encode()]
    assert list_alive(script) == []


# Reads until it has changed, as often as it can.
READER = """
import time
def seconds():
    with open({alive!r}) as file:
        text = file.read()
    assert text.endswith("\\n"), repr(text)
    return int(text)
began, first = time.monotonic(), seconds()
while seconds() == first:
    assert time.monotonic() - began < 20
assert abs(seconds() - time.time()) < 3
print(round(time.monotonic() - began))
"""


@pytest.mark.waits(7)
def test_file_is_renewed_and_never_read_in_halves(script: ScriptRun):
    source = READER.format(alive=str(script.work / "alive"))
    printed = script.run(sys.executable, "-c", source, env=asked(script))

    assert [line.payload for line in printed.stderr] == []
    assert 3 <= int(printed.payloads[0]) <= 12
    assert list_alive(script) == []


def test_file_stays_while_the_work_is_checked(script: ScriptRun):
    give_check(script, f"cat {script.work}/alive")
    env = asked(script, CLAUDE_JOBS_CHECK_TIMEOUT_SECONDS="20")
    printed = script.run("true", env=env)

    assert [line.payload.isdigit() for line in printed.check] == [True]
    assert list_alive(script) == []


@pytest.mark.parametrize("ends_by", ["acknowledgement", "sigterm"])
def test_file_stays_while_the_script_waits_to_be_read(script: ScriptRun, ends_by: str):
    (script.work / "hold").touch()
    process = script.start("true", env=asked(script, CLAUDE_JOBS_ACK_WAIT_SECONDS="20"))
    head = read_until(process, b" t 1 ")

    assert "alive" in list_alive(script)

    if ends_by == "sigterm":
        process.terminate()
    else:
        (script.work / "ack").touch()
    assert script.finish(process, head).exit_code == 0
    assert list_alive(script) == []


@pytest.mark.parametrize(
    ("command", "env", "exit_code"),
    [
        pytest.param(["sh", "-c", "exit 3"], {}, 3, id="failed"),
        pytest.param(["no-such-program"], {}, 127, id="not-found"),
        pytest.param(["true"], {"CLAUDE_JOBS_POD_UID": "another"}, 76, id="another-pod"),
        pytest.param(["sleep", "20"], {"CLAUDE_JOBS_TIMEOUT_SECONDS": "1"}, 124, id="timed-out"),
    ],
)
def test_file_is_gone_after_every_ending(
    script: ScriptRun, command: list[str], env: dict[str, str], exit_code: int
):
    printed = script.run(*command, env=asked(script, **env))

    assert printed.exit_code == exit_code
    assert list_alive(script) == []
    # By which a reader who comes late knows that there was a file.
    assert (script.work / "transcript").exists()
    assert script.list_leftovers() == []


def test_file_is_gone_where_the_script_cannot_begin(script: ScriptRun):
    (script.work / "transcript").mkdir()
    printed = script.run("true", env=asked(script))

    assert printed.exit_code == 1
    assert b"cannot write" in printed.stderr[0].payload
    assert list_alive(script) == []


def test_file_is_gone_where_no_pipes_can_be_made(script: ScriptRun):
    # Only the script's own pipe is made alone.
    fake = script.path / "mkfifo"
    fake.unlink()
    fake.write_text(f'#!/bin/sh\n[ "$#" = 1 ] && exec {shutil.which("mkfifo")} "$1"\nexit 1\n')
    fake.chmod(0o755)
    printed = script.run("true", env=asked(script))

    assert printed.exit_code == 1
    assert b"cannot make pipes" in printed.stderr[0].payload
    assert list_alive(script) == []


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: signal.Signals(number).name
)
def test_file_is_gone_after_a_signal(script: ScriptRun, number: int):
    process = script.start(sys.executable, "-c", OBEDIENT, env=asked(script))
    head = read_until(process, b"ready")
    process.send_signal(number)

    assert script.finish(process, head).exit_code == 5
    assert list_alive(script) == []


def test_file_is_gone_after_all_that_the_script_has_started_was_killed(script: ScriptRun):
    process = script.start(sys.executable, "-c", STUBBORN, env=asked(script))
    head = read_until(process, b"ready")
    script.kill_all_but(process.pid)

    assert script.finish(process, head).exit_code == 137
    assert list_alive(script) == []


def test_sigterm_at_the_very_start_leaves_no_file_unless_the_shell_dies_by_it(script: ScriptRun):
    for delay in (0.0, 0.002, 0.004, 0.008, 0.016, 0.03):
        process = script.start("sh", "-c", "exec sleep 20", env=asked(script))
        time.sleep(delay)
        process.terminate()
        process.communicate(timeout=15)
        if process.returncode == 143:
            assert list_alive(script) == []
        else:
            assert process.returncode == -signal.SIGTERM
    wait_until(lambda: script.list_leftovers() == [])
