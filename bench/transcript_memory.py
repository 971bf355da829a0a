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
from bench.figures import (
    NOT_MEASURED,
    Goal,
    Table,
    median,
    ratio,
    render_number,
    render_spread,
)
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
ROUNDS = 10
SUBSET_ROUNDS = 3
RUNS = (20, 200)
SUBSET_RUNS = (20,)
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


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        size_mb: Of the larger transcripts.
        rounds: Of each size, everybody in turn.
        runs: How many of ours at once, each of 1 MB.
    """

    size_mb: int
    rounds: int
    runs: tuple[int, ...]


FULL = Extent(SIZE_MB, ROUNDS, RUNS)
SUBSET = Extent(SUBSET_SIZE_MB, SUBSET_ROUNDS, SUBSET_RUNS)


def measure(kubeconfig: str, contestants: Sequence[str], extent: Extent) -> Table:
    """Measure 1 MB of ours and `size_mb` MB of each, and many runs of ours in one process."""
    peers = {_PIPE: KUBECTL in contestants, BLOCK_SHORTEST: BLOCK_SHORTEST in contestants}
    names = [OWN, *(name for name, is_there in peers.items() if is_there)]
    size_mb = extent.size_mb
    costs: dict[tuple[str, int], list[Cost]] = {}
    asyncio.run(_set_rotation(kubeconfig, _UNROTATED))
    try:
        for _ in range(extent.rounds):
            for name, size in ((OWN, 1), *((name, size_mb) for name in names)):
                cost = _measure_one(name, kubeconfig, size)
                costs.setdefault((name, size), []).append(cost)
        many, gaps = _measure_many(kubeconfig, extent.runs)
    finally:
        asyncio.run(_set_rotation(kubeconfig, _ROTATED))
    floor = costs.get((_PIPE, size_mb))
    rows = [_row(f"{name}, {size} MB", found, floor) for (name, size), found in costs.items()]
    rows += [_row(f"{OWN}, {runs} runs of 1 MB at once", [it], floor) for runs, it in many.items()]
    return Table(
        "(e) memory and CPU of following a transcript",
        ("", "n", "s", "CPU s", "CPU ms per MB", "ratio", "peak MB"),
        tuple(rows),
        _judge(costs, many, size_mb),
        (*gaps, *name_gaps(contestants)),
    )


def _measure_many(kubeconfig: str, runs: Sequence[int]) -> tuple[dict[int, Cost], list[str]]:
    """Measure so many at once, or half of them where the machine cannot; tell what it could not."""
    found: dict[int, Cost] = {}
    gaps: list[str] = []
    for asked in runs:
        count = asked
        while count > 1 and count not in found:
            try:
                found[count] = _measure_one(OWN, kubeconfig, 1, count)
            except ChildFailedError as error:
                gaps.append(f"Not measured: {error}")
                count //= 2
    return found, gaps


def _judge(
    costs: dict[tuple[str, int], list[Cost]], many: dict[int, Cost], size_mb: int
) -> tuple[Goal, ...]:
    alone, large = (median([it.peak_mb or 0.0 for it in costs[OWN, size]]) for size in (1, size_mb))
    own_cpu = median([it.cpu_ms_per_mb for it in costs[OWN, size_mb]])
    piped = [it.cpu_ms_per_mb for it in costs.get((_PIPE, size_mb), [])]
    per_run = (
        Goal(
            f"ours for each more run of {runs} at once",
            ((cost.peak_mb or 0.0) - alone) / (runs - 1),
            _RUN_MB_MAX,
            "MB",
        )
        for runs, cost in many.items()
    )
    return (
        Goal(f"our growth from 1 to {size_mb} MB", large - alone, _GROWTH_MB_MAX, "MB"),
        *per_run,
        Goal(
            "our CPU per MB, compared with the pipe's",
            own_cpu / median(piped) if piped else None,
            _CPU_RATIO_MAX,
            "×",
        ),
    )


def _row(name: str, costs: Sequence[Cost], floor: Sequence[Cost] | None) -> tuple[str, ...]:
    cpu = [it.cpu_ms_per_mb for it in costs]
    base = median([it.cpu_ms_per_mb for it in floor]) if floor else None
    peaks = [it.peak_mb for it in costs if it.peak_mb is not None]
    return (
        name,
        str(len(costs)),
        render_number(median([it.seconds for it in costs])),
        render_number(median([it.cpu_seconds for it in costs])),
        render_spread(cpu),
        ratio(median(cpu), base),
        render_spread(peaks) if peaks else NOT_MEASURED,
    )


async def _set_rotation(kubeconfig: str, settings: dict[str, int]) -> None:
    async with namespace_of_own(kubeconfig) as (client, _):
        if await makes_faults(client):
            await client.request("PUT", "/_faults/settings", body=settings)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE_MB, metavar="MB", help="of the larger")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each in turn")
    parser.add_argument("--runs", type=int, nargs="*", default=RUNS, help="of ours at once")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        name, kubeconfig, size_mb, runs = asked.child
        cost = asyncio.run(_follow(name, kubeconfig, int(size_mb), int(runs)))
        sys.stdout.write(json.dumps(asdict(cost)) + "\n")
        return 0
    with cluster() as kubeconfig:
        extent = Extent(asked.size, asked.rounds, tuple(asked.runs))
        return show(measure(kubeconfig, installed_contestants(), extent))


if __name__ == "__main__":
    sys.exit(main())
