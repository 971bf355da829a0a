"""`claude-jobs` as operators type it, beside runs that are at work."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.engine.conftest import LiveProcess, agents_namespace, live_cli
from tests.main_job.conftest import (
    COMMAND,
    build_request,
    kubeconfig,
    plain,
    run_cli,
    start_cli,
    storage,
    traces,
)
from tests.prefect_server import PrefectServer

__all__ = [
    "LiveProcess",
    "agents_namespace",
    "build_request",
    "kubeconfig",
    "live_cli",
    "run_cli",
    "start_cli",
    "storage",
    "traces",
]


@dataclass(frozen=True)
class Operated:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return plain(self.stdout + self.stderr)


@pytest.fixture
def operate(prefect_server: PrefectServer, agents_namespace: str) -> Callable[..., Operated]:
    """Runs `claude-jobs ARGUMENTS` in the agents' namespace; keyword arguments are environment."""

    def run(*arguments: str, **environment: str) -> Operated:
        known: dict[str, Any] = {
            "PREFECT_API_URL": prefect_server.api_url,
            "PREFECT_HOME": str(prefect_server.home),
            "COLUMNS": "200",
        }
        found = subprocess.run(
            [COMMAND, *arguments, "--namespace", agents_namespace],
            env={**os.environ, **known, **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return Operated(found.returncode, found.stdout, found.stderr)

    return run
