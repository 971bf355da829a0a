"""The flow under a runner: deployed with `serve()`, started and stopped through Prefect's API."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import COLLECTED_SECONDS, LiveProcess, holder_of, jobs_of
from tests.main_job.conftest import Traces, wait_until
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
SERVE = """
from prefect.types.entrypoint import EntrypointType
from flows.run_agent import run_agent
run_agent.serve("engine", pause_on_shutdown=False, entrypoint_type=EntrypointType.MODULE_PATH)
"""
SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "1.5"}
READY = "Claude Code ready"
GRACE_SECONDS = 10
SLACK_SECONDS = 10  # what a busy machine may add to the bounds that are promised
BuildRequest = Callable[..., dict[str, Any]]


class Deployment:
    """The deployed flow."""

    def __init__(self, server: PrefectServer, process: LiveProcess) -> None:
        self._server = server
        self._process = process
        [found] = server.post(
            "/deployments/filter", {"deployments": {"name": {"any_": ["engine"]}}}
        )
        self._id = found["id"]

    def run(self, request: dict[str, Any]) -> str:
        """Start a run as the UI does; returns its id when the agent talks."""
        body = {"parameters": {"request": request}, "state": {"type": "SCHEDULED"}}
        flow_run_id = self._server.post(f"/deployments/{self._id}/create_flow_run", body)["id"]
        self.wait_for_log(flow_run_id, READY)
        return flow_run_id

    def set_state(self, flow_run_id: str, kind: str, name: str, *, force: bool = False) -> None:
        body = {"state": {"type": kind, "name": name}, "force": force}
        self._server.post(f"/flow_runs/{flow_run_id}/set_state", body)

    def state(self, flow_run_id: str) -> dict[str, Any]:
        return self._server.flow_run(flow_run_id)["state"]

    def wait_for_log(self, flow_run_id: str, text: str) -> None:
        self._wait_until(flow_run_id, lambda: text in self._server.logs(flow_run_id), 60)

    def wait_for_state(self, flow_run_id: str, kind: str, seconds: float = 45) -> None:
        self._wait_until(flow_run_id, lambda: self.state(flow_run_id)["type"] == kind, seconds)

    def _wait_until(self, flow_run_id: str, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.state(flow_run_id)}\n{self._server.logs(flow_run_id)}\n"
                    f"{self._process.output}"
                )
            # Each look costs the server's database something.
            time.sleep(0.5)

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


@pytest.fixture(scope="module")
def deployment(prefect_server: PrefectServer, cluster_kubeconfig: str) -> Iterator[Deployment]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=ROOT,
        env={
            **os.environ,
            "KUBECONFIG": cluster_kubeconfig,
            "PREFECT_API_URL": prefect_server.api_url,
            "PREFECT_HOME": str(prefect_server.home),
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
        yield Deployment(prefect_server, live)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        live.wait()
        process.communicate()


def stored_result(storage: Path, agent_id: str, flow_run_id: str) -> dict[str, Any]:
    return json.loads((storage / agent_id / flow_run_id / "1" / "result.json").read_bytes())


def test_cancelled_run_ends_its_agent_with_grace(
    deployment: Deployment,
    prefect_server: PrefectServer,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(
        replay_image,
        env={**SLOW, "REPLAY_TERM_SECONDS": "2"},
        runtime={"limits": {"termination_grace_seconds": GRACE_SECONDS}},
        task_id="T-1",
    )
    agent_id = request["agent"]["agent_id"]
    flow_run_id = deployment.run(request)

    cancelled_at, cancelled_time = time.monotonic(), datetime.now(UTC)
    deployment.set_state(flow_run_id, "CANCELLING", "Cancelling")

    within = GRACE_SECONDS + SLACK_SECONDS
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), within + 15)
    deployment.wait_for_state(
        flow_run_id, "CANCELLED", within + 30 - (time.monotonic() - cancelled_at)
    )
    result = stored_result(storage, agent_id, flow_run_id)
    assert (result["error_code"], result["exit_code"]) == ("cancelled", 143)
    # The run script's trap ran, and waited for the agent's: only it prints the trailer.
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] >= 1
    took = datetime.fromisoformat(result["timings"]["agent_ended_at"]) - cancelled_time
    assert 1 <= took.total_seconds() < within + 3
    assert not holder_of(traces, agents_namespace, agent_id)
    logs = prefect_server.logs(flow_run_id)
    assert "The run is being cancelled: deleting Job" in logs
    assert "The cancelled run left" not in logs
    stages = {run["name"].rpartition("-")[0] for run in prefect_server.task_runs(flow_run_id)}
    assert stages >= {"Guard", "Create Job", "Wait for pod", "Stop agent", "Result", "Report"}


def test_terminated_run_leaves_its_agent_and_takes_it_up_when_rescheduled(
    deployment: Deployment,
    prefect_server: PrefectServer,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(replay_image, env=SLOW)
    agent_id = request["agent"]["agent_id"]
    flow_run_id = deployment.run(request)

    os.kill(deployment.engine(), signal.SIGTERM)

    deployment.wait_for_state(flow_run_id, "CRASHED")
    [job] = jobs_of(traces, agents_namespace, agent_id)
    assert "deletionTimestamp" not in job["metadata"]
    assert job["status"].get("active") == 1
    assert not holder_of(traces, agents_namespace, agent_id)

    deployment.set_state(flow_run_id, "SCHEDULED", "AwaitingRetry", force=True)

    deployment.wait_for_state(flow_run_id, "COMPLETED", 60)
    result = stored_result(storage, agent_id, flow_run_id)
    assert (result["attempt"], result["reattached_from"]) == (1, None)
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] == 17
    assert len(jobs_of(traces, agents_namespace, agent_id)) == 1
    assert "is this flow run's own" in prefect_server.logs(flow_run_id)


def test_hook_deletes_the_job_of_a_cancelled_run_whose_process_was_killed(
    deployment: Deployment,
    prefect_server: PrefectServer,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env={**SLOW, "REPLAY_LINE_DELAY_SECONDS": "5"})
    agent_id = request["agent"]["agent_id"]
    flow_run_id = deployment.run(request)
    engine = deployment.engine()
    # Stopped first, so that it cannot act on the cancellation before it is killed.
    os.kill(engine, signal.SIGSTOP)

    deployment.set_state(flow_run_id, "CANCELLING", "Cancelling")
    time.sleep(3)
    os.kill(engine, signal.SIGKILL)

    deployment.wait_for_state(flow_run_id, "CANCELLED", 60)
    deployment.wait_for_log(flow_run_id, f"The cancelled run left Job {agents_namespace}/")
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), COLLECTED_SECONDS)
