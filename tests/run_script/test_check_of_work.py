"""The check of the agent's work, under every shell: it runs after a good end and never else."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.transcript.line_grammar import CheckEnd, parse_line
from tests.run_script.script_run import TOKEN, Printed, ScriptRun
from tests.run_script.test_run_script_endings import OBEDIENT, PREAMBLE, STUBBORN, read_until
from tests.unit.agent_job.run_inputs import make_run

LIMIT = {"CLAUDE_JOBS_CHECK_TIMEOUT_SECONDS": "20", "CLAUDE_JOBS_KILL_AFTER_SECONDS": "1"}
SHORT = {**LIMIT, "CLAUDE_JOBS_CHECK_TIMEOUT_SECONDS": "1"}
DONE = ("sh", "-c", "echo done")


def give_check(script: ScriptRun, command: str, **env: str) -> None:
    """Put the files there that a run's Secret has for a check."""
    prepared = make_run(request={"check": {"command": command, "env": env}})
    for name in ("check", "check-env"):
        if name in prepared.files:
            (script.input / name).write_bytes(prepared.files[name])


def python_check(source: str) -> str:
    return f"exec {sys.executable} -c {shlex.quote(source)}"


def check_end(printed: Printed) -> CheckEnd:
    assert printed.trailer.check is not None
    return printed.trailer.check


def said(printed: Printed) -> list[bytes]:
    return [line.payload for line in printed.check]


@pytest.mark.parametrize("exit_code", [0, 3])
def test_check_runs_after_the_agent_and_is_told_of_in_the_trailer(
    script: ScriptRun, exit_code: int
):
    give_check(script, f"pwd; echo oops >&2; cat; exit {exit_code}")
    printed = script.run("sh", "-c", "echo done; echo bad >&2", env=LIMIT)
    kinds = [line.split(b" ")[1] for line in printed.raw.splitlines() if line != b"done"]

    assert printed.exit_code == printed.trailer.exit_code == 0
    end = check_end(printed)
    # Whole seconds of a clock: even a short check can end in the next one.
    assert end == CheckEnd(exit_code, False, end.seconds, lines=2, skipped=0)
    assert 0 <= end.seconds < 10
    assert said(printed) == [str(Path.cwd()).encode(), b"oops"]
    assert [line.number for line in printed.check] == [1, 2]
    # Never mixed with the transcript, and after everything else.
    assert printed.payloads == [b"done"]
    assert kinds[-5:] == [b"e", b"b", b"c", b"c", b"t"]
    assert [begun.exit_code for begun in printed.check_begun] == [0]
    assert printed.check_begun[0].timeout_seconds == 20
    assert script.termination_message() == printed.trailer
    assert printed.script_stderr == b""
    assert script.list_leftovers() == []


def test_copy_tells_that_the_check_has_begun(script: ScriptRun):
    give_check(script, "exit 0")
    printed = script.run(*DONE, env=LIMIT)
    last = (script.work / "transcript").read_bytes().splitlines()[-1:]

    assert [parse_line(line, TOKEN) for line in last] == (
        printed.check_begun if script.tools.numbers_lines else []
    )
    assert printed.trailer.copied_lines == (1 if script.tools.numbers_lines else 0)


def test_without_a_check_nothing_is_said_of_one(script: ScriptRun):
    give_check(script, "echo never")
    printed = script.run(*DONE)

    assert printed.trailer.check is None
    assert b"check" not in printed.raw
    assert (printed.check_begun, printed.check) == ([], [])


def test_command_and_environment_arrive_as_they_were_written(script: ScriptRun):
    command = """printf '%s|' "$ONE" "$TWO" '$x `id` "' 'it'"'"'s' 漢
printf '\\n'
cat <<END
a  b
END"""
    give_check(script, command, ONE='it\'s "q" $HOME `id`\n\nlines \\n ', TWO="漢 *")
    printed = script.run(*DONE, env=LIMIT)

    expected = 'it\'s "q" $HOME `id`\n\nlines \\n |漢 *|$x `id` "|it\'s|漢|\na  b'
    assert said(printed) == expected.encode().split(b"\n")
    assert check_end(printed).exit_code == 0


