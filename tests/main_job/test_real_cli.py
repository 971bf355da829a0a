"""`claude-jobs run` with the real Claude Code CLI and a stand-in for the API of its model."""

import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client, stream

from tests.main_job.conftest import CliRun, Traces, plain
from tests.model_api import ModelApi
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

Build = Callable[..., dict[str, Any]]
Run = Callable[..., CliRun]
AGENT_ID = "claude-jobs.dev/agent-id"
KEY_NAME = "ANTHROPIC_API_KEY"
KILL_CLAUDE = (
    'for d in /proc/[0-9]*; do [ "$(cat $d/comm 2>/dev/null)" = claude ] && kill -9 ${d#/proc/};'
    " done"
)


@pytest.fixture
def ask_agent(
    core_api: client.CoreV1Api,
    agents_namespace: str,
    build_request: Build,
    real_image: str,
    model_api: ModelApi,
) -> Build:
    """A request for the real CLI: its key comes from a Secret, the rest is plain env."""
    environment = model_api.environment()
    name = f"model-{uuid.uuid4().hex[:8]}"
    secret: Any = {"metadata": {"name": name}, "stringData": {"key": environment.pop(KEY_NAME)}}
    core_api.create_namespaced_secret(agents_namespace, secret)
    credential = {"env": KEY_NAME, "secret": name, "key": "key"}

    def build(**fields: Any) -> dict[str, Any]:
        agent = {"credentials": [credential], **fields.pop("agent", {})}
        return build_request(real_image, agent=agent, env=environment, **fields)

    return build


def test_real_cli_answers_by_the_schema(
    run_cli: Run, ask_agent: Build, model_api: ModelApi
) -> None:
    model_api.switch("structured")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    given = run_cli(ask_agent(output_schema=schema))
    model_api.switch("ok")
    not_given = run_cli(ask_agent(output_schema=schema))

    assert (given.result["error_code"], given.result["output"]) == (None, {"n": 2})
    assert not_given.result["error_code"] == "claude_output_invalid"
    assert not_given.result["exit_code"] == 0


def test_real_cli_with_tools_succeeds(
    run_cli: Run, ask_agent: Build, model_api: ModelApi, prefect_server: PrefectServer
) -> None:
    model_api.switch("tools")

    ended = run_cli(ask_agent())

    assert ended.exit_code == 0, ended.output
    result = ended.result
    assert result["error_code"] is None
    assert (result["exit_code"], result["signal"], result["timed_out"]) == (0, None, False)
    assert result["transcript"]["complete"] is True
    assert result["num_turns"] == 3
    assert result["usage"]["output_tokens"] > 0
    assert result["cost_usd"] > 0
    assert result["session"]["cwd"] == "/work"
    assert result["last_result"]["is_error"] is False
    assert result["summary"] == "Second part of the answer: DONE."
    for place in (plain(ended.output), prefect_server.logs(result["flow_run_id"])):
        assert "tool call Bash" in place
        assert "Second part of the answer: DONE." in place


def test_real_cli_resumes_its_session_from_the_home_claim(
    run_cli: Run,
    ask_agent: Build,
    model_api: ModelApi,
    home_claim: Callable[[str], str],
    agents_namespace: str,
) -> None:
    request = ask_agent(runtime={"home_claim": home_claim(agents_namespace)})

    first = run_cli(request)
    assert first.exit_code == 0, first.output
    second = run_cli({**request, "session_id": first.result["session_id"]})

    assert second.exit_code == 0, second.output
    assert (first.result["resumed"], second.result["resumed"]) == (False, True)
    assert second.result["session_id"] == first.result["session_id"]
    # It carries the first prompt and its answer, so the session was read back.
    asked = model_api.requests()
    assert asked[-1]["n_messages"] > asked[0]["n_messages"]


