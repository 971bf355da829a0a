"""`claude-jobs` as operators type it, beside runs that are at work."""

import os
import subprocess
from collections.abc import Callable, Iterator
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


@pytest.fixture
def watch_list(
    prefect_server: PrefectServer, agents_namespace: str
) -> Iterator[Callable[[], LiveProcess]]:
    """Starts `claude-jobs ls --watch` in the agents' namespace and returns at once."""
    started: list[LiveProcess] = []

    def start() -> LiveProcess:
        process = subprocess.Popen(
            [COMMAND, "ls", "--watch", "--namespace", agents_namespace],
            env={
                **os.environ,
                "PREFECT_API_URL": prefect_server.api_url,
                "PREFECT_HOME": str(prefect_server.home),
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(LiveProcess(process))
        return started[-1]

    yield start
    for live in started:
        live.end()
        live.process.communicate()
