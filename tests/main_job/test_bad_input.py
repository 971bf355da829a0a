"""What cannot be carried out is refused: its code, one sentence with what to do, nothing left."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from typer.testing import CliRunner

from flows.cli.app import app
from tests.cluster.service_accounts import rule
from tests.main_job.conftest import CliRun, Traces, plain
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

Refuse = Callable[..., dict[str, Any]]
BuildRequest = Callable[..., dict[str, Any]]

AGENT = {"agent_id": "ada"}
RUNTIME = {"image": "agent:1"}
# Refused whatever Prefect and the cluster hold: subject, what replaces the request's fields, code,
# and what the sentence has to name.
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no-prompt": ({"prompt": " \n "}, "input_invalid", "prompt is empty"),
    "unknown-template-name": (
        {"prompt": None, "agent": {**AGENT, "prompt_template": "Do {{ task.title }}."}},
        "input_invalid",
        "task.title",
    ),
    "two-prompts": (
        {"prompt_block": "other"},
        "input_invalid",
        "set only one of prompt, prompt_secret and prompt_block",
    ),
    "id-without-usable-character": (
        {"agent": {"agent_id": "!?*"}},
        "k8s_agent_id_invalid",
        "at least one",
    ),
    "negative-timeout": ({"timeout_seconds": -5}, "input_invalid", "timeout_seconds"),
    "timeout-above-the-ceiling": (
        {"timeout_seconds": 90_000},
        "input_invalid",
        "timeout_ceiling_seconds",
    ),
    "reserved-label": (
        {"runtime": {**RUNTIME, "labels": {"prefect.io/flow-run-id": "x"}}},
        "input_invalid",
        "reserved: prefect.io/flow-run-id",
    ),
    "forbidden-extra-arg": (
        {"agent": {**AGENT, "extra_args": ["--output-format", "text"]}},
        "input_invalid",
        "--output-format is refused",
    ),
    "credential-in-plain-env": (
        {"env": {"ANTHROPIC_API_KEY": "planted-value"}},
        "input_invalid",
        "name a Secret",
    ),
    "reserved-env": ({"env": {"CLAUDE_JOBS_TASK_ID": "x"}}, "input_invalid", "CLAUDE_JOBS_TASK_ID"),
    "no-image": ({"runtime": {}}, "input_invalid", "runtime.image"),
    "misspelt-field": ({"promt": "Hello."}, "input_invalid", "promt"),
    # Hex digits of random bytes hardly pack.
    "prompt-too-large": (
        {"prompt": "".join(uuid.uuid4().hex for _ in range(80_000))},
        "prompt_too_large",
        "Shorten it",
    ),
}


def _assert_refused(output: str, code: str, names: str) -> None:
    refusal = json.loads(output.rstrip("\n").rpartition("\n")[2])
    sentence = refusal["message"]
    assert (refusal["error_code"], names in sentence) == (code, True), output
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 600
    assert f"✘ {code} {sentence}" in plain(output)
    assert "Traceback" not in output
    assert "planted-value" not in output


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run the command in this process; it gets no further than its own checks."""

    def run(content: str, *options: str) -> tuple[int, str]:
        parameters = tmp_path / "request.json"
        parameters.write_text(content)
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.touch()
        arguments = ["run", str(parameters), "--json", "--kubeconfig", str(kubeconfig), *options]
        ended = CliRunner().invoke(app, arguments)
        return ended.exit_code, ended.output

    return run


@pytest.mark.parametrize(("fields", "code", "names"), REFUSED.values(), ids=[*REFUSED])
def test_wrong_request_is_refused_by_the_command_itself(
    ask: Callable[..., tuple[int, str]], fields: dict[str, Any], code: str, names: str
) -> None:
    request = {"agent": AGENT, "runtime": RUNTIME, "prompt": "Say hello.", **fields}

    exit_code, output = ask(json.dumps(request))

    assert exit_code == 2
    _assert_refused(output, code, names)


@pytest.mark.parametrize(
    ("content", "names"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), ("{}", "agent: Field required")],
    ids=["not-json", "no-object", "empty-object"],
)
def test_unreadable_request_is_refused_by_the_command_itself(
    ask: Callable[..., tuple[int, str]], content: str, names: str
) -> None:
    exit_code, output = ask(content)

    assert exit_code == 2
    _assert_refused(output, "input_invalid", names)


