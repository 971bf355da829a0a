"""The flow as something deployed: a process that starts its runs, and Prefect's API for them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine.conftest import LiveProcess
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

ROOT = Path(__file__).parents[2]
READY = "Claude Code ready"


class Deployment:
    """The deployed flow, and the process that starts its runs."""

    def __init__(self, server: PrefectServer, name: str, process: LiveProcess) -> None:
        self._server = server
        self._process = process
        [found] = server.post("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        self._id = found["id"]

    def run(self, request: dict[str, Any], **fields: str) -> str:
        """Start a run as the UI does; returns its id when the agent talks."""
        body = {"parameters": {"request": request}, "state": {"type": "SCHEDULED"}, **fields}
        flow_run_id = self._server.post(f"/deployments/{self._id}/create_flow_run", body)["id"]
        self.wait_for_log(flow_run_id, READY)
        return flow_run_id

    def set_state(self, flow_run_id: str, kind: str, name: str, *, force: bool = False) -> None:
        body = {"state": {"type": kind, "name": name}, "force": force}
        self._server.post(f"/flow_runs/{flow_run_id}/set_state", body)

    def state(self, flow_run_id: str) -> dict[str, Any]:
        return self._server.flow_run(flow_run_id)["state"]

    def wait_for_log(self, flow_run_id: str, text: str) -> None:
        self._wait_until(flow_run_id, lambda: text in self._server.logs(flow_run_id), 90)

    def wait_for_state(self, flow_run_id: str, kind: str, seconds: float = 90) -> None:
        self._wait_until(flow_run_id, lambda: self.state(flow_run_id)["type"] == kind, seconds)

    def _wait_until(self, flow_run_id: str, condition: Callable[[], bool], seconds: float) -> None:
        def describe() -> str:
            logs = self._server.logs(flow_run_id)
            return f"{self.state(flow_run_id)}\n{logs}\n{self._process.output}"

        # Each look costs the server's database something.
        wait_until(condition, seconds, pause_seconds=0.5, describe=describe)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that starts the runs, not to those of the runs."""
        self._process.signal(number)

    def engine(self) -> int:
        """The process of the newest run; the runner spawns one for each."""
        served = self._process.process.pid
        children = Path(f"/proc/{served}/task/{served}/children").read_text().split()
        engines = [
            int(child)
            for child in children
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        return engines[-1]


@contextmanager
def deployed(
    server: PrefectServer, kubeconfig: str, name: str, program: str
) -> Generator[Deployment]:
    """Run a Python program that serves the flow under a name, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={
            **os.environ,
            "KUBECONFIG": kubeconfig,
            "PREFECT_API_URL": server.api_url,
            "PREFECT_HOME": str(server.home),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    live = LiveProcess(process)
    try:
        live.wait_for("polling for scheduled runs", 90)
        yield Deployment(server, name, live)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        live.wait()
        process.communicate()