def test_check_has_the_agents_environment_but_not_the_token(script: ScriptRun):
    give_check(script, python_check("import os; print(dict(os.environ))"), ONE="of the check")
    printed = script.run(*DONE, env={**LIMIT, "ONE": "of the agent", "TWO": "of the agent"})

    assert b"'ONE': 'of the check'" in said(printed)[0]
    assert b"'TWO': 'of the agent'" in said(printed)[0]
    assert b"LINE_TOKEN" not in said(printed)[0]


@pytest.mark.parametrize(
    ("source", "is_child"),
    [
        pytest.param(OBEDIENT, False, id="obedient", marks=pytest.mark.slice),
        pytest.param(OBEDIENT, True, id="obedient-below-the-shell"),
        pytest.param(STUBBORN, False, id="stubborn"),
        pytest.param(STUBBORN, True, id="stubborn-below-the-shell", marks=pytest.mark.slice),
    ],
)
def test_check_is_ended_at_its_limit_with_code_124(script: ScriptRun, source: str, is_child: bool):
    command = python_check(source)
    give_check(script, f"({command}); true" if is_child else command)
    printed = script.run(*DONE, env=SHORT)

    end = check_end(printed)
    assert (end.exit_code, end.timed_out) == (124, True)
    assert 1 <= end.seconds < 10
    assert said(printed) == [b"ready", b"got it" if source == OBEDIENT else b"no"]
    assert printed.exit_code == 0
    assert script.list_leftovers() == []


def test_pod_s_sigterm_reaches_the_check(script: ScriptRun, tmp_path: Path):
    ready = tmp_path / "ready"
    source = OBEDIENT.replace("say(b'ready')", f"open({str(ready)!r}, 'w')")
    give_check(script, python_check(source))
    process = script.start(*DONE, env=LIMIT)
    while not ready.exists():
        time.sleep(0.01)
    process.terminate()
    printed = script.finish(process)

    assert printed.exit_code == printed.trailer.exit_code == 0
    assert check_end(printed).exit_code == 5
    assert said(printed) == [b"got it"]
    assert script.list_leftovers() == []


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        pytest.param("exit 3", {}, id="failed"),
        pytest.param("kill -KILL $$", {}, id="killed"),
        pytest.param("exec sleep 20", {"CLAUDE_JOBS_TIMEOUT_SECONDS": "1"}, id="timed-out"),
        pytest.param("exit 0", {"CLAUDE_JOBS_POD_UID": "another"}, id="refused"),
    ],
)
def test_check_does_not_run_unless_the_agent_ended_well(
    script: ScriptRun, agent: str, settings: dict[str, str]
):
    give_check(script, "echo never")
    printed = script.run("sh", "-c", agent, env={**LIMIT, **settings})

    assert check_end(printed) == CheckEnd(None, False, 0, 0, 0)
    assert (printed.check_begun, printed.check) == ([], [])
    assert printed.exit_code != 0


def test_check_does_not_run_in_a_pod_that_was_asked_to_stop(script: ScriptRun):
    give_check(script, "echo never")
    source = PREAMBLE + (
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); say(b'ready'); time.sleep(20)"
    )
    # A busy machine may take a second to let the agent end by the signal.
    patient = {**LIMIT, "CLAUDE_JOBS_KILL_AFTER_SECONDS": "10"}
    process = script.start(sys.executable, "-c", source, env=patient)
    head = read_until(process, b"ready")
    process.terminate()
    printed = script.finish(process, head)

    assert printed.exit_code == 0
    assert check_end(printed).exit_code is None
    assert printed.check_begun == []


@pytest.mark.waits(3)
def test_check_runs_after_an_agent_that_was_ended_after_its_result(script: ScriptRun):
    give_check(script, "echo checked")
    source = PREAMBLE + 'say(b\'{"type":"result"}\'); [time.sleep(0.05) for _ in range(80)]'
    printed = script.run(
        sys.executable, "-c", source, env={**LIMIT, "CLAUDE_JOBS_AFTER_RESULT_SECONDS": "1"}
    )

    assert said(printed) == [b"checked"]
    assert check_end(printed).exit_code == 0
    ended = script.tools.numbers_lines
    assert [begun.ended_after_result for begun in printed.check_begun] == [ended]
    assert printed.exit_code == printed.trailer.exit_code == (143 if ended else 0)


