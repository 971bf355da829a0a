"""Python programs that run flows in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.prefect_server import PrefectServer


def run_program(program: str, told: object, server: PrefectServer) -> Any:
    """Give a program JSON on stdin, and return what its last line of stdout says in JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(told),
        env={**os.environ, "PREFECT_API_URL": server.api_url},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
