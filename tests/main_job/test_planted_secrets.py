"""What must stay secret is planted, printed by the agent, and then looked for everywhere."""

import gzip
import json
import secrets
import sqlite3
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tasks.text.redaction import MASK
from tests.cluster.service_accounts import rule
from tests.main_job.conftest import CliRun, Traces
from tests.prefect_server import PrefectServer
from tests.published_texts import plant

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]

Build = Callable[..., dict[str, Any]]
Run = Callable[..., CliRun]

RECORDINGS = Path(__file__).parents[1] / "data" / "transcripts"
KEY = "${ANTHROPIC_API_KEY}"
# Longer than what is shown of a tool's output, so that a key is cut in its middle.
LONG_OUTPUT = "x" * 1_960 + " " + KEY
NEEDLE_LENGTH = 20


def _leaking_recordings(file_key: str) -> dict[str, str]:
    """Files of recordings in which the agent prints its keys, wherever it can.

    Those of its environment are put in by the agent; the one out of a file stands there.
    """
    tools = (RECORDINGS / "tools.jsonl").read_text()
    failing = (RECORDINGS / "api_error_500.jsonl").read_text()
    for clean, leaking in (
        ("I'll list the directory first.", f"I'll use {KEY} first."),
        ("I should look at the directory first.", f"I should think of {KEY}."),
        ("pwd; ls -la; cat hello.txt", f"curl -H 'x-api-key: {KEY}' localhost; env"),
        ("hello from the workspace", f"ANTHROPIC_API_KEY={KEY}"),
        ("drwxr-xr-x 2 root root 4096", LONG_OUTPUT),
        ("Second part of the answer: DONE.", f"The keys are {KEY} and {file_key}."),
    ):
        assert clean in tools
        tools = tools.replace(clean, leaking)
    assert "Internal server error" in failing
    return {
        "telling.jsonl": f"{KEY}\n${{SIGNING_KEY}}\n{tools}",
        "telling.stderr": f"warning: {KEY}\n${{SIGNING_KEY}}\n",
        "telling.meta.json": json.dumps({"exit_code": 0}),
        "failing.jsonl": failing.replace(
            "Internal server error", f"No access with {KEY}, {file_key}"
        ),
        "failing.meta.json": json.dumps({"exit_code": 1}),
        "silent.jsonl": "",
        "silent.stderr": f"error: the keys {KEY}, {file_key} have no access\n",
        "silent.meta.json": json.dumps({"exit_code": 1}),
    }


@dataclass(frozen=True)
class Planted:
    """Values in Secrets, and a ConfigMap with recordings that print them."""

    secret: str
    files: str
    recordings: str
    api_key: str
    signing_key: str
    file_key: str

    @property
    def needles(self) -> list[str]:
        """What is looked for: beginnings, as a part of a key is bad enough, and base64."""
        values = [self.api_key, *self.signing_key.splitlines(), self.file_key]
        encoded = [b64encode(value.encode()).decode() for value in values]
        return [value[:NEEDLE_LENGTH] for value in values + encoded]

    def request(self, build_request: Build, image: str, transcript: str) -> dict[str, Any]:
        return build_request(
            image,
            agent={
                "credentials": [
                    {"env": "ANTHROPIC_API_KEY", "secret": self.secret, "key": "api-key"}
                ]
            },
            runtime={
                "env_from_keys": [
                    {
                        "env": "SIGNING_KEY",
                        "kind": "secret",
                        "name": self.secret,
                        "key": "signing-key",
                    }
                ],
                "mounts": [
                    {"kind": "config_map", "name": self.recordings, "path": "/recordings"},
                    {"kind": "secret", "name": self.files, "path": "/keys"},
                ],
            },
            env={
                "REPLAY_DIR": "/recordings",
                "REPLAY_TRANSCRIPT": transcript,
                "REPLAY_FROM_ENV": "ANTHROPIC_API_KEY,SIGNING_KEY",
            },
        )


