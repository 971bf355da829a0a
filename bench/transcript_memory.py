"""Peak memory and CPU of a process that follows, sums up and renders a transcript, by its size.

    python -m bench.transcript_memory

Every size is followed by a process of its own, since a peak never falls. The floor is `kubectl logs
-f | python3 -c` with json.loads for each line.
"""

import argparse
import asyncio
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.contestants import (
    BLOCK_SHORTEST,
    CONTESTANTS,
    KUBECTL,
    OWN,
    CarryOut,
    Order,
    carry_out,
    installed_contestants,
    name_gaps,
    run_kubectl,
)
from bench.figures import NOT_MEASURED, Goal, Table, ratio, render_number
from bench.surroundings import cluster, makes_faults, namespace_of_own, show
from tasks.agent_job.redaction import Redactor
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.log_records import RecordBuffer
from tasks.claude_code.progress import ProgressState
from tasks.claude_code.rendering import render_event
from tasks.claude_code.session_summary import SessionState
from tasks.claude_code.transcript_page import TranscriptPage
from tests.cluster.contract_objects import IMAGE

SIZE_MB = 200
SUBSET_SIZE_MB = 20
_RUNS = 20
_LINE_BYTES = 1_000
_GROWTH_MB_MAX = 20.0
_RUN_MB_MAX = 3.0
_CPU_RATIO_MAX = 2.0
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
# Where that can be had, all read the same from the node's log.
_UNROTATED = {"rotationBytes": 1_000_000_000}
_ROTATED = {"rotationBytes": 10 * 1024 * 1024}
_SECRET = "sk-ant-api03-no-key-but-as-long"
_PIPE = f"{KUBECTL}, json.loads"
_PIPED = r"""
until kubectl --namespace="$0" logs -f "$1" 2>/dev/null; do sleep 0.1; done | python3 -c '
import json, sys
for line in sys.stdin.buffer:
    if line[8:11] == b" o ":
        json.loads(line.split(b" ", 4)[4])
'"""


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
    _PIPE: (_run_pipe, _parse_line_by_line, {}),
    BLOCK_SHORTEST: (CONTESTANTS[BLOCK_SHORTEST], _parse_line_by_line, {}),
}


async def _follow(name: str, kubeconfig: str, size_mb: int, runs: int) -> Cost:
    """Follow so many transcripts at once, each to its end."""
    lines = size_mb * 1_000_000 // _LINE_BYTES
    command = f"awk -v size={_TEXT_BYTES} -v lines={lines} '{_PROGRAM}'"
    run, sink, settings = _WAYS[name]
    if name == BLOCK_SHORTEST:
        importlib.import_module("prefect_kubernetes.jobs")
    began, cpu_began = time.monotonic(), _cpu_seconds()
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
        _cpu_seconds() - cpu_began,
        None if name == _PIPE else _peak_mb(),
    )


def _peak_mb() -> float:
    """Return this program's peak; `ru_maxrss` would count the process that started it too."""
    told = Path("/proc/self/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _measure_one(name: str, kubeconfig: str, size_mb: int, runs: int = 1) -> Cost:
    """Let a process of its own do it."""
    command = [sys.executable, "-m", "bench.transcript_memory", "--child"]
    answer = subprocess.run(
        [*command, name, kubeconfig, str(size_mb), str(runs)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return Cost(**json.loads(answer))


def measure(kubeconfig: str, contestants: Sequence[str], size_mb: int) -> Table:
    """Measure 1 MB and `size_mb` MB of each, and many runs of ours in one process."""
    peers = {_PIPE: KUBECTL in contestants, BLOCK_SHORTEST: BLOCK_SHORTEST in contestants}
    names = [OWN, *(name for name, is_there in peers.items() if is_there)]
    asyncio.run(_set_rotation(kubeconfig, _UNROTATED))
    try:
        costs = {
            (name, size): _measure_one(name, kubeconfig, size)
            for size in (1, size_mb)
            for name in names
        }
        many = _measure_one(OWN, kubeconfig, 1, _RUNS)
    finally:
        asyncio.run(_set_rotation(kubeconfig, _ROTATED))
    own = costs[OWN, size_mb]
    floor = costs.get((_PIPE, size_mb))
    rows = [_row(f"{name}, {size} MB", cost, floor) for (name, size), cost in costs.items()]
    rows.append(_row(f"{OWN}, {_RUNS} runs of 1 MB at once", many, floor))
    alone_mb = costs[OWN, 1].peak_mb or 0.0
    growth = (own.peak_mb or 0.0) - alone_mb
    per_run = ((many.peak_mb or 0.0) - alone_mb) / (_RUNS - 1)
    cpu = own.cpu_ms_per_mb / floor.cpu_ms_per_mb if floor else None
    return Table(
        "(e) memory and CPU of following a transcript",
        ("", "s", "CPU s", "CPU ms per MB", "ratio", "peak MB"),
        tuple(rows),
        (
            Goal(f"our growth from 1 to {size_mb} MB", growth, _GROWTH_MB_MAX, "MB"),
            Goal("ours for each more run at once", per_run, _RUN_MB_MAX, "MB"),
            Goal("our CPU per MB, compared with the pipe's", cpu, _CPU_RATIO_MAX, "×"),
        ),
        name_gaps(contestants),
    )


def _row(name: str, cost: Cost, floor: Cost | None) -> tuple[str, ...]:
    figures = (cost.seconds, cost.cpu_seconds, cost.cpu_ms_per_mb)
    compared = ratio(cost.cpu_ms_per_mb, floor.cpu_ms_per_mb if floor else None)
    peak = NOT_MEASURED if cost.peak_mb is None else render_number(cost.peak_mb)
    return (name, *map(render_number, figures), compared, peak)


async def _set_rotation(kubeconfig: str, settings: dict[str, int]) -> None:
    async with namespace_of_own(kubeconfig) as (client, _):
        if await makes_faults(client):
            await client.request("PUT", "/_faults/settings", body=settings)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE_MB, metavar="MB", help="of the larger")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        name, kubeconfig, size_mb, runs = asked.child
        cost = asyncio.run(_follow(name, kubeconfig, int(size_mb), int(runs)))
        sys.stdout.write(json.dumps(asdict(cost)) + "\n")
        return 0
    with cluster() as kubeconfig:
        return show(measure(kubeconfig, installed_contestants(), asked.size))


if __name__ == "__main__":
    sys.exit(main())
