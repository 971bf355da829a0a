"""A run whose console is read by nobody any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What Prefect does at the start of a run's process, then two records into a pipe without a reader.
_PROGRAM = """
import sys
from pathlib import Path
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
from flows.run.run_process import outlive_console

setup_logging()
if sys.argv[1] == "prepared":
    outlive_console()
input()
for text in ("one", "two"):
    get_logger().warning(text)
Path(sys.argv[2]).touch()
"""


@pytest.mark.parametrize(("how", "goes_on"), [("prepared", True), ("as it is", False)])
def test_run_goes_on_when_the_reader_of_its_console_is_gone(
    how: str, goes_on: bool, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, how, str(tmp_path / "end")],
        cwd=Path(__file__).parents[3],
        # The command line has Prefect say less on the console, for its own process.
        env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_LOGGING_")},
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    os.close(reader)

    process.communicate(b"\n", timeout=25)

    assert (tmp_path / "end").exists() is goes_on
