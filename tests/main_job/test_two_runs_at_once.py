"""Two runs at the same time: never two agents of one name, and every line of each that works."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.main_job.conftest import CliRun, Traces

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300), pytest.mark.waits(25)]

# Long enough to be at work while the other one comes.
SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "1"}
LINES = 17


@pytest.mark.slice
@pytest.mark.parametrize("is_same_agent", [True, False], ids=["one agent", "two agents"])
def test_of_two_runs_at_once_one_works_for_each_agent(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    traces: Traces,
    is_same_agent: bool,
) -> None:
    first, second = (build_request(replay_image, task_id="t-1", env=SLOW) for _ in range(2))
    if is_same_agent:
        second["agent"] = first["agent"]

    started = [start_cli(first), start_cli(second)]
    ended = [CliRun(0, process.communicate(timeout=150)[0]) for process in started]

    results = [run.result for run in ended]
    worked = [result for result in results if result["error_code"] is None]
    whole = [(each["transcript"]["complete"], each["transcript"]["lines"]) for each in worked]
    assert whole == [(True, LINES)] * (1 if is_same_agent else 2)
    others = [result["error_code"] for result in results if result not in worked]
    assert others == (["k8s_concurrent_run_blocked"] if is_same_agent else [])
    jobs = traces.jobs(first["runtime"]["namespace"])
    ids = [job["metadata"]["annotations"]["claude-jobs.dev/agent-id"] for job in jobs]
    agents = {first["agent"]["agent_id"], second["agent"]["agent_id"]}
    assert sorted(found for found in ids if found in agents) == sorted(agents)
