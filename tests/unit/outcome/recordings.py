"""The recorded runs of Claude Code, as bytes and as facts of a run in a pod."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.session_summary import SessionState, SessionSummary
from tasks.outcome.run_facts import RunFacts

TRANSCRIPTS = Path(__file__).parents[2] / "data" / "transcripts"


@dataclass(frozen=True)
class Recording:
    name: str
    stdout: bytes
    stderr_line: str | None
    meta: dict[str, Any]

    @property
    def lines(self) -> list[bytes]:
        return split_lines(self.stdout)


def recording_names() -> list[str]:
    return sorted(path.name.removesuffix(".meta.json") for path in TRANSCRIPTS.glob("*.meta.json"))


@cache
def read_recording(name: str) -> Recording:
    stderr = TRANSCRIPTS / f"{name}.stderr"
    lines = stderr.read_text().splitlines() if stderr.exists() else []
    meta = json.loads((TRANSCRIPTS / f"{name}.meta.json").read_text())
    return Recording(name, _read_stdout(name), lines[0] if lines else None, meta)


def _read_stdout(name: str) -> bytes:
    packed = TRANSCRIPTS / f"{name}.jsonl.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    plain = TRANSCRIPTS / f"{name}.jsonl"
    return (plain if plain.exists() else plain.with_suffix(".out")).read_bytes()


def split_lines(stdout: bytes) -> list[bytes]:
    lines = stdout.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def summarise(stdout: bytes) -> SessionSummary:
    state = SessionState()
    for line in split_lines(stdout):
        state.apply(parse_event_leniently(line))
    return state.summary()


def recorded_facts(recording: Recording, stdout: bytes | None = None) -> RunFacts:
    """The run in a pod whose container ended with the recorded exit code."""
    exit_code: int = recording.meta["exit_code"]
    return RunFacts(
        session=summarise(recording.stdout if stdout is None else stdout),
        resume_requested="--resume" in recording.meta["cmd"],
        stderr_line=recording.stderr_line,
        container_started=True,
        container_exit_code=exit_code,
        container_reason="Error" if exit_code else "Completed",
        pod_phase="Failed" if exit_code else "Succeeded",
    )
