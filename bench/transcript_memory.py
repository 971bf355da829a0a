"""Peak memory of a process that follows, sums up and renders a transcript, by its size.

    python -m bench.transcript_memory

Every size is followed by a process of its own, since a peak never falls.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Claim, conclude, print_row
from bench.surroundings import cluster, namespace_of_own
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.line_grammar import StdoutLine
from tasks.claude_code.log_records import RecordBuffer
from tasks.claude_code.rendering import render_event
from tasks.claude_code.session_summary import SessionState
from tests.cluster.scripted_agent import AgentFollow, start_agent

_LINE_BYTES = 1_000
_SIZES_MB = (1, 200)
_GROWTH_MB_MAX = 20.0
# An assistant's message, as long as a line shall be, again and again.
_PROGRAM = r"""BEGIN {
  head = "{\"type\":\"assistant\",\"message\":{\"content\":["
  head = head "{\"type\":\"text\",\"text\":\""
  text = "x"; while (length(text) < size) text = text text
  line = head substr(text, 1, size) "\"}]}}"
  for (i = 0; i < lines; i++) print line
}"""
_TEXT_BYTES = _LINE_BYTES - 80
_SETTINGS = {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "120"}  # what is rotated away is in the pod


class Sink:
    """Does with the lines what a run does, but for telling anybody."""

    def __init__(self) -> None:
        self.session = SessionState()
        self.records = RecordBuffer()

    async def take(self, lines: Sequence[StdoutLine]) -> None:
        """Sum up and render."""
        for line in lines:
            event = parse_event_leniently(line.payload)
            self.session.apply(event)
            for rendered in render_event(event):
                self.records.add(rendered.text, time.monotonic())


async def follow(kubeconfig: str, size_mb: int) -> None:
    """Follow one transcript to its end; print its size, the time and the peak in KiB."""
    lines = size_mb * 1_000_000 // _LINE_BYTES
    command = f"awk -v size={_TEXT_BYTES} -v lines={lines} '{_PROGRAM}'"
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        async with namespace_of_own(kubeconfig) as (client, namespace):
            pod = await start_agent(client, namespace, command, _SETTINGS)
            sink = Sink()
            follow = AgentFollow(client, namespace, pod, spool, keeps_lines=False, taker=sink.take)
            followed = await follow.follow()
        assert followed.proof.complete is True, followed
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sys.stdout.write(f"{spool.stat().st_size} {time.monotonic() - began} {peak_kib}\n")


def measure(kubeconfig: str, size_mb: int) -> float:
    """Return the peak in MB of a process that follows so much, and print the row."""
    command = [sys.executable, "-m", "bench.transcript_memory", "--child", kubeconfig]
    answer = subprocess.run(
        [*command, str(size_mb)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    size, seconds, peak_kib = (float(word) for word in answer.split())
    peak = peak_kib * 1024 / 1e6
    print_row(f"{size / 1e6:.1f} MB", f"{seconds:.1f} s", f"{peak:.1f} MB")
    return peak


def main() -> int:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, metavar=("KUBECONFIG", "MB"), help=argparse.SUPPRESS)
    child = parser.parse_args().child
    if child:
        asyncio.run(follow(child[0], int(child[1])))
        return 0
    print_row("transcript", "time", "peak")
    with cluster() as kubeconfig:
        small, large = (measure(kubeconfig, size) for size in _SIZES_MB)
    return conclude(Claim("growth of the peak", large - small, _GROWTH_MB_MAX, "MB"))


if __name__ == "__main__":
    sys.exit(main())
