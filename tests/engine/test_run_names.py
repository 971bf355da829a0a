"""What runs are called on a real Prefect server, however they were started."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.deployments import ROOT, Deployment, deployed
from tests.main_job.conftest import CliRun
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240), pytest.mark.waits(20)]

SERVE = """
from prefect.types.entrypoint import EntrypointType
from flows.run_agent import run_agent
run_agent.serve("names", tags=["team-a"], pause_on_shutdown=False,
                entrypoint_type=EntrypointType.MODULE_PATH)
"""
FLEET = """
import asyncio, json, sys
from flows.run_fleet import run_fleet
from tasks.fleet.fleet_request import FleetRequest

request = FleetRequest.model_validate({"requests": [json.load(sys.stdin)]})
asyncio.run(run_fleet(request, return_state=True))
"""
BuildRequest = Callable[..., dict[str, Any]]
RunCli = Callable[..., CliRun]


@pytest.fixture(scope="module")
def deployment(prefect_server: PrefectServer, cluster_kubeconfig: str) -> Iterator[Deployment]:
    with deployed(prefect_server, cluster_kubeconfig, "names", SERVE) as deployment:
        yield deployment


def called(server: PrefectServer, flow_run_id: str) -> tuple[str, set[str]]:
    flow_run = server.flow_run(flow_run_id)
    return flow_run["name"], set(flow_run["tags"])


def test_run_from_the_command_line_is_called_after_agent_and_prompt(
    run_cli: RunCli, build_request: BuildRequest, replay_image: str, prefect_server: PrefectServer
) -> None:
    request = build_request(replay_image, agent={"tenant_id": "acme"})
    agent_id = request["agent"]["agent_id"]

    ended = run_cli(request)

    assert called(prefect_server, ended.result["flow_run_id"]) == (
        f"{agent_id} · Say hello. · attempt 1",
        {f"agent:{agent_id}", "tenant:acme"},
    )


@pytest.mark.parametrize("given", [pytest.param(None, marks=pytest.mark.slice), "For the review"])
def test_deployed_run_keeps_its_tags_and_a_name_that_somebody_gave(
    deployment: Deployment,
    build_request: BuildRequest,
    replay_image: str,
    prefect_server: PrefectServer,
    given: str | None,
) -> None:
    request = build_request(replay_image, task_id="T-1")
    agent_id = request["agent"]["agent_id"]

    flow_run_id = deployment.run(request, **({"name": given} if given else {}))

    deployment.wait_for_state(flow_run_id, "COMPLETED")
    assert called(prefect_server, flow_run_id) == (
        given or f"{agent_id} · T-1 · attempt 1",
        {"team-a", f"agent:{agent_id}", "task:T-1"},
    )


@pytest.mark.slice
def test_member_of_a_fleet_is_called_after_its_agent(
    build_request: BuildRequest,
    replay_image: str,
    prefect_server: PrefectServer,
    cluster_kubeconfig: str,
) -> None:
    request = build_request(replay_image, task_id="T-1")
    agent_id = request["agent"]["agent_id"]

    done = subprocess.run(
        [sys.executable, "-c", FLEET],
        input=json.dumps(request),
        cwd=ROOT,
        env={
            **os.environ,
            "KUBECONFIG": cluster_kubeconfig,
            "PREFECT_API_URL": prefect_server.api_url,
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    wanted = {"tags": {"all_": [f"agent:{agent_id}"]}}
    [found] = prefect_server.post("/flow_runs/filter", {"flow_runs": wanted})
    assert called(prefect_server, found["id"]) == (
        f"{agent_id} · T-1 · attempt 1",
        {f"agent:{agent_id}", "task:T-1"},
    )


@pytest.mark.slice
def test_next_attempt_is_in_the_name(
    run_cli: RunCli, build_request: BuildRequest, replay_image: str, prefect_server: PrefectServer
) -> None:
    request = build_request(
        replay_image,
        task_id="T-1",
        env={"REPLAY_TRANSCRIPT": "api_error_500"},
        runtime={"retry": {"codes": ["llm_api_error"], "max_attempts": 2, "delay_seconds": 1}},
    )

    ended = run_cli(request)

    assert ended.result["attempt"] == 2, ended.output
    name, _ = called(prefect_server, ended.result["flow_run_id"])
    assert name == f"{request['agent']['agent_id']} · T-1 · attempt 2"


@pytest.mark.slice
def test_confidential_prompt_is_in_no_name(
    run_cli: RunCli, build_request: BuildRequest, replay_image: str, prefect_server: PrefectServer
) -> None:
    secret = {"secret": "not-there", "key": "prompt"}
    request = build_request(replay_image, prompt=None, prompt_secret=secret)
    agent_id = request["agent"]["agent_id"]

    refused = run_cli(request)

    assert refused.result["error_code"] == "input_invalid", refused.output
    assert called(prefect_server, refused.result["flow_run_id"]) == (
        agent_id,
        {f"agent:{agent_id}"},
    )
