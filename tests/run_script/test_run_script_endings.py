import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.transcript.line_grammar import Refusal
from tests.run_script.script_run import ScriptRun

# Not in sh: shells lose a signal that comes while they fork.
PREAMBLE = "import os, signal, time; say = lambda text: os.write(1, text + b'\\n'); "
REST = "say(b'ready'); [time.sleep(0.05) for _ in range(1200)]"
SIMPLE = PREAMBLE + REST
OBEDIENT = (
    PREAMBLE + "signal.signal(signal.SIGTERM, lambda *_: (say(b'got it'), os._exit(5))); " + REST
)
STUBBORN = PREAMBLE + "signal.signal(signal.SIGTERM, lambda *_: say(b'no')); " + REST


def read_until(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    assert process.stdout is not None
    raw = b""
    while word not in raw:
        line = process.stdout.readline()
        assert line, raw
        raw += line
    return raw


def wait_until(condition: Callable[[], bool]) -> None:
    """The test's own time limit bounds it."""
    while not condition():
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("source", "exit_code"), [(SIMPLE, 143), (OBEDIENT, 5)], ids=["simple", "with-a-trap"]
)
def test_sigterm_reaches_the_agent_and_its_code_is_kept(
    script: ScriptRun, source: str, exit_code: int
):
    process = script.start(sys.executable, "-c", source)
    head = read_until(process, b"ready")
    process.terminate()
    printed = script.finish(process, head)

    assert printed.exit_code == printed.trailer.exit_code == exit_code
    assert printed.trailer.timed_out is False
    assert printed.payloads == ([b"ready"] if exit_code == 143 else [b"ready", b"got it"])
    assert script.termination_message() == printed.trailer
    assert script.list_leftovers() == []


def test_signal_to_the_whole_group_loses_no_line(script: ScriptRun):
    process = script.start(sys.executable, "-c", OBEDIENT)
    head = read_until(process, b"ready")
    os.killpg(process.pid, signal.SIGTERM)
    printed = script.finish(process, head)
    stdout = b"".join(payload + b"\n" for payload in printed.payloads)

    # Signalled by the group and by the script, the agent may say it twice.
    assert stdout.removesuffix(b"got it\n") in {b"ready\n", b"ready\ngot it\n"}
    assert printed.trailer.sha256 == hashlib.sha256(stdout).hexdigest()
    assert printed.exit_code == 5


def test_agent_that_ignores_sigterm_is_killed_before_the_kubelet_does_it(script: ScriptRun):
    process = script.start(
        sys.executable, "-c", STUBBORN, env={"CLAUDE_JOBS_KILL_AFTER_SECONDS": "1"}
    )
    head = read_until(process, b"ready")
    process.terminate()
    printed = script.finish(process, head + read_until(process, b"no"))

    assert printed.exit_code == printed.trailer.exit_code == 137
    assert script.list_leftovers() == []


def test_sigterm_at_the_very_start_starts_no_agent_or_ends_it(script: ScriptRun):
    """However early the signal comes, the script ends by it, long before the agent would."""
    for delay in (0.0, 0.002, 0.004, 0.008, 0.016, 0.03):
        process = script.start("sh", "-c", "exec sleep 20")
        time.sleep(delay)
        process.terminate()
        raw, _ = process.communicate(timeout=15)
        # Before it has read its first line the shell itself dies by the signal.
        assert process.returncode in {143, -signal.SIGTERM}
        assert process.returncode != 143 or b"exit=143 " in raw
    wait_until(lambda: script.list_leftovers() == [])


@pytest.mark.parametrize(
    ("source", "said"),
    [(OBEDIENT, [b"ready", b"got it"]), (STUBBORN, [b"ready", b"no"])],
    ids=["with-a-trap", "stubborn"],
)
def test_timeout_ends_the_agent_with_code_124(script: ScriptRun, source: str, said: list[bytes]):
    printed = script.run(
        sys.executable,
        "-c",
        source,
        env={"CLAUDE_JOBS_TIMEOUT_SECONDS": "2", "CLAUDE_JOBS_KILL_AFTER_SECONDS": "1"},
    )

    assert printed.exit_code == printed.trailer.exit_code == 124
    assert printed.trailer.timed_out is True
    assert printed.payloads == said
    assert script.termination_message() == printed.trailer
    assert script.list_leftovers() == []


