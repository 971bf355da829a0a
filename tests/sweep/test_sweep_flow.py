"""The sweep as a flow: what Prefect shows of it, and how it runs by its schedule."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.prefect_server import PrefectServer
from tests.sweep.orphanage import DAYS_8, Agent, Orphanage, job, lease, secret

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(180)]

STALE = timedelta(hours=1)
AT_ONCE: dict[str, Any] = {"dry_run": False, "minimum_age_seconds": 0}
ROOT = Path(__file__).parents[2]
RUN = """
import asyncio, json, sys
from flows.sweep_orphans import sweep_orphans
from tasks.sweep.sweep_config import SweepConfig
config = SweepConfig.model_validate(json.loads(sys.argv[1]))
state = asyncio.run(sweep_orphans(config, return_state=True))
told = {"type": state.type.value, "name": state.name, "message": state.message}
print(json.dumps({**told, "flow_run_id": str(state.state_details.flow_run_id)}))
"""
# Ends, with what it has started, when its input is closed, as by the end of whoever started it. Not
# by SIGTERM: Prefect makes an exception of it, which sometimes comes where it is swallowed.
SERVE = """
import os, signal, sys, threading
from datetime import timedelta
from prefect.types.entrypoint import EntrypointType
from flows.sweep_orphans import sweep_orphans
name, namespace = sys.argv[1:]
def end_with_starter():
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_starter, daemon=True).start()
config = {"namespaces": [namespace], "dry_run": False, "minimum_age_seconds": 0}
sweep_orphans.serve(
    name,
    interval=timedelta(seconds=5),
    limit=1,
    parameters={"config": config},
    pause_on_shutdown=False,
    entrypoint_type=EntrypointType.MODULE_PATH,
)
"""


async def _run(server: PrefectServer, **config: Any) -> dict[str, Any]:
    """Run the flow in a process of its own; returns its state, with `flow_run_id`."""

    def run() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(config)],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": server.api_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return await asyncio.to_thread(run)


def _serve(
    server: PrefectServer, name: str, namespace: str, log: Path
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", SERVE, name, namespace],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": server.api_url},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _orphan(orphanage: Orphanage, state: str = "CRASHED") -> Agent:
    agent = Agent("at work")
    orphanage.tell_prefect(agent, state)
    agent.objects = [lease(agent, age=STALE), job(agent), secret(agent)]
    await orphanage.take_in([agent])
    return agent


async def _until(
    condition: Callable[[], bool], seconds: float, describe: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, describe()
        await asyncio.sleep(0.5)


async def test_orphan_fails_the_sweep_and_stands_first_in_its_table(
    orphanage: Orphanage, prefect_api: PrefectServer
) -> None:
    agent = await _orphan(orphanage)

    state = await _run(prefect_api, namespaces=[orphanage.namespace], **AT_ONCE)

    assert (state["type"], state["name"]) == ("FAILED", "Orphans found")
    assert "1 orphaned; 0 changed. 1 need a person." in state["message"]
    [table] = prefect_api.artifacts(state["flow_run_id"])
    assert (table["key"], table["type"]) == ("sweep-orphans", "table")
    assert table["description"] == state["message"]
    assert '"orphaned"' in table["data"].partition("}")[0]
    assert agent.name in table["data"].partition("}")[0]
    assert ("Job", agent.name) in await orphanage.present()
    [shown] = prefect_api.post(
        "/artifacts/latest/filter",
        {"artifacts": {"key": {"any_": [f"agents-{orphanage.namespace}"]}}},
    )
    assert [row["agent"] for row in json.loads(shown["data"])] == [agent.agent_id]
    wanted = {"filter": {"event": {"name": ["claude-jobs.sweep.found"]}}, "limit": 50}
    resource = f"claude-jobs.agent.{agent.agent_id}"

    def is_told() -> bool:
        events = prefect_api.post("/events/filter", wanted)["events"]
        return resource in {event["resource"]["prefect.resource.id"] for event in events}

    await _until(is_told, 20)


async def test_sweep_that_settles_everything_completes(
    orphanage: Orphanage, prefect_api: PrefectServer
) -> None:
    agent = Agent("idle Lease")
    agent.objects = [lease(agent, age=DAYS_8, holder="")]
    await orphanage.take_in([agent])

    state = await _run(prefect_api, namespaces=[orphanage.namespace], **AT_ONCE)

    assert (state["type"], state["name"]) == ("COMPLETED", "Completed")
    assert state["message"] == f"1 objects in {orphanage.namespace}: 1 idle; 1 changed."


@pytest.mark.slice
@pytest.mark.waits(14)
async def test_sweep_of_an_unknown_runtime_says_so(prefect_api: PrefectServer) -> None:
    state = await _run(prefect_api, runtime=f"none-{uuid.uuid4().hex[:8]}")

    assert (state["type"], state["name"]) == ("FAILED", "Invalid input")
    assert "There is no Agent Runtime block" in state["message"]


@pytest.mark.waits(25)
async def test_orphan_is_adopted_once(orphanage: Orphanage, prefect_api: PrefectServer) -> None:
    agent = Agent("at work")
    orphanage.tell_prefect(agent, "CRASHED", of_deployment=True)
    agent.objects = [lease(agent, age=STALE), job(agent), secret(agent)]
    await orphanage.take_in([agent])
    config = {"namespaces": [orphanage.namespace], "policy": {"orphaned": "adopt"}, **AT_ONCE}

    states = [await _run(prefect_api, **config) for _ in range(2)]

    assert [state["name"] for state in states] == ["Completed", "Completed"]
    [first, adopter] = orphanage.runs_of_deployment()
    assert first["id"] == agent.flow_run_id
    assert adopter["parameters"] == first["parameters"] == {"request": {"task_id": "T-1"}}
    orphanage.end_run(adopter["id"], "FAILED")

    state = await _run(prefect_api, **config)

    assert state["name"] == "Orphans found"
    assert len(orphanage.runs_of_deployment()) == 2
    assert ("Job", agent.name) in await orphanage.present()


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(360)
async def test_scheduled_sweeps_run_by_themselves(
    orphanage: Orphanage, prefect_api: PrefectServer, tmp_path: Path
) -> None:
    agent = await _orphan(orphanage, "CANCELLED")
    name = f"sweep-{uuid.uuid4().hex[:8]}"
    log = tmp_path / "serve.log"
    process = _serve(prefect_api, name, orphanage.namespace, log)
    try:
        wanted = {"deployments": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}

        def ended() -> list[Any]:
            runs = prefect_api.post("/flow_runs/filter", wanted)
            return [run for run in runs if run["state_type"] in {"COMPLETED", "FAILED"}]

        await _until(lambda: len(ended()) >= 2, 300, lambda: log.read_text())
    finally:
        process.communicate()

    first, second = ended()[:2]
    assert first["auto_scheduled"] is True
    assert "1 cancelled; 1 changed." in first["state"]["message"], log.read_text()
    assert "1 cancelled" not in second["state"]["message"]
    assert not {("Job", agent.name), ("Secret", agent.name)} & await orphanage.present()
