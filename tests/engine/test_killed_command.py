"""A run whose process was killed, and the runs that find its agent."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.text.redaction import MASK
from tests.engine.conftest import LiveProcess, expire_lease, flow_run_of, holder_of, jobs_of
from tests.main_job.conftest import CliRun, Traces
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]

READY = "Claude Code ready"
BuildRequest = Callable[..., dict[str, Any]]
StartCli = Callable[..., LiveProcess]
RunCli = Callable[..., CliRun]


def slow(seconds_a_line: float) -> dict[str, str]:
    """17 lines, one every so many seconds."""
    return {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": str(seconds_a_line)}


def kill(live: LiveProcess) -> None:
    live.signal(signal.SIGKILL)
    live.wait()


def ended(live: LiveProcess, seconds: float) -> tuple[int, dict[str, Any]]:
    code = live.wait(seconds)
    return code, json.loads(live.last_line)


@pytest.mark.slice
@pytest.mark.waits(100)
def test_same_request_takes_over_the_agent_of_a_killed_run(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=slow(5.5), task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    first = live_cli(request)
    first.wait_for(READY)
    first_id = flow_run_of(traces, agents_namespace, agent_id)
    kill(first)
    killed_at = time.monotonic()
    second = live_cli(request)
    second.wait_for(READY, 80)
    assert time.monotonic() - killed_at < 75
    code, result = ended(second, 60)

    assert (code, result["error_code"]) == (0, None), second.output
    assert result["reattached_from"] == first_id
    assert result["transcript"]["complete"] is True
    assert result["transcript"]["lines"] == 17
    assert result["summary"] == "Second part of the answer: DONE."
    logs = prefect_server.logs(result["flow_run_id"])
    assert f"of flow run {first_id}: its agent works on the prompt of that run" in logs
    assert len(jobs_of(traces, agents_namespace, agent_id)) == 1
    assert not holder_of(traces, agents_namespace, agent_id)


@pytest.mark.slice
@pytest.mark.waits(45)
def test_runs_that_may_not_take_over_leave_a_live_agent_alone(
    live_cli: StartCli,
    run_cli: RunCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=slow(10), task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    first = live_cli(request)
    first.wait_for(READY)
    first_id = flow_run_of(traces, agents_namespace, agent_id)
    beside = live_cli(request)
    beside.wait_for("holds this agent's Lease")

    code, blocked = ended(beside, 60)

    assert (code, blocked["error_code"]) == (1, "k8s_concurrent_run_blocked")
    assert first_id in blocked["message"]
    assert len(jobs_of(traces, agents_namespace, agent_id)) == 1
    assert prefect_server.flow_run(blocked["flow_run_id"])["state"]["name"] == "Blocked"

    kill(first)
    expire_lease(traces, agents_namespace, agent_id)

    other = run_cli({**request, "task_id": "T-2"}).result
    unknown = run_cli({**request, "task_id": None}).result

    assert other["error_code"] == "k8s_concurrent_run_blocked"
    assert "T-1" in other["message"]
    assert unknown["error_code"] == "k8s_orphan_task_unknown"
    [job] = jobs_of(traces, agents_namespace, agent_id)
    assert job["status"].get("active") == 1
    assert "deletionTimestamp" not in job["metadata"]
    assert not holder_of(traces, agents_namespace, agent_id)


@pytest.mark.slice
@pytest.mark.waits(30)
def test_check_of_a_killed_run_is_judged_by_the_run_that_takes_over(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "ok"}, task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    key = "key-of-the-check-alone"
    check = {"command": 'sleep 15; echo "1 failed with $KEY"; exit 3', "env": {"KEY": key}}
    first = live_cli({**request, "check": check})
    first.wait_for("its check has begun")
    first_id = flow_run_of(traces, agents_namespace, agent_id)
    # Whether there is a check, the Job tells; this request has none.
    second = live_cli(request)
    second.wait_for("holds this agent's Lease")
    kill(first)
    expire_lease(traces, agents_namespace, agent_id)
    code, result = ended(second, 90)

    assert (code, result["error_code"]) == (1, "check_failed"), second.output
    assert result["reattached_from"] == first_id
    assert result["exit_code"] == 0
    assert result["check"]["exit_code"] == 3
    assert result["check"]["last_lines"] == f"1 failed with {MASK}"
    assert key not in prefect_server.logs(result["flow_run_id"])
    assert len(jobs_of(traces, agents_namespace, agent_id)) == 1


@pytest.mark.slice
@pytest.mark.waits(30)
def test_run_that_asks_for_a_check_does_not_succeed_by_a_job_without_one(
    live_cli: StartCli,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=slow(1.2), task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    first = live_cli(request)
    first.wait_for(READY)
    second = live_cli({**request, "check": {"command": "true"}})
    second.wait_for("holds this agent's Lease")
    kill(first)
    expire_lease(traces, agents_namespace, agent_id)
    code, result = ended(second, 90)

    assert (code, result["error_code"]) == (1, "check_failed"), second.output
    assert result["message"].endswith("is unknown: the Job was created without a check.")
    assert result["check"]["exit_code"] is None
    assert result["summary"] == "Second part of the answer: DONE."


@pytest.mark.slice
def test_result_of_a_killed_run_is_kept_before_the_next_one_starts(
    live_cli: StartCli,
    run_cli: RunCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(replay_image, env=slow(0.4), task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    first = live_cli(request)
    first.wait_for(READY)
    first_id = flow_run_of(traces, agents_namespace, agent_id)
    kill(first)
    expire_lease(traces, agents_namespace, agent_id)
    wait_until(lambda: bool(_job(traces, agents_namespace, agent_id)["status"].get("succeeded")))

    second = run_cli({**request, "env": {"REPLAY_TRANSCRIPT": "ok"}})

    assert second.exit_code == 0, second.output
    assert second.result["reattached_from"] is None
    [folder] = storage.glob(f"*/{first_id}/1")
    theirs = json.loads((folder / "result.json").read_bytes())
    assert (theirs["flow_run_id"], theirs["error_code"]) == (first_id, None)
    assert theirs["transcript"]["complete"] is True
    assert theirs["summary"] == "Second part of the answer: DONE."
    assert (folder / "transcript.jsonl.gz").exists()
    second_id = second.result["flow_run_id"]
    [kept] = storage.glob(f"*/{second_id}/1/result.json")
    ours = json.loads(kept.read_bytes())
    assert ours["summary"] == second.result["summary"] != theirs["summary"]
    assert f"Stored the result of flow run {first_id}" in prefect_server.logs(second_id)
    assert len(jobs_of(traces, agents_namespace, agent_id)) == 2
    assert not holder_of(traces, agents_namespace, agent_id)


@pytest.mark.slice
@pytest.mark.waits(20)
def test_cancelled_run_ends_the_agent_of_the_earlier_run_that_it_concludes(
    live_cli: StartCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(replay_image, env=slow(5), task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    first = live_cli(request)
    first.wait_for(READY)
    first_id = flow_run_of(traces, agents_namespace, agent_id)
    kill(first)
    expire_lease(traces, agents_namespace, agent_id)
    second = live_cli({**request, "prompt": "Something else."})
    # It follows the earlier run's agent, on that run's prompt, before it starts its own.
    second.wait_for(READY, 80)
    second_id = flow_run_of(traces, agents_namespace, agent_id)

    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    prefect_server.post(f"/flow_runs/{second_id}/set_state", cancelling)
    second.signal(signal.SIGTERM)
    second.wait(60)

    state = prefect_server.flow_run(second_id)["state"]
    assert (state["type"], state["message"]) == (
        "CANCELLED",
        "The run was cancelled before its own agent was started.",
    ), second.output
    wait_until(lambda: jobs_of(traces, agents_namespace, agent_id) == [], 60)
    [folder] = storage.glob(f"*/{first_id}/1")
    theirs = json.loads((folder / "result.json").read_bytes())
    assert (theirs["flow_run_id"], theirs["error_code"]) == (first_id, "cancelled")
    assert not list(storage.glob(f"*/{second_id}/*/result.json"))
    assert not holder_of(traces, agents_namespace, agent_id)


def _job(traces: Traces, namespace: str, agent_id: str) -> Any:
    [job] = jobs_of(traces, namespace, agent_id)
    return job
