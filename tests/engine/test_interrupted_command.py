"""`claude-jobs run` that is told to stop: by Ctrl-C once and twice, and by SIGTERM."""

import gzip
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import COLLECTED_SECONDS, LiveProcess, flow_run_of, holder_of, jobs_of
from tests.main_job.conftest import Traces
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240)]

SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "2"}
STREAMING = "Claude Code ready"
BuildRequest = Callable[..., dict[str, Any]]
StartCli = Callable[..., LiveProcess]


def test_first_interrupt_ends_the_agent_and_keeps_what_it_did(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(replay_image, env=SLOW)
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)

    live.signal(signal.SIGINT)

    assert live.wait() == 130, live.output
    result = json.loads(live.last_line)
    assert result["error_code"] == "cancelled"
    assert result["exit_code"] == 143
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] >= 1
    stored = gzip.decompress((storage / result["transcript"]["storage_key"]).read_bytes())
    assert stored.count(b"\n") == result["transcript"]["lines"]
    [kept] = storage.glob(f"*/{result['flow_run_id']}/1/result.json")
    assert json.loads(kept.read_bytes())["error_code"] == "cancelled"
    state = prefect_server.flow_run(result["flow_run_id"])["state"]
    assert (state["type"], state["message"]) == ("CANCELLED", result["message"])
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), COLLECTED_SECONDS)
    assert not holder_of(traces, agents_namespace, agent_id)


def test_second_interrupt_leaves_the_job_that_is_being_deleted(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env={**SLOW, "REPLAY_TERM_SECONDS": "5"})
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)

    live.signal(signal.SIGINT)
    live.wait_for("deleting Job")
    live.signal(signal.SIGINT)

    assert live.wait(20) == 130, live.output
    assert "is being deleted. Its agent has its grace period" in live.output
    assert "Traceback" not in live.output
    assert not holder_of(traces, agents_namespace, agent_id)
    assert prefect_server.flow_run(flow_run_id)["state"]["type"] in {"CRASHED", "CANCELLED"}


def test_interrupt_before_the_pod_runs_starts_nothing(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, runtime={"node_selector": {"nowhere": "to-be-found"}})
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    wait_until(lambda: bool(jobs_of(traces, agents_namespace, agent_id)), 40)

    live.signal(signal.SIGINT)

    assert live.wait() == 130, live.output
    result = json.loads(live.last_line)
    assert result["error_code"] == "cancelled"
    assert prefect_server.flow_run(result["flow_run_id"])["state"]["type"] == "CANCELLED"
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), COLLECTED_SECONDS)
    assert not holder_of(traces, agents_namespace, agent_id)


def test_termination_leaves_the_job_to_the_next_run(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=SLOW, task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)

    live.signal(signal.SIGTERM)

    assert live.wait(20) == 143, live.output
    assert "keeps running" in live.output
    assert "Traceback" not in live.output
    [job] = jobs_of(traces, agents_namespace, agent_id)
    assert "deletionTimestamp" not in job["metadata"]
    assert job["status"].get("active") == 1
    assert not holder_of(traces, agents_namespace, agent_id)
    assert prefect_server.flow_run(flow_run_id)["state"]["type"] == "CRASHED"


@pytest.mark.slice
@pytest.mark.waits(25)
def test_run_that_nobody_watches_notices_its_cancellation_itself(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    # The agent works for longer than a busy machine needs to notice.
    request = build_request(replay_image, env={**SLOW, "REPLAY_LINE_DELAY_SECONDS": "6"})
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)

    state = {"type": "CANCELLING", "name": "Cancelling"}
    prefect_server.post(f"/flow_runs/{flow_run_id}/set_state", {"state": state})

    # It asks every 10 s; the pod takes a few to go.
    assert live.wait(80) == 130, live.output
    assert json.loads(live.last_line)["error_code"] == "cancelled"
    assert prefect_server.flow_run(flow_run_id)["state"]["type"] == "CANCELLED"
    wait_until(lambda: not jobs_of(traces, agents_namespace, agent_id), COLLECTED_SECONDS)
    assert not holder_of(traces, agents_namespace, agent_id)