@pytest.fixture
def planted(core_api: client.CoreV1Api, agents_namespace: str) -> Planted:
    # Not of a shape that gives it away: it is found by its value alone.
    made = Planted(
        secret=f"planted-{uuid.uuid4().hex[:8]}",
        files=f"planted-files-{uuid.uuid4().hex[:8]}",
        recordings=f"recordings-{uuid.uuid4().hex[:8]}",
        api_key=secrets.token_hex(24),
        signing_key="\n".join(secrets.token_hex(32) for _ in range(3)),
        file_key=secrets.token_hex(24),
    )
    api: Any = core_api
    values = {"api-key": made.api_key, "signing-key": made.signing_key}
    api.create_namespaced_secret(
        agents_namespace, {"metadata": {"name": made.secret}, "stringData": values}
    )
    files = {"account.json": json.dumps({"account": {"token": made.file_key}})}
    api.create_namespaced_secret(
        agents_namespace, {"metadata": {"name": made.files}, "stringData": files}
    )
    recordings = _leaking_recordings(made.file_key)
    api.create_namespaced_config_map(
        agents_namespace, {"metadata": {"name": made.recordings}, "data": recordings}
    )
    return made


@dataclass(frozen=True)
class Places:
    """Everything that people or programs can read after a run."""

    server: PrefectServer
    traces: Traces
    namespace: str
    storage: Path

    def in_cluster(self) -> Iterator[tuple[str, bytes]]:
        """All objects of the namespace; the contents of Secrets as they are, not as base64."""
        api = self.traces
        for kind, found in (
            ("Job", api.jobs(self.namespace)),
            ("Pod", api.pods(self.namespace)),
            ("Lease", api.leases(self.namespace)),
            ("Event", api.kubernetes_events(self.namespace)),
        ):
            for item in found:
                yield f"{kind} {item['metadata']['name']}", json.dumps(item).encode()
        for secret in api.secrets(self.namespace):
            name = secret["metadata"]["name"]
            yield f"Secret {name}", json.dumps(secret["metadata"]).encode()
            for key, value in secret.get("data", {}).items():
                yield f"Secret {name}", f"{key}=".encode() + b64decode(value)

    def in_prefect(self) -> Iterator[tuple[str, bytes]]:
        """The database, row by row and as bytes with what it has not merged yet; all files."""
        with closing(
            sqlite3.connect(f"file:{self.server.home}/prefect.db?mode=ro", uri=True)
        ) as db:
            yield "rows of the database", "\n".join(db.iterdump()).encode()
        for path in self.server.home.rglob("*"):
            if path.is_file():
                yield str(path.relative_to(self.server.home)), path.read_bytes()

    def in_storage(self) -> Iterator[tuple[str, bytes]]:
        for path in self.storage.rglob("*"):
            if path.is_file() and path.suffix != ".gz":
                yield f"stored {path.name}", path.read_bytes()

    def everywhere(self, ended: CliRun) -> Iterator[tuple[str, bytes]]:
        yield from self.in_cluster()
        yield from self.in_prefect()
        yield from self.in_storage()
        yield "output of the command", ended.output.encode()


@pytest.fixture
def places(
    prefect_server: PrefectServer, traces: Traces, agents_namespace: str, storage: Path
) -> Places:
    return Places(prefect_server, traces, agents_namespace, storage)


def _places_with(needles: list[str], places: Iterator[tuple[str, bytes]]) -> set[str]:
    encoded = [needle.encode() for needle in needles]
    return {place for place, content in places if any(needle in content for needle in encoded)}


@pytest.mark.parametrize(
    ("transcript", "code"),
    [
        ("telling", None),
        pytest.param("failing", "llm_api_error", marks=pytest.mark.slice),
        pytest.param("silent", "claude_start_failed", marks=pytest.mark.slice),
    ],
)
def test_key_that_the_agent_prints_is_found_in_its_secret_alone(
    run_cli: Run,
    build_request: Build,
    replay_image: str,
    planted: Planted,
    places: Places,
    prefect_server: PrefectServer,
    storage: Path,
    transcript: str,
    code: str | None,
) -> None:
    plant(*planted.needles)
    ended = run_cli(planted.request(build_request, replay_image, transcript))

    result = ended.result
    assert result["error_code"] == code, ended.output
    assert _places_with(planted.needles, places.everywhere(ended)) == {
        f"Secret {planted.secret}",
        f"Secret {planted.files}",
    }
    # It was printed, and masked, not left out.
    told = result["summary"] if code is None else result["message"]
    assert MASK in told
    assert MASK in prefect_server.logs(result["flow_run_id"])
    if transcript != "silent":
        stored = gzip.decompress((storage / result["transcript"]["storage_key"]).read_bytes())
        assert planted.api_key.encode() in stored
        assert result["transcript"]["complete"] is True


