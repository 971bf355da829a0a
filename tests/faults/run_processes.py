"""Processes that carry out runs: starting, stopping, killing them, and how they ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.embedded.local_api import ROOT
from tests.embedded_cluster import REPLAY_IMAGE
from tests.main_job.conftest import SMALL
from tests.waits import wait_until


@dataclass(frozen=True)
class RunProcess:
    """One process that carries out one run."""

    pid: int
    flow_run_id: str
    base: Path

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """End it as a lost machine would, and wait until it is no more."""
        self.signal(signal.SIGKILL)
        wait_until(
            lambda: not self.is_alive,
            10,
            pause_seconds=0.01,
            describe=lambda: f"process {self.pid} cannot be killed",
        )

    @property
    def is_alive(self) -> bool:
        """Whether there is such a process, stopped or not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def outcome(self) -> dict[str, Any] | None:
        """How the run ended; `None` while it goes on, and for ever if it was killed."""
        path = self.base.with_suffix(".json")
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def log(self) -> str:
        """What it has said."""
        path = self.base.with_suffix(".log")
        return path.read_text() if path.exists() else ""

    def wait(self, seconds: float) -> dict[str, Any]:
        """Return how it ended."""
        deadline = time.monotonic() + seconds
        while (outcome := self.outcome) is None:
            assert time.monotonic() < deadline, f"no end within {seconds:g} s:\n{self.log}"
            assert self.is_alive or self.outcome, f"it is gone without an outcome:\n{self.log}"
            time.sleep(0.05)
        return outcome


class RunHost:
    """The process that forks runs."""

    def __init__(self, kubeconfig: Path, prefect_api_url: str, folder: Path) -> None:
        self.folder = folder
        self._kubeconfig = kubeconfig
        self._lock = threading.Lock()
        self._log = (folder / "host.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.run_host"],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": prefect_api_url, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        assert self._answer() == "ready", (folder / "host.log").read_text()

    def start(
        self,
        request: dict[str, Any],
        flow_run_id: str | None = None,
        *,
        until: str = "ended",
        begins_at: float = 0.0,
    ) -> RunProcess:
        """Start a run; one of the given flow run, else of a new one."""
        name, flow_run_id = f"run-{uuid.uuid4().hex[:8]}", flow_run_id or str(uuid.uuid4())
        order = {
            "name": name,
            "folder": str(self.folder),
            "kubeconfig": str(self._kubeconfig),
            "flow_run_id": flow_run_id,
            "request": request,
            "until": until,
            "begins_at": begins_at,
        }
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return RunProcess(int(self._answer()), flow_run_id, self.folder / name)

    def end(self) -> None:
        """Kill it with all of its runs."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._log.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def request_for(
    agent_id: str,
    namespace: str,
    storage: Path,
    *,
    prompt: str = "Say hello.",
    line_delay_seconds: float = 0.0,
    image: str = REPLAY_IMAGE,
) -> dict[str, Any]:
    """Return a request whose agent replays the recording `tools` (17 lines)."""
    return {
        "agent": {"agent_id": agent_id},
        "task_id": "T-1",
        "prompt": prompt,
        "env": {
            "REPLAY_TRANSCRIPT": "tools",
            "REPLAY_LINE_DELAY_SECONDS": str(line_delay_seconds),
        },
        "runtime": {
            "image": image,
            "namespace": namespace,
            "resources": SMALL,
            "limits": {"termination_grace_seconds": 5},
            "retention": {"harvested_seconds": 1, "kept_failure_seconds": 1},
            "result_storage": str(storage),
        },
    }
