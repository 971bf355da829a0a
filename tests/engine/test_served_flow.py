"""The flow under a runner: deployed with `serve()`, started and stopped through Prefect's API."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import COLLECTED_SECONDS, holder_of, jobs_of
from tests.engine.deployments import Deployment, deployed
from tests.main_job.conftest import Traces
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240), pytest.mark.waits(20)]

SERVE = """
from prefect.types.entrypoint import EntrypointType
from flows.run_agent import run_agent
run_agent.serve("engine", pause_on_shutdown=False, entrypoint_type=EntrypointType.MODULE_PATH)
"""
SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "1.5"}
GRACE_SECONDS = 10
SLACK_SECONDS = 10  # what a busy machine may add to the bounds that are promised
BuildRequest = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def deployment(prefect_server: PrefectServer, cluster_kubeconfig: str) -> Iterator[Deployment]:
    with deployed(prefect_server, cluster_kubeconfig, "engine", SERVE) as deployment:
        yield deployment


def stored_result(storage: Path, flow_run_id: str) -> dict[str, Any]:
    [path] = storage.glob(f"*/{flow_run_id}/1/result.json")
    return json.loads(path.read_bytes())


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

    cancelled_at = datetime.now(UTC)
    deployment.set_state(flow_run_id, "CANCELLING", "Cancelling")

    within = GRACE_SECONDS + SLACK_SECONDS
    deployment.wait_for_state(flow_run_id, "CANCELLED", within + 30)
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), COLLECTED_SECONDS)
    result = stored_result(storage, flow_run_id)
    assert (result["error_code"], result["exit_code"]) == ("cancelled", 143)
    # The run script's trap ran, and waited for the agent's: only it prints the trailer.
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] >= 1
    # Where the pod was gone before its end was told, only the trailer says that it had ended.
    ended_at = result["timings"]["agent_ended_at"] or result["timings"]["ended_at"]
    took = datetime.fromisoformat(ended_at) - cancelled_at
    assert 1 <= took.total_seconds() < within + 3
    assert not holder_of(traces, agents_namespace, agent_id)
    # Prefect's runner puts a message of its own on the state; the report says what was kept.
    [report] = [
        item["data"] for item in prefect_server.artifacts(flow_run_id) if "-report-" in item["key"]
    ]
    assert result["message"].startswith("The run was cancelled in Prefect and its Job was stopped")
    assert result["message"] in report
    assert f"{result['transcript']['lines']:,} lines" in report
    assert result["advice"].split(".")[0] in report
    logs = prefect_server.logs(flow_run_id)
    assert "The run is being cancelled: deleting Job" in logs
    assert "The cancelled run left" not in logs
    awaited = {"Guard", "Create Job", "Wait for pod", "Stop agent", "Result", "Report"}
    assert awaited <= set(prefect_server.stages(flow_run_id, awaited=awaited))


@pytest.mark.slice
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

    deployment.wait_for_state(flow_run_id, "COMPLETED")
    result = stored_result(storage, flow_run_id)
    assert (result["attempt"], result["reattached_from"]) == (1, None)
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] == 17
    assert len(jobs_of(traces, agents_namespace, agent_id)) == 1
    assert "belongs to this flow run" in prefect_server.logs(flow_run_id)


@pytest.mark.slice
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

    deployment.wait_for_state(flow_run_id, "CANCELLED")
    deployment.wait_for_log(flow_run_id, f"The cancelled run left Job {agents_namespace}/")
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), COLLECTED_SECONDS)
