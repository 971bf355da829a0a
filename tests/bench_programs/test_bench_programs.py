import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.stem
    for path in (CHECKOUT / "bench").glob("*.py")
    if "def main()" in path.read_text() and path.stem != "__main__"
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("program", ["bench", *(f"bench.{name}" for name in PROGRAMS)])
def test_program_can_be_started(program: str) -> None:
    done = _run(program, "--help")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_program_measures_on_an_embedded_cluster_and_prints_its_goals() -> None:
    done = _run("bench.guard_cost", "--sizes", "10", "20")

    # A busy machine may miss a goal of time.
    assert done.returncode in {0, 1}, done.stderr
    assert "| claude-jobs, 20 Jobs " in done.stdout
    assert "met – requests of a look, however many Jobs: at most 2, measured 2" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(180)
def test_program_without_a_cluster_measures() -> None:
    done = _run("bench.parse_speed", "--rounds", "1")

    assert done.returncode == 0, done.stderr
    assert "small lines (1 KB), and rendered" in done.stdout
