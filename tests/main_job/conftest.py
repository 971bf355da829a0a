"""A Prefect server, a namespace, and `claude-jobs run` as people run it."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.namespaces import make_namespace
from tests.prefect_server import PrefectServer
from tests.waits import WaitRanOut

COMMAND = Path(sys.executable).with_name("claude-jobs")
SMALL = {
    "cpu_request": "100m",
    "memory_request": "64Mi",
    "memory_limit": "1Gi",
    "ephemeral_storage_request": "16Mi",
    "ephemeral_storage_limit": "1Gi",
    "transcript_storage_limit": "256Mi",
}


@dataclass(frozen=True)
class CliRun:
    """One `claude-jobs run` that has ended."""

    exit_code: int
    output: str

    @property
    def result(self) -> dict[str, Any]:
        return json.loads(self.output.rstrip("\n").rpartition("\n")[2])


@pytest.fixture(scope="module")
def agents_namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    with make_namespace(core_api, "main-job") as name:
        yield name


@dataclass(frozen=True)
class Traces:
    """What a run has left in the cluster, as the API's own JSON."""

    core: Any
    batch: Any
    coordination: Any

    def jobs(self, namespace: str) -> list[Any]:
        return self._items(self.batch.list_namespaced_job, namespace)

    def job(self, namespace: str, name: str) -> Any:
        return next((job for job in self.jobs(namespace) if job["metadata"]["name"] == name), None)

    def pods(self, namespace: str) -> list[Any]:
        return self._items(self.core.list_namespaced_pod, namespace)

    def secrets(self, namespace: str) -> list[Any]:
        found = self._items(self.core.list_namespaced_secret, namespace)
        return [secret for secret in found if secret["type"] == "Opaque"]

    def leases(self, namespace: str) -> list[Any]:
        return self._items(self.coordination.list_namespaced_lease, namespace)

    def kubernetes_events(self, namespace: str) -> list[Any]:
        return self._items(self.core.list_namespaced_event, namespace)

    def _items(self, read: Callable[..., Any], namespace: str) -> list[Any]:
        # Tests look ten times a second, and the client takes milliseconds to model each object.
        return json.loads(read(namespace, _preload_content=False).data)["items"]


@pytest.fixture
def traces(core_api: client.CoreV1Api) -> Traces:
    library: Any = client
    api: Any = core_api
    return Traces(
        core_api, library.BatchV1Api(api.api_client), library.CoordinationV1Api(api.api_client)
    )


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def build_request(agents_namespace: str, storage: Path) -> Callable[..., dict[str, Any]]:
    """A request for a new agent; keyword arguments replace its fields, `runtime` is merged."""

    def build(image: str, **fields: Any) -> dict[str, Any]:
        agent = {"agent_id": f"agent-{uuid.uuid4().hex[:8]}", **fields.pop("agent", {})}
        runtime = {
            "image": image,
            "namespace": agents_namespace,
            "working_directory": "/work",
            "resources": SMALL,
            "result_storage": str(storage),
            **fields.pop("runtime", {}),
        }
        return {"agent": agent, "runtime": runtime, "prompt": "Say hello.", **fields}

    return build


@pytest.fixture
def start_cli(
    prefect_server: PrefectServer, tmp_path: Path
) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(request: dict[str, Any], *options: str, **environment: str) -> subprocess.Popen[str]:
        parameters = tmp_path / f"request-{uuid.uuid4().hex[:8]}.json"
        parameters.write_text(json.dumps(request))
        process = subprocess.Popen(
            [COMMAND, "run", parameters, "--json", *options],
            env={
                **os.environ,
                "PREFECT_API_URL": prefect_server.api_url,
                "PREFECT_HOME": str(prefect_server.home),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def run_cli(
    start_cli: Callable[..., "subprocess.Popen[str]"],
) -> Callable[..., CliRun]:
    def run(request: dict[str, Any], *options: str, **environment: str) -> CliRun:
        process = start_cli(request, *options, **environment)
        try:
            output, _ = process.communicate(timeout=150)
        except subprocess.TimeoutExpired as unfinished:
            raise WaitRanOut(f"the run goes on: {unfinished.output}") from None
        return CliRun(process.returncode, output)

    return run


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Callable[..., str]:
    """Write a kubeconfig like the cluster's own, with another server or another user."""

    def write(*, token: str | None = None, server: str | None = None) -> str:
        found: Any = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        [names] = [c["context"] for c in found["contexts"] if c["name"] == found["current-context"]]
        if token is not None:
            found["users"] = [{"name": names["user"], "user": {"token": token}}]
        for named in found["clusters"]:
            named["cluster"]["server"] = server or named["cluster"]["server"]
        path = tmp_path / f"kubeconfig-{uuid.uuid4().hex[:8]}"
        path.write_text(yaml.safe_dump(found))
        return str(path)

    return write


@pytest.fixture
def token_allowed(core_api: client.CoreV1Api, agents_namespace: str) -> Callable[..., str]:
    """Make a ServiceAccount that may do just this in the namespace, and return its token."""
    library: Any = client
    api: Any = core_api
    rbac = library.RbacAuthorizationV1Api(api.api_client)

    def make(*rules: dict[str, Any]) -> str:
        name = f"limited-{uuid.uuid4().hex[:8]}"
        metadata = {"name": name, "namespace": agents_namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        account = {"kind": "ServiceAccount", **metadata}
        api.create_namespaced_service_account(agents_namespace, {"metadata": metadata})
        rbac.create_namespaced_role(agents_namespace, {"metadata": metadata, "rules": rules})
        rbac.create_namespaced_role_binding(
            agents_namespace, {"metadata": metadata, "roleRef": role, "subjects": [account]}
        )
        answer = api.create_namespaced_service_account_token(
            name, agents_namespace, {"spec": {"expirationSeconds": 600}}
        )
        return answer.status.token

    return make


def plain(text: str) -> str:
    """Text without terminal codes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
