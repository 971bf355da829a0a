"""The images and helpers that other cluster tests stand on do what those tests take for granted."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client

from tests.model_api import ModelApi
from tests.namespaces import make_namespace
from tests.waits import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

# A real node with many pods at once has taken more than a minute and a half.
_END_SECONDS = 180
ENDED_PHASES = {"Succeeded", "Failed"}
CLAUDE = 'printf "Say hello." | claude -p --output-format stream-json --verbose "$@"'


@dataclass(frozen=True)
class EndedPod:
    """How the only container of a pod ended, and what it printed."""

    exit_code: int
    log: str

    def last_event(self) -> dict[str, Any]:
        return json.loads(self.log.splitlines()[-1])


@pytest.fixture(scope="module")
def pod_namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    with make_namespace(core_api, "agent-images") as name:
        yield name


@pytest.fixture
def run_pod(core_api: client.CoreV1Api, pod_namespace: str) -> Callable[..., EndedPod]:
    def run(
        image: str,
        script: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        home_claim: str | None = None,
    ) -> EndedPod:
        name = f"pod-{uuid.uuid4().hex[:8]}"
        manifest: Any = _pod(name, image, ["sh", "-c", script, "sh", *arguments], environment or {})
        if home_claim:
            claim = {"claimName": home_claim}
            manifest["spec"]["volumes"] = [{"name": "home", "persistentVolumeClaim": claim}]
            mount = {"name": "home", "mountPath": "/home/agent"}
            manifest["spec"]["containers"][0]["volumeMounts"] = [mount]
        core_api.create_namespaced_pod(pod_namespace, manifest)
        return _wait_for_end(core_api, pod_namespace, name)

    return run


def _pod(name: str, image: str, command: list[str], environment: Mapping[str, str]) -> Any:
    variables = {"HOME": "/home/agent", **environment}
    return {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True},
            "containers": [
                {
                    "name": "agent",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "env": [{"name": key, "value": value} for key, value in variables.items()],
                }
            ],
        },
    }


def _wait_for_end(core_api: client.CoreV1Api, namespace: str, name: str) -> EndedPod:
    def read_status() -> Any:
        return core_api.read_namespaced_pod(name, namespace).status

    def tell() -> str:
        try:
            log = core_api.read_namespaced_pod_log(name, namespace)
        except client.ApiException as error:  # its container has not started
            log = str(error)
        events = core_api.list_namespaced_event(
            namespace, field_selector=f"involvedObject.name={name}"
        )
        told = [f"{event.reason}: {event.message}" for event in events.items]
        return f"the pod did not end: {read_status()}\n{told}\n{log}"

    wait_until(lambda: read_status().phase in ENDED_PHASES, _END_SECONDS, describe=tell)
    [container] = read_status().container_statuses
    log = core_api.read_namespaced_pod_log(name, namespace)
    return EndedPod(container.state.terminated.exit_code, log)


@pytest.mark.parametrize(
    ("scenario", "options", "exit_code", "expected"),
    [
        ("ok", [], 0, {"subtype": "success", "is_error": False}),
        ("tools", [], 0, {"subtype": "success", "is_error": False}),
        ("loop_tools", ["--max-turns", "1"], 1, {"subtype": "error_max_turns", "is_error": True}),
        ("api_error_500", [], 1, {"terminal_reason": "api_error", "api_error_status": 500}),
        ("auth_401", [], 1, {"terminal_reason": "api_error", "api_error_status": 401}),
    ],
    ids=["ok", "tools", "max_turns", "api_error_500", "auth_401"],
)
def test_real_cli_in_a_pod_ends_as_recorded(
    run_pod: Callable[..., EndedPod],
    real_image: str,
    model_api: ModelApi,
    scenario: str,
    options: list[str],
    exit_code: int,
    expected: dict[str, Any],
) -> None:
    model_api.switch(scenario)

    pod = run_pod(
        real_image,
        CLAUDE,
        "--dangerously-skip-permissions",
        *options,
        environment=model_api.environment(),
    )

    assert pod.exit_code == exit_code, pod.log
    result = pod.last_event()
    assert {key: result[key] for key in expected} == expected
    assert [request["path"] for request in model_api.requests()][:1] == ["/v1/messages?beta=true"]


def test_real_cli_resumes_a_session_from_the_home_claim(
    run_pod: Callable[..., EndedPod],
    real_image: str,
    model_api: ModelApi,
    home_claim: Callable[[str], str],
    pod_namespace: str,
) -> None:
    claim = home_claim(pod_namespace)
    environment = model_api.environment()
    first = run_pod(real_image, CLAUDE, environment=environment, home_claim=claim)
    session_id = first.last_event()["session_id"]

    second = run_pod(
        real_image, CLAUDE, "--resume", session_id, environment=environment, home_claim=claim
    )

    assert second.exit_code == 0, second.log
    assert second.last_event()["session_id"] == session_id
    # The second request carries the first prompt and its answer, so the session was read back.
    assert model_api.requests()[-1]["n_messages"] > model_api.requests()[0]["n_messages"]


@pytest.mark.parametrize(
    ("transcript", "exit_code"),
    [("ok", 0), ("api_error_500", 1), ("killed_sigterm_midstream", 143)],
)
def test_replay_image_ends_as_the_recording_did(
    run_pod: Callable[..., EndedPod], replay_image: str, transcript: str, exit_code: int
) -> None:
    pod = run_pod(replay_image, CLAUDE, environment={"REPLAY_TRANSCRIPT": transcript})

    assert pod.exit_code == exit_code, pod.log
    assert json.loads(pod.log.splitlines()[0])["subtype"] == "init"