def test_agent_that_ends_before_its_timeout_leaves_no_timer_behind(script: ScriptRun):
    printed = script.run("sh", "-c", "exit 0", env={"CLAUDE_JOBS_TIMEOUT_SECONDS": "86400"})

    assert printed.trailer.timed_out is False
    assert script.list_leftovers() == []


def test_script_ends_when_all_that_it_has_started_was_killed(script: ScriptRun):
    process = script.start(sys.executable, "-c", STUBBORN)
    head = read_until(process, b"ready")
    script.kill_all_but(process.pid)
    printed = script.finish(process, head)

    assert printed.exit_code == 137
    assert printed.payloads == [b"ready"]
    assert printed.trailers == []
    assert script.list_leftovers() == []


def test_many_signals_do_not_pass_for_the_end(script: ScriptRun):
    process = script.start(sys.executable, "-c", STUBBORN)
    head = read_until(process, b"ready")
    for _ in range(8):
        process.terminate()
        head += read_until(process, b"no\n")
        time.sleep(0.05)
    script.kill_agent()
    printed = script.finish(process, head)

    assert printed.exit_code == printed.trailer.exit_code == 137


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_descendant_that_keeps_a_pipe_open_does_not_hold_up_the_end(script: ScriptRun, stream: str):
    other = "2>/dev/null" if stream == "stdout" else ">/dev/null"
    printed = script.run("sh", "-c", f"sleep 60 {other} & echo said; echo told >&2; exit 3")

    assert printed.exit_code == 3
    assert printed.payloads == [b"said"]
    assert [line.payload for line in printed.stderr] == [b"told"]
    # It is killed, not the reader: the end of the pipe is its own, and the hash stays a proof.
    assert printed.trailer.sha256 == hashlib.sha256(b"said\n").hexdigest()
    assert script.list_leftovers() == []


@pytest.mark.parametrize(
    ("pod_uid", "revoked", "refusal"),
    [
        ("another-pod", False, Refusal.POD_REPLACED),
        ("", False, Refusal.POD_REPLACED),
        (None, False, Refusal.POD_REPLACED),
        (None, True, Refusal.REVOKED),
    ],
)
def test_pod_that_the_prompt_is_not_meant_for_refuses_without_reading_it(
    script: ScriptRun, pod_uid: str | None, revoked: bool, refusal: Refusal
):
    (script.input / "pod-uid").unlink()
    if pod_uid is not None:
        (script.input / "pod-uid").write_text(pod_uid)
    if revoked:
        (script.input / "revoked").touch()
    # Opening this one would block for ever, which is how reading it would show.
    (script.input / "prompt").unlink()
    os.mkfifo(script.input / "prompt")
    printed = script.run("sh", "-c", "echo started")

    assert printed.exit_code == printed.trailer.exit_code == 76
    assert printed.trailer.refused is refusal
    assert printed.payloads == []
    assert script.termination_message() == printed.trailer


def test_pod_without_a_uid_of_its_own_refuses(script: ScriptRun):
    (script.input / "pod-uid").write_text("\n")
    printed = script.run("sh", "-c", "echo started", env={"CLAUDE_JOBS_POD_UID": ""})

    assert printed.exit_code == 76
    assert printed.trailer.refused is Refusal.POD_REPLACED


def test_missing_prompt_is_refused(script: ScriptRun):
    (script.input / "prompt").unlink()
    printed = script.run("sh", "-c", "echo started")

    assert printed.exit_code == 78
    assert printed.trailer.refused is Refusal.NO_PROMPT
    assert script.list_leftovers() == []


def test_damaged_packed_prompt_is_refused(script: ScriptRun):
    (script.input / "prompt").rename(script.input / "prompt.gz")
    printed = script.run("sh", "-c", "echo started")

    assert printed.exit_code == 78


def write_bundle(script: ScriptRun, sha256: str | None = None) -> None:
    content = b"Be brief.\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("skills/brief/SKILL.md")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (script.input / "bundle.tar.gz").write_bytes(packed.getvalue())
    actual = hashlib.sha256(packed.getvalue()).hexdigest()
    (script.input / "bundle.sha256").write_text(sha256 or actual)


