"""How long the run script takes for a megabyte, by the length of its lines and who numbers them.

    python -m bench.line_length [--full]

Needs no cluster: the script itself, with the shells and awks that are installed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import NOT_MEASURED, Goal, Table, median, ratio, render_number
from bench.surroundings import show
from tests.run_script.script_run import TOOL_SETS, ScriptRun, ToolSet, take_apart

MEGABYTE = 1_000_000
LONGEST_MEGABYTES = 70
LONGEST_GOAL_SECONDS = 60
GROWTH_GOAL = 4
_PEER, _MAWK_ALONE = "cat, wc", "mawk -W interactive alone"
_MAWK_LONGEST = 10 * MEGABYTE
"""Ten times as much would take it a hundred times as long."""


@dataclass(frozen=True)
class Extent:
    """How much is measured: lengths of lines in bytes, and how often each in turn."""

    lengths: tuple[int, ...]
    rounds: int


SUBSET = Extent((100, 10_000, MEGABYTE, 5 * MEGABYTE), 1)
FULL = Extent((100, 10_000, MEGABYTE, 10 * MEGABYTE, LONGEST_MEGABYTES * MEGABYTE), 3)

_TakesSeconds = Callable[[Path], float]


def _by_run_script(tools: ToolSet) -> _TakesSeconds:
    def take(output: Path) -> float:
        with tempfile.TemporaryDirectory() as directory:
            run = ScriptRun(tools, Path(directory))
            try:
                began_at = time.perf_counter()
                process = run.start("cat", str(output))
                raw, _ = process.communicate()
                seconds = time.perf_counter() - began_at
                printed = take_apart(raw, process.returncode)
            finally:
                run.close()
        if sum(map(len, printed.payloads)) + len(printed.payloads) != output.stat().st_size:
            raise RuntimeError(f"{tools.name}: not all of {output.name} arrived")
        return seconds

    return take


def _by_pipe(command: str) -> _TakesSeconds:
    def take(output: Path) -> float:
        began_at = time.perf_counter()
        subprocess.run(["sh", "-c", command, "sh", str(output)], stdout=subprocess.PIPE, check=True)
        return time.perf_counter() - began_at

    return take


def _contestants() -> dict[str, _TakesSeconds]:
    found: dict[str, _TakesSeconds] = {_PEER: _by_pipe('cat "$1" | wc')}
    if shutil.which("mawk"):
        program = "{ print NR, length($0), $0; fflush() }"
        found[_MAWK_ALONE] = _by_pipe(f"cat \"$1\" | mawk -W interactive '{program}'")
    for tools in TOOL_SETS:
        if all(map(shutil.which, tools.programs)):
            found[f"script, {tools.name}"] = _by_run_script(tools)
    return found


def measure(extent: Extent = SUBSET) -> Table:
    """Take everybody in turn for each length; 5 MB or one line, whichever is more."""
    who = _contestants()
    taken: dict[str, dict[int, float]] = {name: {} for name in who}
    with tempfile.TemporaryDirectory() as directory:
        for length in extent.lengths:
            output = Path(directory) / f"{length}-bytes-a-line"
            lines = max(1, 5 * MEGABYTE // length)
            output.write_bytes((b"x" * (length - 1) + b"\n") * lines)
            samples: dict[str, list[float]] = {name: [] for name in who}
            for _ in range(extent.rounds):
                for name, take in who.items():
                    if name != _MAWK_ALONE or length <= _MAWK_LONGEST:
                        samples[name].append(take(output))
            for name, seconds in samples.items():
                if seconds:
                    taken[name][length] = median(seconds)
            output.unlink()
    return _table(taken, extent.lengths)


def _table(taken: dict[str, dict[int, float]], lengths: Sequence[int]) -> Table:
    def cell(name: str, length: int) -> str:
        if length not in taken[name]:
            return NOT_MEASURED
        megabytes = max(length, 5 * MEGABYTE) / MEGABYTE
        milliseconds = taken[name][length] * 1000 / megabytes
        return f"{render_number(milliseconds)} ({ratio(taken[name][length], taken[_PEER][length])})"

    rows = tuple((name, *(cell(name, length) for length in lengths)) for name in taken)
    scripts = [seconds for name, seconds in taken.items() if name.startswith("script")]
    longest = lengths[-1]
    growth = max(
        (seconds[longest] / max(longest, 5 * MEGABYTE)) / (seconds[MEGABYTE] / (5 * MEGABYTE))
        for seconds in scripts
    )
    whole = LONGEST_MEGABYTES * MEGABYTE
    slowest = max(seconds[whole] for seconds in scripts) if whole in lengths else None
    return Table(
        "(i) the run script by line length, ms for a megabyte, and compared with its peer",
        ("", *(f"{length:,} bytes a line" for length in lengths)),
        rows,
        (
            Goal("a line of 70 MB, whoever numbers", slowest, LONGEST_GOAL_SECONDS, "s"),
            Goal(
                f"a megabyte of {longest:,} bytes a line to one of {MEGABYTE:,}, the worst",
                growth,
                GROWTH_GOAL,
                "×",
            ),
        ),
        ("The script's start and end are included.",),
    )


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="70 MB in one line too, three rounds")
    return show(measure(FULL if parser.parse_args().full else SUBSET))


if __name__ == "__main__":
    sys.exit(main())