@pytest.mark.slice
def test_secret_that_the_flow_may_not_read_is_told_and_the_run_goes_on(
    run_cli: Run,
    build_request: Build,
    replay_image: str,
    planted: Planted,
    prefect_server: PrefectServer,
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
) -> None:
    # The agent prints the values and nothing can mask them, so they are not `plant`ed.
    token = token_allowed(
        rule("coordination.k8s.io", "leases", "get", "create", "update"),
        rule("batch", "jobs", "get", "list", "watch", "create", "patch", "delete"),
        rule("", "pods", "get", "list", "watch"),
        rule("", "pods/log", "get"),
        rule("", "pods/exec", "get", "create"),
        rule("", "secrets", "create"),
        {**rule("", "secrets", "get"), "resourceNames": ["another"]},
        rule("", "events", "list"),
    )

    ended = run_cli(
        planted.request(build_request, replay_image, "telling"),
        "--kubeconfig",
        kubeconfig(token=token),
    )

    assert ended.exit_code == 0, ended.output
    assert f"Secret {planted.secret} could not be read" in ended.output
    assert "its values cannot be masked" in prefect_server.logs(ended.result["flow_run_id"])


@pytest.mark.slice
def test_prompt_stands_in_the_runs_secret_and_in_no_other_object(
    run_cli: Run, build_request: Build, replay_image: str, places: Places
) -> None:
    prompt = f"Remember {secrets.token_hex(16)}."

    ended = run_cli({**build_request(replay_image), "prompt": prompt})

    assert ended.exit_code == 0, ended.output
    job_name = ended.result["kubernetes"]["job_name"]
    assert _places_with([prompt], places.in_cluster()) == {f"Secret {job_name}"}
    assert prompt not in ended.output


def test_confidential_prompt_is_nowhere_in_prefect(
    run_cli: Run,
    build_request: Build,
    replay_image: str,
    places: Places,
    core_api: client.CoreV1Api,
    agents_namespace: str,
) -> None:
    prompt, name = f"Remember {secrets.token_hex(16)}.", f"prompt-{uuid.uuid4().hex[:8]}"
    body: Any = {"metadata": {"name": name}, "stringData": {"text": prompt}}
    core_api.create_namespaced_secret(agents_namespace, body)
    request = build_request(replay_image)
    del request["prompt"]

    ended = run_cli({**request, "prompt_secret": {"secret": name, "key": "text"}})

    assert ended.exit_code == 0, ended.output
    assert ended.result["prompt_bytes"] == len(prompt)
    job_name = ended.result["kubernetes"]["job_name"]
    assert _places_with([prompt], places.everywhere(ended)) == {
        f"Secret {name}",
        f"Secret {job_name}",
    }


@pytest.mark.slice
def test_check_and_its_environment_stand_in_the_runs_secret_and_in_the_parameters_alone(
    run_cli: Run, build_request: Build, replay_image: str, places: Places
) -> None:
    key, remark = secrets.token_hex(24), secrets.token_hex(24)
    plant(key, remark)
    command = f'env; echo "the key is $CHECK_KEY" >&2; exit 1 # {remark}'
    check = {"command": command, "env": {"CHECK_KEY": key}}

    ended = run_cli(
        {**build_request(replay_image, env={"REPLAY_TRANSCRIPT": "ok"}), "check": check}
    )

    assert ended.result["error_code"] == "check_failed", ended.output
    assert MASK in ended.result["check"]["last_lines"]
    job_name = ended.result["kubernetes"]["job_name"]
    needles = [key[:NEEDLE_LENGTH], b64encode(key.encode()).decode()[:NEEDLE_LENGTH], remark]
    assert _places_with(needles, places.in_cluster()) == {f"Secret {job_name}"}
    assert _places_with(needles, places.in_storage()) == set()
    assert [needle for needle in needles if needle in ended.output] == []
