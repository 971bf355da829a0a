"""`claude-jobs demo` as a newcomer runs it: a process, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(180)

COMMAND = Path(sys.executable).with_name("claude-jobs")
RECORDING = Path(__file__).parents[2] / "deployments" / "local" / "demo" / "fix_a_test.jsonl"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """The demo's TMPDIR; every process that it starts has a path of it in its environment."""
    # Pytest's folders are closed to other users, and containers run as one where this is root.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for process_id in _processes_of(folder):
            os.kill(process_id, signal.SIGKILL)


def _processes_of(scratch: Path) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            texts = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue  # ended, or another user's
        if str(scratch).encode() in texts:
            found.append(int(folder.name))
    return found


def _start(scratch: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [COMMAND, "demo", *options],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _read_until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    read: list[str] = []
    for line in process.stdout:
        read.append(line)
        if words in line:
            return "".join(read)
    raise AssertionError(f"it ended without {words!r}: {''.join(read)}")


@pytest.mark.waits(30)
def test_demo_ends_with_a_complete_transcript_and_leaves_nothing(scratch: Path) -> None:
    process = _start(scratch, "--json")
    output, _ = process.communicate()

    assert process.returncode == 0, output
    shown, _, last = output.rstrip("\n").rpartition("\n")
    result = json.loads(last)
    assert result["error_code"] is None
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] == len(RECORDING.read_bytes().splitlines())
    assert "tool call Edit" in shown
    assert "no model was called" in shown
    assert "Cost" in shown
    assert _processes_of(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_interrupted_while_it_starts_leaves_nothing(
    scratch: Path, number: signal.Signals
) -> None:
    process = _start(scratch)
    _read_until(process, "no sandbox")
    time.sleep(0.5)

    process.send_signal(number)
    output, _ = process.communicate()

    assert process.returncode == 128 + number, output
    assert "everything that the demo started was stopped" in output
    assert _processes_of(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_demo_interrupted_while_the_agent_works_leaves_nothing(scratch: Path) -> None:
    process = _start(scratch)
    _read_until(process, "tool call")

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()

    assert process.returncode == 130, output
    assert _processes_of(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_demo_with_ui_serves_the_page_of_the_run_until_interrupted(scratch: Path) -> None:
    process = _start(scratch, "--ui")
    shown = _read_until(process, "Press Ctrl-C to stop everything")
    assert "/runs/flow-run/" in shown

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()

    assert process.returncode == 0, output
    assert _processes_of(scratch) == []


def test_demo_of_the_real_claude_without_one_is_refused(scratch: Path) -> None:
    # An empty PATH has no `claude`.
    ended = subprocess.run(
        [COMMAND, "demo", "--real", "--yes"],
        env={**os.environ, "PATH": str(scratch)},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 2
    assert "`claude` is not on PATH" in ended.stdout