OUTPUTS: dict[str, tuple[str, int | None]] = {
    "nothing": ("", 0),
    "no-newline": ("os.write(1, b'last')", 1),
    "binary": ("os.write(1, bytes(range(256)).replace(bytes(1), b'') * 4)", 5),
    "400-kb-lines": ("[os.write(1, b'x' * 400_000 + b'\\n') for _ in range(2)]", None),
    "1-mb": ("[os.write(1, b'%07d' % n + b'\\n') for n in range(125_000)]", None),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_of_the_check_is_kept_bounded(script: ScriptRun, name: str):
    source, lines = OUTPUTS[name]
    give_check(script, python_check(f"import os; {source}"))
    printed = script.run(*DONE, env=LIMIT)

    end, kept = check_end(printed), said(printed)
    assert (end.exit_code, end.lines) == (0, len(kept))
    assert sum(map(len, kept)) <= 70_000
    if lines is not None:
        assert (len(kept), end.skipped) == (lines, 0)
    elif name == "1-mb":
        first = 0 if script.tools.awk is not None else 125_000 - 65_536 // 8
        assert (kept[0], kept[-1]) == (b"%07d" % first, b"0124999")
        assert end.lines + end.skipped == 125_000
    else:
        assert kept[-1].startswith(b"x")


def look_for_process_of(folder: Path) -> str:
    """Return a command that prints 0 if the process has ended whose id stands in a file."""
    return f'{{ wc -c <"/proc/$(cat {folder}/pid)/cmdline"; }} 2>/dev/null || echo 0'


def test_what_the_check_leaves_running_does_not_hold_up_the_end(script: ScriptRun):
    give_check(script, "sleep 60 & sleep 60 >/dev/null 2>&1 & echo checked; exit 4")
    began = time.monotonic()
    printed = script.run(*DONE, env=LIMIT)

    assert time.monotonic() - began < 15
    assert said(printed) == [b"checked"]
    assert check_end(printed).exit_code == 4
    # What holds none of its pipes ends with the container.
    script.kill_all_but(None)


def test_what_holds_the_agents_pipes_has_ended_before_the_check(script: ScriptRun, tmp_path: Path):
    give_check(script, look_for_process_of(tmp_path))
    printed = script.run("sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid", env=LIMIT)

    assert [line.strip() for line in said(printed)] == [b"0"]


def test_script_killed_during_its_check_leaves_no_trailer(script: ScriptRun, tmp_path: Path):
    ready = tmp_path / "ready"
    give_check(script, f"true >{ready}; exec sleep 20")
    process = script.start(*DONE, env=LIMIT)
    head = read_until(process, b" b 1 ")
    while not ready.exists():
        time.sleep(0.01)
    script.kill_all_but(process.pid)
    printed = script.finish(process, head)

    assert printed.exit_code == 137
    assert printed.trailers == []
    assert [begun.exit_code for begun in printed.check_begun] == [0]


FIRST_PROCESS = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def _may_unshare() -> bool:
    return (
        subprocess.run([*FIRST_PROCESS, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _may_unshare(), reason="namespaces of processes cannot be made here")
def test_first_process_of_a_container_ends_all_that_the_agent_left_running(
    script: ScriptRun, tmp_path: Path
):
    left = f"import os, time; os.setsid(); open('{tmp_path}/left', 'w'); time.sleep(60)"
    quiet = f"{sys.executable} -c {shlex.quote(left)} >/dev/null 2>&1"
    wait = f"while [ ! -e {tmp_path}/left ]; do sleep 0.02; done"
    give_check(script, look_for_process_of(tmp_path))
    agent = f"{quiet} & echo $! >{tmp_path}/pid; {wait}"
    printed = script.finish(script.start("sh", "-c", agent, env=LIMIT, before=FIRST_PROCESS))

    assert [line.strip() for line in said(printed)] == [b"0"]
    assert check_end(printed).exit_code == 0
    assert printed.script_stderr == b""
