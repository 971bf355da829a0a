"""`claude-jobs run` with a replayed session: from request to clean traces."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.main_job.conftest import CliRun, Traces, plain
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300), pytest.mark.waits(8)]

RECORDINGS = Path(__file__).parents[1] / "data" / "transcripts"
STAGES = {
    "Guard",
    "Create Job",
    "Commit Job",
    "Create Secret",
    "Wait for pod",
    "Stream logs",
    "Await completion",
    "Result",
    "Report",
    "Clean up",
}
AGENT_ID = "claude-jobs.dev/agent-id"


def test_run_with_replayed_tools_completes_and_leaves_no_trace(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    replay_image: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "tools"})

    ended = run_cli(request)

    assert ended.exit_code == 0, ended.output
    result = ended.result
    assert result["error_code"] is None
    assert result["transcript"]["complete"] is True
    assert result["summary"] == "Second part of the answer: DONE."
    assert result["num_turns"] == 3
    assert result["exit_code"] == 0

    recorded = (RECORDINGS / "tools.jsonl").read_bytes()
    stored = gzip.decompress((storage / result["transcript"]["storage_key"]).read_bytes())
    assert stored == recorded
    assert "Second part of the answer: DONE." in plain(ended.output)

    flow_run_id = result["flow_run_id"]
    state = prefect_server.flow_run(flow_run_id)["state"]
    assert (state["type"], state["message"]) == ("COMPLETED", result["message"])
    assert set(prefect_server.stages(flow_run_id, awaited=STAGES)) == STAGES
    assert "Second part of the answer: DONE." in prefect_server.logs(flow_run_id)
    pages = {
        page["key"].split("-")[2]: page["data"] for page in prefect_server.artifacts(flow_run_id)
    }
    assert set(pages) == {"transcript", "report", "progress"}
    progress = prefect_server.artifacts(flow_run_id, newest_first=True)
    told_last = next(page["data"] for page in progress if "-progress-" in page["key"])
    assert told_last.startswith("| Ended | Succeeded |")
    assert pages["report"].startswith(f"## ✔ Succeeded – agent {result['agent_id']}")
    assert "Second part of the answer: DONE." in pages["transcript"]

    namespace = result["kubernetes"]["namespace"]
    job = traces.job(namespace, result["kubernetes"]["job_name"])
    assert job["spec"]["ttlSecondsAfterFinished"] == 300
    [lease] = [
        lease
        for lease in traces.leases(namespace)
        if lease["metadata"]["annotations"][AGENT_ID] == result["agent_id"]
    ]
    assert not lease["spec"].get("holderIdentity")


def test_run_with_keep_policy_never_deletes_job_and_secret(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    traces: Traces,
) -> None:
    request = build_request(
        replay_image,
        env={"REPLAY_TRANSCRIPT": "ok"},
        runtime={"retention": {"keep": "never"}},
    )

    ended = run_cli(request)

    assert ended.exit_code == 0, ended.output
    namespace, name = (ended.result["kubernetes"][key] for key in ("namespace", "job_name"))
    assert traces.job(namespace, name) is None
    # Collected with its owner, a moment later.
    wait_until(
        lambda: name not in [secret["metadata"]["name"] for secret in traces.secrets(namespace)]
    )


@pytest.mark.parametrize(
    ("transcript", "code", "exit_code"),
    [
        pytest.param("max_turns", "claude_max_turns", 1, marks=pytest.mark.slice),
        ("api_error_500", "llm_api_error", 1),
        pytest.param("auth_401", "claude_auth_required", 1, marks=pytest.mark.slice),
        pytest.param("killed_sigterm_midstream", "claude_truncated", 143, marks=pytest.mark.slice),
        pytest.param("bad_flag", "claude_start_failed", 1, marks=pytest.mark.slice),
        pytest.param("empty_text", "claude_no_output", 0, marks=pytest.mark.slice),
    ],
)
def test_run_with_failing_session_ends_with_its_code(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    replay_image: str,
    transcript: str,
    code: str,
    exit_code: int,
) -> None:
    ended = run_cli(build_request(replay_image, env={"REPLAY_TRANSCRIPT": transcript}))

    assert ended.exit_code == 1, ended.output
    result = ended.result
    assert (result["error_code"], result["exit_code"]) == (code, exit_code), result["message"]
    assert result["transcript"]["complete"] is True
    state = prefect_server.flow_run(result["flow_run_id"])["state"]
    assert (state["type"], state["message"]) == ("FAILED", result["message"])
    assert "Traceback" not in ended.output
    assert "Traceback" not in prefect_server.logs(result["flow_run_id"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(result["message"])
