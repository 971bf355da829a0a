"""What the keeper takes beside an agent: processor and memory, on a large tree.

    python -m bench.keeper_cost [--full]

Needs no cluster: the script itself, with the shells that are installed. Compared with what one
would write by hand: `git add --all` and `git write-tree` with an index of its own, every minute.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Goal, Table, ratio, render_number
from bench.surroundings import show
from tests.keeper.kept_work import Keeper, commit_all, git

FILES = 50_000
CHANGED_FILES = 10
PERIOD_SECONDS = 60
CORE_GOAL_PERCENT = 1.0
MEMORY_GOAL_MEGABYTES = 20.0
_FILES_IN_A_FOLDER = 100
_LOOK_SECONDS = 0.05
_SETTLE_SECONDS = 10
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Extent:
    """How long each is watched: so many periods without a change, and as many with one in each."""

    shells: tuple[str, ...]
    periods: int


SUBSET = Extent(("dash",), 2)
FULL = Extent(("dash", "busybox", "bash"), 5)


@dataclass
class Cost:
    """Of a process and all that it has started.

    Attributes:
        memory_bytes: The most that they had at the same time, what they share counted once.
    """

    processor_seconds: float = 0.0
    memory_bytes: int = 0
    seconds: float = 0.0
    announced: list[bytes] = field(default_factory=list[bytes])

    @property
    def percent(self) -> float:
        """Of one core."""
        return 100 * self.processor_seconds / self.seconds

    @property
    def megabytes(self) -> float:
        """The most memory."""
        return self.memory_bytes / 1e6


def _fill(keeper: Keeper) -> None:
    """Make the clone of a repository with many files."""
    keeper.clone({"README": b"base\n"})
    for number in range(FILES):
        path = keeper.tree / f"folder-{number // _FILES_IN_A_FOLDER}" / f"file-{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"number = {number}\n".encode() * 50)
    (keeper.dir / "base").write_text(f"{commit_all(keeper.tree)}\n")


def _change(tree: Path, period: int) -> None:
    for number in range(CHANGED_FILES):
        at = (period * CHANGED_FILES + number) * 37 % FILES
        path = tree / f"folder-{at // _FILES_IN_A_FOLDER}" / f"file-{at}.py"
        path.write_bytes(f"changed = {period}\n".encode() * 50)


def _used_seconds(process_id: int) -> float:
    """Return the processor time of a process and of all children it has waited for."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _memory_of_group(group: int) -> int:
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                rollup = (process / "smaps_rollup").read_text()
                total += 1024 * int(rollup.partition("Pss:")[2].split()[0])
    return total


@contextmanager
def _watched(process_id: int) -> Generator[Cost]:
    """Measure what the process and its group take during the block."""
    cost, done = Cost(), threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            cost.memory_bytes = max(cost.memory_bytes, _memory_of_group(process_id))

    looking = threading.Thread(target=look)
    used, began_at = _used_seconds(process_id), time.monotonic()
    looking.start()
    try:
        yield cost
    finally:
        done.set()
        looking.join()
        cost.seconds = time.monotonic() - began_at
        cost.processor_seconds = _used_seconds(process_id) - used


def _stay_alive(keeper: Keeper, seconds: float) -> None:
    """Be the agent that works for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        keeper.alive.write_text(f"{int(time.time())}\n")
        time.sleep(1)


def _measure_keeper(keeper: Keeper, periods: int) -> tuple[Cost, Cost]:
    """Return what it takes while nothing changes, and while some files do in each period."""
    keeper.alive.write_text(f"{int(time.time())}\n")
    process = keeper.start(CLAUDE_JOBS_KEEPER_CHECKPOINT_SECONDS=str(PERIOD_SECONDS))
    # The first look reads all files once, for an index that is kept.
    _stay_alive(keeper, PERIOD_SECONDS + _SETTLE_SECONDS)
    with _watched(process.pid) as unchanged:
        _stay_alive(keeper, periods * PERIOD_SECONDS)
    with _watched(process.pid) as changing:
        for period in range(periods):
            _change(keeper.tree, period)
            _stay_alive(keeper, PERIOD_SECONDS)
    keeper.run("finish")
    stdout, _ = process.communicate(timeout=60)
    changing.announced = stdout.splitlines()
    return unchanged, changing


def _measure_by_hand(keeper: Keeper, periods: int) -> Cost:
    """Return what plain git takes for the same changes, the first look not counted."""
    script = 'export GIT_INDEX_FILE="$1"; git add --all && git write-tree >/dev/null'
    loop = f"while read -r _; do {script}; echo; done"
    process = subprocess.Popen(
        ["sh", "-c", loop, "sh", str(keeper.folder / "index")],
        cwd=keeper.tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "HOME": str(keeper.folder)},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def once() -> None:
        process.stdin.write(b"\n")  # pyright: ignore[reportOptionalMemberAccess] # asserted above
        process.stdin.flush()  # pyright: ignore[reportOptionalMemberAccess] # as above
        process.stdout.readline()  # pyright: ignore[reportOptionalMemberAccess] # as above

    once()
    with _watched(process.pid) as cost:
        for period in range(periods):
            _change(keeper.tree, periods + period)
            once()
    process.stdin.close()
    process.wait()
    cost.seconds = periods * PERIOD_SECONDS
    return cost


def measure(extent: Extent = SUBSET) -> Table:
    """Watch the keeper of each shell, and plain git, on the same kind of tree."""
    rows: list[tuple[str, Cost]] = []
    kept: list[Cost] = []
    for shell in (name for name in extent.shells if shutil.which(name)):
        with tempfile.TemporaryDirectory() as directory:
            keeper = Keeper(shell, Path(directory), limit_bytes=256 * 1024 * 1024)
            try:
                _fill(keeper)
                unchanged, changing = _measure_keeper(keeper, extent.periods)
                if len(changing.announced) < extent.periods:
                    raise RuntimeError(f"{shell}: only {len(changing.announced)} checkpoints came")
                kept += [unchanged, changing]
                rows.append((f"keeper, {shell}, nothing changes", unchanged))
                rows.append((f"keeper, {shell}, {CHANGED_FILES} files a minute", changing))
                if not any(name.startswith("git") for name, _ in rows):
                    git(keeper.tree, "status", "--short")
                    by_hand = _measure_by_hand(keeper, extent.periods)
                    rows.append((f"git by hand, {CHANGED_FILES} files a minute", by_hand))
            finally:
                keeper.close()
    [peer] = [cost for name, cost in rows if name.startswith("git")]
    return Table(
        f"(j) the keeper beside an agent, {FILES:,} files, a look every {PERIOD_SECONDS} s",
        ("", "of a core, %", "compared", "memory at most, MB", "compared"),
        tuple(
            (
                name,
                render_number(cost.percent),
                ratio(cost.percent, peer.percent),
                render_number(cost.megabytes),
                ratio(cost.megabytes, peer.megabytes),
            )
            for name, cost in rows
        ),
        (
            Goal("processor", max(cost.percent for cost in kept), CORE_GOAL_PERCENT, "%"),
            Goal("memory", max(cost.megabytes for cost in kept), MEMORY_GOAL_MEGABYTES, "MB"),
        ),
        (
            "The first look, which reads all files once, is not included.",
            "Memory is the proportional set size of all its processes together.",
        ),
    )


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all shells, five minutes of each")
    return show(measure(FULL if parser.parse_args().full else SUBSET))


if __name__ == "__main__":
    sys.exit(main())
