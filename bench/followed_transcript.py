"""A process that follows transcripts, sums them up and renders them, and tells what that cost it.

python -m bench.followed_transcript NAME KUBECONFIG MB RUNS
"""

import asyncio
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from bench.contestants import (
    BLOCK_SHORTEST,
    CONTESTANTS,
    KUBECTL,
    OWN,
    CarryOut,
    Order,
    carry_out,
    run_kubectl,
)
from bench.surroundings import namespace_of_own, peak_mb
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import render_event
from tasks.claude_code.session_progress import ProgressState
from tasks.claude_code.session_summary import SessionState
from tasks.claude_code.transcript_page import TranscriptPage
from tasks.text.log_records import RecordBuffer
from tasks.text.redaction import Redactor
from tests.cluster.contract_objects import IMAGE

PIPE = f"{KUBECTL}, json.loads"
_LINE_BYTES = 1_000
# An assistant's message, as long as a line shall be, again and again.
_PROGRAM = r"""BEGIN {
  head = "{\"type\":\"assistant\",\"message\":{\"content\":["
  head = head "{\"type\":\"text\",\"text\":\""
  text = "x"; while (length(text) < size) text = text text
  line = head substr(text, 1, size) "\"}]}}"
  for (i = 0; i < lines; i++) print line
}"""
_TEXT_BYTES = _LINE_BYTES - 80
_OWN_SETTINGS = {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "120"}  # what is rotated away is in the pod
_SECRET = "sk-ant-api03-no-key-but-as-long"
_PIPED = r"""
until kubectl --namespace="$0" logs -f "$1" 2>/dev/null; do sleep 0.1; done | python3 -c '
import json, sys
for line in sys.stdin.buffer:
    if line[8:11] == b" o ":
        json.loads(line.split(b" ", 4)[4])
'"""


class ChildFailedError(Exception):
    """A process that was to be measured failed; says what it was to do and its last words."""


@dataclass(frozen=True)
class Cost:
    """Of following transcripts.

    Attributes:
        megabytes: What the agents printed.
        cpu_seconds: Of the process and those that it started, once everything was imported.
        peak_mb: Of the process; None where others do the work.
    """

    megabytes: float
    seconds: float
    cpu_seconds: float
    peak_mb: float | None

    @property
    def cpu_ms_per_mb(self) -> float:
        """CPU by output."""
        return self.cpu_seconds * 1000 / self.megabytes


def _render() -> Callable[[bytes], None]:
    """Do with the lines what a run does, but for telling anybody."""
    session, progress, records, page = (
        SessionState(),
        ProgressState(),
        RecordBuffer(),
        TranscriptPage(),
    )
    redact = Redactor([_SECRET]).text

    def take(payload: bytes) -> None:
        event = parse_event_leniently(payload)
        session.apply(event)
        progress.apply(event)
        safe = [line.rewritten(redact) for line in render_event(event)]
        page.add(safe)
        for line in safe:
            records.add(line.text, time.monotonic())

    return take


async def _run_pipe(order: Order) -> None:
    """Do as one would without us."""
    await run_kubectl(order, "create", "-f", "-", given=json.dumps(order.manifest).encode())
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", _PIPED, order.namespace, f"job/{order.name}"),
        env={**os.environ, "KUBECONFIG": order.kubeconfig},
    )
    assert await process.wait() == 0


def _parse_line_by_line() -> Callable[[bytes], None]:
    def take(payload: bytes) -> None:
        json.loads(payload)

    return take


_WAYS: dict[str, tuple[CarryOut, Callable[[], Callable[[bytes], None]], dict[str, str]]] = {
    OWN: (CONTESTANTS[OWN], _render, _OWN_SETTINGS),
    PIPE: (_run_pipe, _parse_line_by_line, {}),
    BLOCK_SHORTEST: (CONTESTANTS[BLOCK_SHORTEST], _parse_line_by_line, {}),
}


async def _follow(name: str, kubeconfig: str, size_mb: int, runs: int) -> Cost:
    """Follow so many transcripts at once, each to its end."""
    lines = size_mb * 1_000_000 // _LINE_BYTES
    command = f"awk -v size={_TEXT_BYTES} -v lines={lines} '{_PROGRAM}'"
    run, sink, settings = _WAYS[name]
    if name == BLOCK_SHORTEST:
        importlib.import_module("prefect_kubernetes.jobs")
    began, cpu_began = time.monotonic(), _cpu_seconds(name)
    async with namespace_of_own(kubeconfig) as (client, space):
        endings = await asyncio.gather(
            *(
                carry_out(run, client, space, kubeconfig, command, IMAGE, sink(), settings)
                for _ in range(runs)
            )
        )
    failures = [ending.failure for ending in endings if ending.failure]
    assert not failures, failures
    return Cost(
        float(size_mb * runs),
        time.monotonic() - began,
        _cpu_seconds(name) - cpu_began,
        None if name == PIPE else peak_mb(),
    )


def _cpu_seconds(name: str) -> float:
    """Return what was used so far; of the pipe that is what its own processes used."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = (resource.getrusage(who) for who in (both[1:] if name == PIPE else both))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure_one(name: str, kubeconfig: str, size_mb: int, runs: int = 1) -> Cost:
    """Let a process of its own do it, but for the pipe, whose processes are its own anyway."""
    if name == PIPE:
        return asyncio.run(_follow(name, kubeconfig, size_mb, runs))
    command = [sys.executable, "-m", "bench.followed_transcript"]
    done = subprocess.run(
        [*command, name, kubeconfig, str(size_mb), str(runs)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        raise ChildFailedError(f"{name}, {runs} of {size_mb} MB: {' '.join(said)[:300]}")
    return Cost(**json.loads(done.stdout))


def _answer(name: str, kubeconfig: str, size_mb: str, runs: str) -> None:
    cost = asyncio.run(_follow(name, kubeconfig, int(size_mb), int(runs)))
    sys.stdout.write(json.dumps(asdict(cost)) + "\n")


if __name__ == "__main__":
    _answer(*sys.argv[1:])
