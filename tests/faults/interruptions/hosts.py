"""What starts the runs' processes: `serve()`, a process worker, and `prefect flow-run execute`."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.embedded.local_api import ROOT
from tests.engine.conftest import LiveProcess
from tests.waits import WaitRanOut, wait_until

PREFECT = Path(sys.executable).with_name("prefect")
POOL = "interruptions"

_SERVE = """
from prefect import serve
from tests.faults.interruptions.held_runs import ENTRYPOINT, run_agent
deployment = run_agent.to_deployment("served")
deployment.entrypoint = ENTRYPOINT
serve(deployment, pause_on_shutdown=False)
"""
_DEPLOY = """
import sys
from tests.faults.interruptions.held_runs import ENTRYPOINT, HeldFolder, run_agent
HeldFolder(folder=sys.argv[1]).save("interruptions", overwrite=True)
deployment = run_agent.to_deployment(
    "worked", work_pool_name=sys.argv[2], job_variables={"working_dir": sys.argv[3]}
)
deployment.entrypoint = ENTRYPOINT
deployment.apply()
"""


class Hosts:
    """Starts hosts, and those that a test has ended again."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {
            **os.environ,
            **environment,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self._serve: LiveProcess | None = None
        self._worker: LiveProcess | None = None
        self._started: list[LiveProcess] = []

    def deploy(self, storage: Path) -> None:
        """Make the work pool, the deployment in it, and the storage block."""
        self._run(str(PREFECT), "work-pool", "create", POOL, "--type", "process")
        self._run(sys.executable, "-c", _DEPLOY, str(storage), POOL, str(ROOT))

    def serve(self) -> LiveProcess:
        """Return the process that serves the flow."""
        if self._serve is None or self._serve.process.poll() is not None:
            self._serve = self._start([sys.executable, "-c", _SERVE])
            self._serve.wait_for("polling for scheduled runs", 90)
        return self._serve

    def worker(self) -> LiveProcess:
        """Return the process worker."""
        if self._worker is None or self._worker.process.poll() is not None:
            command = [str(PREFECT), "worker", "start", "--pool", POOL, "--type", "process"]
            self._worker = self._start(command)
            self._worker.wait_for("started!", 90)
        return self._worker

    def execute(self, flow_run_id: str, on_sigterm: str) -> LiveProcess:
        """Start what a Kubernetes worker's pod runs."""
        behaviour = {"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": on_sigterm}
        return self._start([str(PREFECT), "flow-run", "execute", flow_run_id], **behaviour)

    def end(self) -> None:
        for live in self._started:
            kill_tree(live.process.pid)
            live.wait()
            live.process.communicate()

    def _start(self, command: Sequence[str], **more: str) -> LiveProcess:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**self._environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        live = LiveProcess(process)
        self._started.append(live)
        return live

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def engine_of(parent: int) -> int:
    """Return the process that carries out the run: the innermost one that is no agent's."""
    engines = [pid for pid in descendants(parent) if _is_engine(pid)]
    assert engines, f"{parent} has no engine: {[_command(pid) for pid in descendants(parent)]}"
    return engines[-1]


def descendants(parent: int) -> list[int]:
    """Return the children of a process and theirs, parents first."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return found
    for child in children:
        found += [int(child), *descendants(int(child))]
    return found


def kill_tree(parent: int) -> None:
    """Kill a process and all of its descendants, in whatever session they are."""
    for pid in [parent, *descendants(parent)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_until_gone(pid: int, seconds: float) -> bool:
    """Tell whether a process has ended within so many seconds, or had before."""
    try:
        wait_until(lambda: _state(pid) == "Z", seconds, pause_seconds=0.05)
    except WaitRanOut:
        return False
    return True


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _is_engine(pid: int) -> bool:
    command = _command(pid)
    return "python" in command and "resource_tracker" not in command


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
