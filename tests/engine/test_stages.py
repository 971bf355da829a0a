"""Stages as tasks of a real Prefect server: what is retried, what is bounded, what people read."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.prefect_server import PrefectServer

# The first test waits for the server, and every retry for its delay.
pytestmark = pytest.mark.timeout(120)

_PROGRAM = """
import asyncio, json, sys
from prefect import flow
from prefect.runtime import flow_run
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.cluster.cluster_errors import ClusterForbidden, ClusterUnreachable
from tasks.orchestrator.stage import StageLimit, stage

CAUSES = {
    "unanswered": ClusterUnreachable("No answer."),
    "forbidden": ClusterForbidden("Not allowed.", status=403),
}
tries = []

@stage("Try", retries=1, limit=StageLimit(1.0, ErrorCode.POD_SCHEDULE_FAILED))
async def attempt(failure: str, times: int) -> str:
    tries.append(failure)
    if failure == "slow":
        await asyncio.sleep(30)
    if len(tries) <= times:
        raise AgentRunError(ErrorCode.JOB_CREATE_FAILED, "It failed.") from CAUSES[failure]
    return "done"

@flow
async def run(failure: str, times: int):
    try:
        outcome = await attempt(failure, times)
    except AgentRunError as error:
        outcome = [error.code, error.message]
    print(json.dumps([str(flow_run.id), len(tries), outcome]))

asyncio.run(run(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize(
    ("failure", "times", "tries", "code", "state"),
    [
        pytest.param("unanswered", 1, 2, None, "Completed", id="unanswered once: tried again"),
        pytest.param(
            "unanswered",
            9,
            2,
            "k8s_job_create_failed",
            "Job not created",
            id="unanswered always",
            marks=pytest.mark.slice,
        ),
        pytest.param("forbidden", 9, 1, "k8s_job_create_failed", "Job not created", id="refused"),
        pytest.param("slow", 0, 1, "k8s_pod_schedule_failed", "TimedOut", id="over its limit"),
    ],
)
def test_stage_is_retried_and_bounded_as_it_says(
    prefect_server: PrefectServer,
    failure: str,
    times: int,
    tries: int,
    code: str | None,
    state: str,
) -> None:
    flow_run_id, made, outcome = _run(prefect_server, failure, times)

    assert made == tries
    assert outcome == "done" if code is None else outcome[0] == code
    assert prefect_server.stages(flow_run_id, awaited={"Try"}) == {"Try": state}
    if failure == "slow":
        assert "'Try' took longer than its limit of 1 s" in outcome[1]


def _run(server: PrefectServer, failure: str, times: int) -> tuple[str, int, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, failure, str(times)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