def test_bundle_is_unpacked_before_the_agent_starts(script: ScriptRun):
    write_bundle(script)
    printed = script.run("cat", str(script.work / "bundle" / "skills" / "brief" / "SKILL.md"))

    assert printed.payloads == [b"Be brief."]


@pytest.mark.parametrize("fault", ["other-hash", "no-hash", "no-archive"])
def test_bundle_that_is_not_the_announced_one_is_refused(script: ScriptRun, fault: str):
    write_bundle(script, sha256="0" * 64 if fault == "other-hash" else None)
    if fault == "no-hash":
        (script.input / "bundle.sha256").unlink()
    if fault == "no-archive":
        (script.input / "bundle.tar.gz").write_bytes(b"no archive")
        digest = hashlib.sha256(b"no archive").hexdigest()
        (script.input / "bundle.sha256").write_text(digest)
    printed = script.run("sh", "-c", "echo started")

    assert printed.exit_code == 77
    assert printed.trailer.refused is Refusal.BUNDLE_MISMATCH
    assert printed.payloads == []


def test_work_directory_that_cannot_be_written_is_told_as_the_agents_stderr(
    script: ScriptRun, tmp_path: Path
):
    (tmp_path / "file").touch()
    printed = script.run(
        "sh", "-c", "echo started", env={"CLAUDE_JOBS_WORK_DIR": str(tmp_path / "file" / "work")}
    )

    assert printed.exit_code == 1
    assert b"cannot write below" in printed.stderr[0].payload
    assert printed.payloads == []


def test_termination_log_that_cannot_be_written_changes_nothing(script: ScriptRun):
    printed = script.run(
        "sh", "-c", "exit 4", env={"CLAUDE_JOBS_TERMINATION_LOG": "/nowhere/termination-log"}
    )

    assert printed.exit_code == printed.trailer.exit_code == 4
    assert printed.script_stderr == b""


LARGE_OUTPUT = {
    "CLAUDE_JOBS_ACK_WAIT_SECONDS": "600",
    "CLAUDE_JOBS_ACK_ABOVE_BYTES": "1000",
}


def start_large_output(script: ScriptRun) -> tuple[subprocess.Popen[bytes], bytes]:
    """Read up to the trailer and the termination message, which both come before the wait."""
    process = script.start("sh", "-c", "seq 1 100; exit 3", env=LARGE_OUTPUT)
    head = read_until(process, b" t 1 ")
    wait_until(lambda: script.termination_log.exists() and script.termination_message() is not None)
    assert process.poll() is None
    return process, head


def test_large_output_waits_for_the_acknowledgement(script: ScriptRun):
    process, head = start_large_output(script)
    (script.work / "ack").touch()
    printed = script.finish(process, head)

    assert printed.exit_code == 3
    assert printed.trailer.lines == 100


def test_small_output_waits_for_the_acknowledgement_of_a_reader_who_asks_for_it(script: ScriptRun):
    settings = {**LARGE_OUTPUT, "CLAUDE_JOBS_ACK_ABOVE_BYTES": "8388608"}
    source = f"echo one; true >{script.work}/hold"
    process = script.start("sh", "-c", source, env=settings)
    head = read_until(process, b" t 1 ")
    time.sleep(1)
    assert process.poll() is None
    (script.work / "ack").touch()

    assert script.finish(process, head).exit_code == 0


def test_wait_for_the_acknowledgement_ends_on_sigterm(script: ScriptRun):
    process, head = start_large_output(script)
    process.terminate()

    assert script.finish(process, head).exit_code == 3


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        pytest.param("seq 1 5", {}, id="small-output"),
        pytest.param("seq 1 100", {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "0"}, id="no-wait-wanted"),
        pytest.param("seq 1 100", {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "1"}, id="wait-over"),
    ],
)
def test_script_ends_by_itself_where_no_acknowledgement_is_awaited(
    script: ScriptRun, source: str, settings: dict[str, str]
):
    assert script.run("sh", "-c", source, env={**LARGE_OUTPUT, **settings}).exit_code == 0


def test_work_directory_of_an_earlier_run_does_not_matter(script: ScriptRun):
    assert script.run("sh", "-c", "echo one; exit 3").exit_code == 3
    printed = script.run("sh", "-c", "echo two")

    assert printed.exit_code == 0
    assert printed.payloads == [b"two"]
    if script.tools.numbers_lines:
        assert (script.work / "transcript").read_bytes().endswith(b"o 1 3 two\n")