def test_session_that_is_not_there_is_answered_by_a_fresh_one(
    run_cli: Run,
    ask_agent: Build,
    home_claim: Callable[[str], str],
    agents_namespace: str,
) -> None:
    unknown = str(uuid.uuid4())
    request = ask_agent(runtime={"home_claim": home_claim(agents_namespace)}, session_id=unknown)

    ended = run_cli(request)

    assert ended.exit_code == 0, ended.output
    assert f"No conversation found with session ID: {unknown}" in plain(ended.output)
    assert "the next attempt starts in 0 s, in a new session" in plain(ended.output)
    assert (ended.result["attempt"], ended.result["resumed"]) == (2, False)
    assert ended.result["session_id"] != unknown


@pytest.mark.parametrize(
    ("scenario", "agent", "code", "clear_session"),
    [
        ("loop_tools", {"max_turns": 1}, "claude_max_turns", True),
        ("api_error_500", {}, "llm_api_error", False),
        ("auth_401", {}, "claude_auth_required", False),
    ],
    ids=["max_turns", "api_error_500", "auth_401"],
)
def test_failing_session_ends_with_its_code(
    run_cli: Run,
    ask_agent: Build,
    model_api: ModelApi,
    prefect_server: PrefectServer,
    scenario: str,
    agent: dict[str, Any],
    code: str,
    clear_session: bool,
) -> None:
    model_api.switch(scenario)

    ended = run_cli(ask_agent(agent=agent))

    assert ended.exit_code == 1, ended.output
    result = ended.result
    assert (result["error_code"], result["exit_code"]) == (code, 1), result["message"]
    assert result["clear_session"] is clear_session
    assert result["session_id"]
    assert result["transcript"]["complete"] is True
    assert result["last_result"]["is_error"] is True
    state = prefect_server.flow_run(result["flow_run_id"])["state"]
    assert (state["type"], state["message"]) == ("FAILED", result["message"])


def test_session_over_its_time_is_ended(
    run_cli: Run, ask_agent: Build, model_api: ModelApi
) -> None:
    model_api.switch("hang")

    ended = run_cli(ask_agent(timeout_seconds=4))

    assert ended.exit_code == 1, ended.output
    result = ended.result
    assert (result["error_code"], result["exit_code"]) == ("timeout", 124), result["message"]
    assert result["timed_out"] is True
    assert result["clear_session"] is False
    assert result["session_id"]
    assert result["transcript"]["complete"] is True
    assert "4 s" in result["message"]


def test_killed_session_ends_with_sigkill_as_its_cause(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    ask_agent: Build,
    model_api: ModelApi,
    core_api: client.CoreV1Api,
    agents_namespace: str,
    traces: Traces,
) -> None:
    model_api.switch("slow")
    request = ask_agent()
    process = start_cli(request)
    output = _read_until(process, "assistant: ")
    [pod] = [
        found["metadata"]["name"]
        for found in traces.pods(agents_namespace)
        if found["metadata"]["annotations"][AGENT_ID] == request["agent"]["agent_id"]
    ]
    _execute(core_api, agents_namespace, pod, KILL_CLAUDE)
    rest, _ = process.communicate(timeout=60)

    assert process.returncode == 1, output + rest
    result = CliRun(process.returncode, output + rest).result
    assert (result["exit_code"], result["signal"]) == (137, 9), result["message"]
    assert (result["error_code"], result["cause"]) == ("claude_truncated", "SIGKILL")
    assert result["clear_session"] is False
    assert result["session_id"]
    assert result["transcript"]["complete"] is True
    assert ["Exit code", "137"] in result["observed"]


def _execute(core_api: client.CoreV1Api, namespace: str, pod: str, script: str) -> None:
    library: Any = stream
    command = ["sh", "-c", script]
    api: Any = core_api
    run = library.stream(
        api.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=command,
        stdout=True,
        stderr=True,
        _preload_content=False,  # else the socket cannot be closed
    )
    run.run_forever(timeout=10)
    # Its own `close` does nothing once the server has closed, and leaves the socket open.
    run.sock.shutdown()


def _read_until(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stdout
    read = ""
    for line in process.stdout:
        read += line
        if text in plain(line):
            return read
    raise AssertionError(f"{text!r} was not said:\n{read}")
