import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

REPLAY = Path(__file__).parents[3] / "deployments" / "local" / "demo" / "replay_claude.py"
LINES = (
    b'{"type":"system","subtype":"init","session_id":"recorded-id"}\n'
    b'{"type":"assistant","text":"caf\xc3\xa9 \xe2\x80\xa8 \x85","session_id":"recorded-id"}\n'
    b'{"type":"result","session_id":"recorded-id"}'
)


def _record(folder: Path, name: str, *, stderr: bytes = b"", **meta: Any) -> None:
    (folder / f"{name}.jsonl").write_bytes(LINES)
    (folder / f"{name}.meta.json").write_text(json.dumps({"exit_code": 0, "signal": None} | meta))
    if stderr:
        (folder / f"{name}.stderr").write_bytes(stderr)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(REPLAY), "-p", "--output-format", "stream-json", *arguments]


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "REPLAY_DIR": str(folder), **more}


def _replay(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        _command(*arguments),
        input=b"prompt",
        capture_output=True,
        env=_environment(folder, **environment),
        check=False,
    )


def test_replay_prints_the_recording_byte_for_byte_and_ends_as_it_did(tmp_path: Path) -> None:
    _record(tmp_path, "ok", stderr=b"a warning\n")
    _record(tmp_path, "failed", exit_code=1)

    ok = _replay(tmp_path)
    failed = _replay(tmp_path, REPLAY_TRANSCRIPT="failed")

    assert (ok.returncode, ok.stdout, ok.stderr) == (0, LINES, b"a warning\n")
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, LINES, b"")


def test_replay_reads_a_packed_recording(tmp_path: Path) -> None:
    _record(tmp_path, "big")
    (tmp_path / "big.jsonl.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "big.jsonl").unlink()

    assert _replay(tmp_path, REPLAY_TRANSCRIPT="big").stdout == LINES


@pytest.mark.parametrize("option", ["--resume", "--session-id"])
def test_replay_takes_the_session_id_that_is_asked_for(tmp_path: Path, option: str) -> None:
    _record(tmp_path, "ok")

    replayed = _replay(tmp_path, option, "asked-id")

    assert replayed.stdout == LINES.replace(b"recorded-id", b"asked-id")


def test_replay_fills_in_only_the_variables_that_are_named(tmp_path: Path) -> None:
    _record(tmp_path, "ok", stderr=b"${API_KEY} ${HOME}\n")

    replayed = _replay(tmp_path, REPLAY_FROM_ENV="API_KEY", API_KEY="k3y")

    assert replayed.stderr == b"k3y ${HOME}\n"


def test_replay_of_a_killed_session_is_killed(tmp_path: Path) -> None:
    _record(tmp_path, "killed", exit_code=137, signal="SIGKILL")

    assert _replay(tmp_path, REPLAY_TRANSCRIPT="killed").returncode == -signal.SIGKILL


def test_replay_waits_for_the_whole_prompt_and_then_before_each_line(tmp_path: Path) -> None:
    _record(tmp_path, "ok")
    began_at = time.monotonic()

    replayed = _replay(tmp_path, REPLAY_LINE_DELAY_SECONDS="0.1")

    assert replayed.stdout == LINES
    assert time.monotonic() - began_at >= 0.3


@pytest.mark.parametrize("term_seconds", ["0", "0.5"])
def test_replay_ends_with_143_at_sigterm(tmp_path: Path, term_seconds: str) -> None:
    _record(tmp_path, "ok")
    environment = {"REPLAY_LINE_DELAY_SECONDS": "0.2", "REPLAY_TERM_SECONDS": term_seconds}
    with subprocess.Popen(
        _command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(tmp_path, **environment),
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.stdout.readline()
        told_at = time.monotonic()
        process.terminate()

        assert process.wait() == 143
        assert time.monotonic() - told_at >= float(term_seconds)
