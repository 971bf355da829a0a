"""Whole-run retry: an ending that the runtime names is answered by another attempt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import holder_of, jobs_of
from tests.main_job.conftest import CliRun, Traces
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]


@pytest.mark.waits(15)
def test_named_ending_resumes_the_session_with_the_rest_of_the_budget(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    home_claim: Callable[[str], str],
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(
        replay_image,
        agent={"max_budget_usd": 2.5},
        env={"REPLAY_TRANSCRIPT": "api_error_500"},
        runtime={
            "home_claim": home_claim(agents_namespace),
            "retry": {"codes": ["llm_api_error"], "max_attempts": 2, "delay_seconds": 1},
        },
    )
    agent_id = request["agent"]["agent_id"]

    ended = run_cli(request)

    assert ended.exit_code == 1, ended.output
    result = ended.result
    assert (result["error_code"], result["attempt"]) == ("llm_api_error", 2)
    [kept] = storage.glob(f"*/{result['flow_run_id']}/1/result.json")
    first = json.loads(kept.read_bytes())
    assert (first["error_code"], first["attempt"]) == ("llm_api_error", 1)
    arguments = {
        job["metadata"]["annotations"]["claude-jobs.dev/attempt"]: job["spec"]["template"]["spec"][
            "containers"
        ][0]["args"]
        for job in jobs_of(traces, agents_namespace, agent_id)
    }
    assert set(arguments) == {"1", "2"}
    assert "--resume" not in arguments["1"]
    assert _option(arguments["1"], "--max-budget-usd") == "2.5"
    assert _option(arguments["2"], "--resume") == first["session_id"] == result["session_id"]
    left = 2.5 - first["cost_usd"]
    assert float(_option(arguments["2"], "--max-budget-usd")) == pytest.approx(left)
    logs = prefect_server.logs(result["flow_run_id"])
    assert "Attempt 1 of 2 ended with llm_api_error; the next attempt starts in 1 s" in logs
    assert "Attempt 2 of 2 ended with llm_api_error; no more attempts are allowed." in logs
    assert not holder_of(traces, agents_namespace, agent_id)


def _option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]
