"""A run whose agent's work is checked, from the request to what people see of it."""

import gzip
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.text.redaction import MASK
from tests.main_job.conftest import CliRun, Traces, plain
from tests.prefect_server import PrefectServer
from tests.published_texts import plant

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]

RunCli = Callable[..., CliRun]
BuildRequest = Callable[..., dict[str, Any]]
OK = {"REPLAY_TRANSCRIPT": "ok"}


@pytest.mark.slice
def test_run_whose_check_passes_succeeds(
    run_cli: RunCli, build_request: BuildRequest, replay_image: str
) -> None:
    agent = {"check": {"command": "echo 'of the agent'; exit 1"}}
    command = 'pwd; test "$GREETING" = "it\'s me" && cat && echo passed'
    check = {"command": command, "timeout_seconds": 30, "env": {"GREETING": "it's me"}}

    ended = run_cli(build_request(replay_image, env=OK, agent=agent, check=check))

    assert ended.exit_code == 0, ended.output
    result = ended.result
    assert result["error_code"] is None
    assert result["check"]["duration_seconds"] < 20
    assert result["check"] | {"duration_seconds": 0} == {
        "exit_code": 0,
        "timed_out": False,
        "timeout_seconds": 30,
        "duration_seconds": 0,
        "last_lines": "/work\npassed",
        "lines_skipped": 0,
    }
    assert "its check has begun (limit 30 s)" in plain(ended.output)


def test_run_whose_check_fails_ends_so_and_keeps_what_the_agent_did(
    run_cli: RunCli,
    build_request: BuildRequest,
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    key, remark = secrets.token_hex(16), secrets.token_hex(16)
    plant(key, remark)
    command = f'echo "the key is $CHECK_KEY"; echo "1 failed, 2 passed" >&2; exit 7 # {remark}'
    check = {"command": command, "env": {"CHECK_KEY": key}}

    ended = run_cli(build_request(replay_image, env=OK, check=check))

    result = ended.result
    assert (ended.exit_code, result["error_code"], result["cause"]) == (1, "check_failed", None)
    sentence = "its check failed with exit code 7: “1 failed, 2 passed”."
    assert result["message"] == f"The agent finished, but {sentence}"
    assert result["check"]["last_lines"] == f"the key is {MASK}\n1 failed, 2 passed"
    assert (result["exit_code"], result["clear_session"]) == (0, False)
    assert None not in (result["session_id"], result["cost_usd"], result["summary"])
    assert result["transcript"]["complete"] is True
    stored = gzip.decompress((storage / result["transcript"]["storage_key"]).read_bytes())
    assert b"1 failed" not in stored

    flow_run_id = result["flow_run_id"]
    state = prefect_server.flow_run(flow_run_id)["state"]
    assert (state["type"], state["name"]) == ("FAILED", "Check failed")
    logs = prefect_server.logs(flow_run_id)
    assert "The agent has ended, and its check has begun (limit 600 s)." in logs
    assert f"check: the key is {MASK}" in logs
    artifacts = {
        artifact["key"].rsplit("-", 2)[-2]: artifact["data"]
        for artifact in prefect_server.artifacts(flow_run_id)
    }
    assert "### Check\n\n| Item | Value |\n| --- | --- |\n| Exit code | 7 |" in artifacts["report"]
    assert "exit code 7 of the check" in artifacts["forensics"]

    # The command and its environment stand in the run's Secret and in no other object.
    told = [logs, json.dumps(result), json.dumps(state), *map(str, artifacts.values())]
    found = [*traces.jobs(agents_namespace), *traces.pods(agents_namespace)]
    told += [json.dumps(item) for item in (*found, *traces.kubernetes_events(agents_namespace))]
    told.append(ended.output)
    assert not [text for text in told if key in text or remark in text]


@pytest.mark.slice
@pytest.mark.waits(10)
def test_next_attempt_after_a_failed_check_resumes_the_session(
    run_cli: RunCli, build_request: BuildRequest, prefect_server: PrefectServer, replay_image: str
) -> None:
    check = {"command": "sleep 60", "timeout_seconds": 1}
    retry = {"codes": ["check_failed"], "max_attempts": 2, "delay_seconds": 0}

    ended = run_cli(build_request(replay_image, env=OK, check=check, runtime={"retry": retry}))

    result = ended.result
    assert (result["error_code"], result["attempt"]) == ("check_failed", 2)
    assert "did not end within its limit of 1 s" in result["message"]
    assert result["check"]["timed_out"] is True
    assert "Attempt 1 of 2 ended with check_failed" in prefect_server.logs(result["flow_run_id"])
    assert "resuming session" in prefect_server.logs(result["flow_run_id"])