def test_missing_kubeconfig_is_refused_by_the_command_itself(
    ask: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    request = {"agent": "ada", "runtime": "kit", "prompt": "Say hello."}

    exit_code, output = ask(json.dumps(request), "--kubeconfig", str(tmp_path / "missing"))

    assert exit_code == 2
    _assert_refused(output, "input_invalid", "correct the path")


def test_wrong_request_does_not_wait_for_prefect(tmp_path: Path) -> None:
    parameters = tmp_path / "request.json"
    parameters.write_text(json.dumps({"agent": AGENT, "runtime": RUNTIME, "prompt": ""}))
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    program = f"""if True:
        import sys
        from flows.cli.app import app
        try:
            app(["run", {str(parameters)!r}, "--json", "--kubeconfig", {str(kubeconfig)!r}])
        finally:
            print(*sorted({{"prefect", "kubernetes"}} & set(sys.modules)), file=sys.stderr)
    """

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    _assert_refused(ended.stdout, "input_invalid", "prompt is empty")
    assert ended.stderr.strip() == ""


@pytest.fixture
def refuse(
    run_cli: Callable[..., CliRun],
    prefect_server: PrefectServer,
    traces: Traces,
    agents_namespace: str,
) -> Refuse:
    """Run a request that has to be refused, and return its result; nothing may be left of it."""

    def run(
        request: dict[str, Any], code: str, names: str, *options: str, exit_code: int = 1
    ) -> dict[str, Any]:
        ended = run_cli(request, *options)

        assert ended.exit_code == exit_code, ended.output
        _assert_refused(ended.output, code, names)
        result = ended.result
        state = prefect_server.flow_run(result["flow_run_id"])["state"]
        assert (state["type"], state["message"]) == ("FAILED", result["message"])
        assert "Traceback" not in prefect_server.logs(result["flow_run_id"])
        left = [
            *traces.jobs(agents_namespace),
            *traces.pods(agents_namespace),
            *traces.secrets(agents_namespace),
            *filter(_is_held, traces.leases(agents_namespace)),
        ]
        assert left == []
        return result

    return run


def _is_held(lease: dict[str, Any]) -> bool:
    return bool(lease["spec"].get("holderIdentity"))


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("field", "kind"), [("agent", "Claude Agent"), ("runtime", "Agent Runtime")]
)
def test_unknown_block_is_refused(
    refuse: Refuse, build_request: BuildRequest, field: str, kind: str
) -> None:
    request = {**build_request("agent:1"), field: "no-such-block"}

    refuse(request, "input_invalid", f"no {kind} block named 'no-such-block'", exit_code=2)


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(90)
def test_unreadable_kubeconfig_is_refused(
    refuse: Refuse, build_request: BuildRequest, tmp_path: Path
) -> None:
    broken = tmp_path / "broken-kubeconfig"
    broken.write_text("apiVersion: v1\nusers: [{name: x, user: {token: planted-value\n")

    refuse(
        build_request("agent:1"),
        "input_invalid",
        str(broken),
        "--kubeconfig",
        str(broken),
        exit_code=2,
    )


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(90)
@pytest.mark.waits(25)
def test_unreachable_cluster_is_refused(
    refuse: Refuse, build_request: BuildRequest, kubeconfig: Callable[..., str]
) -> None:
    nobody = kubeconfig(server="https://127.0.0.1:9")

    refuse(
        build_request("agent:1"),
        "k8s_concurrency_guard_unreachable",
        "127.0.0.1",
        "--kubeconfig",
        nobody,
    )


@pytest.mark.any_cluster
@pytest.mark.timeout(90)
def test_missing_namespace_is_refused(refuse: Refuse, build_request: BuildRequest) -> None:
    request = build_request("agent:1", runtime={"namespace": "no-such-namespace"})

    refuse(
        request,
        "k8s_concurrency_guard_unreachable",
        "the namespace no-such-namespace does not exist; create it",
    )


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(90)
def test_request_above_prefects_limit_is_refused_before_it_is_sent(
    run_cli: Callable[..., CliRun], build_request: BuildRequest
) -> None:
    request = {**build_request("agent:1"), "prompt": "hush-hush " * 60_000}

    refused = run_cli(request)

    assert refused.exit_code == 2, refused.output[-2000:]
    assert refused.result["error_code"] == "prompt_too_large"
    assert "name it in `prompt_secret`" in refused.result["message"]
    assert "hush-hush" not in refused.output


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(120)
def test_namespace_that_is_being_deleted_is_told(
    refuse: Refuse, build_request: BuildRequest, namespace_that_goes: str
) -> None:
    request = build_request("agent:1", runtime={"namespace": namespace_that_goes})

    refuse(
        request,
        "k8s_concurrency_guard_unreachable",
        f"the namespace {namespace_that_goes} is being deleted",
    )


@pytest.fixture
def namespace_that_goes(core_api: client.CoreV1Api) -> Iterator[str]:
    """A namespace that is being deleted, and is held by an object in it."""
    api: Any = core_api
    name = f"going-{uuid.uuid4().hex[:8]}"
    held = {"metadata": {"name": "held", "finalizers": ["claude-jobs.dev/test"]}}
    api.create_namespace({"metadata": {"name": name}})
    api.create_namespaced_config_map(name, held)
    api.delete_namespace(name)
    wait_until(lambda: api.read_namespace(name).status.phase == "Terminating")
    yield name
    api.patch_namespaced_config_map("held", name, {"metadata": {"finalizers": None}})


@pytest.mark.any_cluster
@pytest.mark.timeout(90)
def test_refused_credentials_are_told(
    refuse: Refuse, build_request: BuildRequest, kubeconfig: Callable[..., str]
) -> None:
    unknown = kubeconfig(token="planted-value")

    refuse(
        build_request("agent:1"),
        "k8s_concurrency_guard_unreachable",
        "the credentials were refused (401)",
        "--kubeconfig",
        unknown,
    )


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ([], "get leases.coordination.k8s.io, create leases"),
        (
            [
                rule("coordination.k8s.io", "leases", "get", "create", "update"),
                rule("batch", "jobs", "get", "list", "watch", "patch", "delete"),
                rule("", "pods", "*"),
                rule("*", "*/log", "*"),
                rule("", "pods/exec", "get", "create"),
                rule("", "secrets", "get", "create"),
                rule("", "events", "list"),
            ],
            "so nothing was created: create jobs.batch.",
        ),
    ],
    ids=["nothing-allowed", "one-missing"],
)
def test_missing_permissions_are_told_before_anything_is_created(
    refuse: Refuse,
    build_request: BuildRequest,
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
    rules: list[dict[str, Any]],
    names: str,
) -> None:
    limited = kubeconfig(token=token_allowed(*rules))

    refuse(
        build_request("agent:1"),
        "k8s_concurrency_guard_unreachable",
        names,
        "--kubeconfig",
        limited,
    )
