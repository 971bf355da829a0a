"""The table of all agents, as runs that come and go keep it in Prefect."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.main_job.conftest import CliRun
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(200), pytest.mark.waits(40)]

SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "1"}


def _read(server: PrefectServer, namespace: str) -> dict[str, dict[str, str]]:
    """Return the rows of the table by agent."""
    wanted = {"artifacts": {"key": {"any_": [f"agents-{namespace}"]}}}
    found = server.post("/artifacts/latest/filter", wanted)
    rows: list[dict[str, str]] = json.loads(found[0]["data"]) if found else []
    return {row["agent"]: row for row in rows}


@pytest.mark.slice
def test_two_runs_at_once_are_both_shown_at_work_and_ended(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
) -> None:
    requests = [build_request(replay_image, env=SLOW) for _ in range(2)]
    agents = [request["agent"]["agent_id"] for request in requests]
    started = [start_cli(request) for request in requests]

    def states() -> list[str]:
        rows = _read(prefect_server, agents_namespace)
        return [rows[agent]["state"] for agent in agents if agent in rows]

    wait_until(lambda: [state[:13] for state in states()] == ["working since"] * 2, 60)
    ended = [CliRun(0, process.communicate(timeout=100)[0]) for process in started]

    rows = _read(prefect_server, agents_namespace)
    for agent, run in zip(agents, ended, strict=True):
        row, cost = rows[agent], f"${run.result['cost_usd']:.4f}"
        assert (row["state"], row["last outcome"]) == ("idle", "Succeeded")
        assert (row["cost today"], row["cost this month"], row["paused"]) == (cost, cost, "")
    wanted = {"artifacts": {"key": {"any_": [f"agents-{agents_namespace}"]}}}
    # At most one of each writer, however often they wrote.
    assert 1 <= len(prefect_server.post("/artifacts/filter", wanted)) <= len(agents)


def test_table_costs_a_run_nothing_where_it_cannot_be_kept(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
) -> None:
    """Without the permission to list Leases, as in a Role of an earlier version."""
    verbs = {
        "coordination.k8s.io": [(["leases"], ["get", "create", "update"])],
        "batch": [(["jobs"], ["get", "list", "watch", "create", "patch", "delete"])],
        "": [
            (["pods"], ["list", "watch"]),
            (["pods/log"], ["get"]),
            (["pods/exec"], ["get", "create"]),
            (["secrets"], ["get", "create"]),
            (["events"], ["list"]),
        ],
    }
    token = token_allowed(
        *(
            {"apiGroups": [group], "resources": resources, "verbs": allowed}
            for group, rules in verbs.items()
            for resources, allowed in rules
        )
    )
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "tools"})

    ended = run_cli(request, "--kubeconfig", kubeconfig(token=token))

    assert ended.exit_code == 0, ended.output
    assert request["agent"]["agent_id"] not in _read(prefect_server, agents_namespace)