RESULT_LINE = b'{"is_error":false,"type":"result","result":"x"}'
NOTE_LINE = b'{"type":"system","subtype":"task_notification"}'
INIT_LINE = b'{"type":"system","subtype":"init"}'
TURN_LINE = b'{"type":"assistant","message":{}}'
SUBAGENT_LINE = b'{"type":"assistant","message":{},"parent_tool_use_id":"t"}'
MAIN_LINE = b'{"type":"assistant","message":{},"parent_tool_use_id":null}'
QUOTING_LINE = b'{"type":"assistant","message":{"content":"\\"parent_tool_use_id\\":\\"t"}}'
EVENT_IN_RESULT_LINE = b'{"type":"result","structured_output":{"type":"user"},"total_cost_usd":0.1}'


def _printing(*lines: bytes) -> str:
    said = "; ".join(f"say({line!r})" for line in lines)
    return f"{PREAMBLE}{said}; [time.sleep(0.05) for _ in range(80)]"


@pytest.mark.waits(3)
@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        pytest.param((RESULT_LINE,), True, id="result"),
        pytest.param((RESULT_LINE, NOTE_LINE), True, id="notes after it", marks=pytest.mark.slice),
        pytest.param((RESULT_LINE, TURN_LINE), False, id="another turn"),
        pytest.param((TURN_LINE,), False, id="no result", marks=pytest.mark.slice),
        pytest.param(
            (RESULT_LINE, SUBAGENT_LINE), True, id="a subagent after it", marks=pytest.mark.slice
        ),
        pytest.param(
            (RESULT_LINE, SUBAGENT_LINE, NOTE_LINE, INIT_LINE, MAIN_LINE, RESULT_LINE),
            True,
            id="a subagent, then a turn about it",
            marks=pytest.mark.slice,
        ),
        pytest.param(
            (RESULT_LINE, QUOTING_LINE),
            False,
            id="another turn that quotes a subagent",
            marks=pytest.mark.slice,
        ),
        pytest.param(
            (INIT_LINE, TURN_LINE, INIT_LINE, TURN_LINE, RESULT_LINE),
            False,
            id="another turn before the first one's result",
            marks=pytest.mark.slice,
        ),
        pytest.param(
            (INIT_LINE, TURN_LINE, INIT_LINE, TURN_LINE, RESULT_LINE, RESULT_LINE),
            True,
            id="both turns' results",
            marks=pytest.mark.slice,
        ),
        pytest.param(
            (INIT_LINE, TURN_LINE, EVENT_IN_RESULT_LINE),
            True,
            id="a result that holds an event",
            marks=pytest.mark.slice,
        ),
    ],
)
def test_agent_that_stays_after_its_result_is_ended(
    script: ScriptRun, lines: tuple[bytes, ...], ended: bool
):
    printed = script.run(
        sys.executable,
        "-c",
        _printing(*lines),
        env={"CLAUDE_JOBS_AFTER_RESULT_SECONDS": "1"},
    )

    assert printed.header is not None
    ended = ended and printed.header.numbered
    assert printed.exit_code == printed.trailer.exit_code == (143 if ended else 0)
    assert printed.trailer.ended_after_result is ended
    assert script.list_leftovers() == []


@pytest.mark.slice
def test_signal_noted_while_the_script_already_waits_is_not_left_for_the_agents_end(
    script: ScriptRun,
):
    """A shell looks at what it noted only when its `read` returns: it returns every few seconds."""
    process = script.start(sys.executable, "-c", SIMPLE)
    head = read_until(process, b"ready")
    before = script.count_wake_ups(process.pid)
    time.sleep(6)
    woken = script.count_wake_ups(process.pid) - before
    process.terminate()
    script.finish(process, head)

    assert woken >= 1
    assert script.list_leftovers() == []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sigterm_at_any_moment_of_the_start_is_never_lost(script: ScriptRun):
    """Busybox lost one of 5,000, and bash 5.2, where the trap came first of all, one of 300."""
    for start in range(1000):
        process = script.start("sh", "-c", "exec sleep 20")
        time.sleep(start * 0.00005)
        process.terminate()
        process.communicate(timeout=15)
        assert process.returncode in {143, -signal.SIGTERM}
