"""What runs have cost is recorded, keeps an agent within its day's budget, and is reported."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.storage.folder_storage import FolderStorage
from tasks.usage.usage_records import record_usage
from tests.main_job.conftest import COMMAND, CliRun, Traces
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.long, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
REPORT = """
import asyncio, json, sys
from flows.usage_report import usage_report
from tasks.usage.usage_config import parse_usage_config
config = parse_usage_config({"result_storage": sys.argv[1]})
state = asyncio.run(usage_report(config, return_state=True))
told = {"type": state.type.value, "name": state.name, "message": state.message}
print(json.dumps({**told, "flow_run_id": str(state.state_details.flow_run_id)}))
"""


@pytest.mark.slice
def test_agent_that_has_spent_its_day_is_not_started_until_midnight(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    storage: Path,
    traces: Traces,
    agents_namespace: str,
) -> None:
    request = build_request(
        replay_image,
        agent={"daily_budget_usd": 0.000001},
        runtime={"retention": {"keep": "always"}},
    )
    agent_id = request["agent"]["agent_id"]

    first = run_cli(request)
    second = run_cli(request)

    assert first.exit_code == 0, first.output
    cost = first.result["cost_usd"]
    assert cost > 0
    assert second.result["error_code"] == "claude_max_budget", second.output
    assert f"has spent ${cost:.4f} of its daily budget" in second.result["message"]
    assert "00:00 UTC" in second.result["advice"]
    jobs = [job["metadata"]["annotations"] for job in traces.jobs(agents_namespace)]
    assert [job["claude-jobs.dev/agent-id"] for job in jobs].count(agent_id) == 1


def test_usage_is_reported_and_what_cannot_be_read_is_no_empty_purse(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    storage: Path,
    prefect_server: PrefectServer,
) -> None:
    request = build_request(replay_image, agent={"daily_budget_usd": 1})
    agent_id = request["agent"]["agent_id"]
    now = datetime.now(UTC)
    cost = 0.25
    result = AgentRunResult(
        agent_id=agent_id,
        flow_run_id="run",
        message="",
        cost_usd=cost,
        timings=Timings(started_at=now, ended_at=now),
        kubernetes=KubernetesNames(namespace="agents", job_uid="uid"),
    )
    asyncio.run(record_usage(FolderStorage(storage), result))

    told = _report(prefect_server, storage)
    assert (told["type"], told["name"]) == ("COMPLETED", "Completed")
    assert f"1 Jobs of 1 agents, 1 succeeded, ${cost:.4f}" in told["message"]
    [table] = prefect_server.artifacts(told["flow_run_id"])
    assert (table["key"], table["type"]) == ("usage-report", "table")
    assert agent_id in table["data"]
    [stored] = (storage / "usage.reports").glob("*.csv")
    printed = subprocess.run(
        [COMMAND, "usage", "--csv", "--storage", storage],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert printed.stdout == stored.read_text()

    (storage / agent_id / "usage").mkdir(parents=True)  # where earlier versions kept it
    for day in (now, now + timedelta(days=1)):  # which may end while this test runs
        (storage / agent_id / "usage" / f"{day.date()}.json").write_text("broken")
    refused = run_cli(request)
    assert refused.result["error_code"] == "k8s_concurrency_guard_unreachable", refused.output
    assert "spending could not be read" in refused.result["message"]
    assert "Spending is unknown, so no agent is started." in refused.output
    told = _report(prefect_server, storage)
    assert (told["type"], told["name"]) == ("FAILED", "Usage incomplete")


def _report(server: PrefectServer, storage: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(storage)],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": server.api_url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
