"""The product as operators deploy it: the manifests of deployments/ on a real cluster.

Prefect's server runs on this machine, where pods reach it at the node's address; worker, flow runs
and agents are pods, each as the ServiceAccount that it is shipped with.
"""

import json
import os
import shutil
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

from tests.main_job.conftest import SMALL, traces
from tests.prefect_server import OwnPrefectServer, PrefectServer, run_prefect_server
from tests.waits import wait_until

__all__ = ["traces"]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deployments" / "kubernetes"
NAMESPACE = "claude-jobs"  # as the manifests have it
VOLUME = "claude-jobs-test-results"
READY = "Claude Code ready"
_PREFECT = Path(sys.executable).with_name("prefect")


@pytest.fixture(scope="session")
def flow_run_image() -> str:
    """The image of worker and flow runs, with this very code."""
    image = os.environ.get("FLOW_RUN_IMAGE")
    if not image:
        pytest.skip("FLOW_RUN_IMAGE names no image")
    return image


@pytest.fixture(scope="module")
def server(
    node_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnPrefectServer]:
    """A server that pods reach too; it takes about 12 s to start."""
    with run_prefect_server(tmp_path_factory.mktemp("prefect"), node_address) as server:
        yield server


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder behind the claim for results."""
    folder = tmp_path_factory.mktemp("results")
    # hostPath knows no fsGroup.
    folder.chmod(0o777)
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@pytest.fixture(scope="module")
def deployed(
    core_api: client.CoreV1Api,
    flow_run_image: str,
    server: OwnPrefectServer,
    results: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[Deployed]":
    """All of deployments/, applied and ready; gone again at the end."""
    _refuse_namespace_in_use(core_api)
    overlay = tmp_path_factory.mktemp("overlay")
    _write_overlay(overlay, flow_run_image, server.api_url, results)
    try:
        prefect = _environment(server, flow_run_image)
        _run([_PREFECT, "work-pool", "create", "kubernetes", *_POOL_OPTIONS], prefect)
        _run([_PREFECT, "work-pool", "create", "process", "--type=process"], prefect)
        _run([_PREFECT, "--no-prompt", "deploy", "--prefect-file", _PREFECT_FILE, "--all"], prefect)
        kubectl("apply", "-k", str(overlay))
        kubectl("rollout", "status", "deployment/prefect-worker", "--timeout=120s")
        yield Deployed(server, results, flow_run_image)
    finally:
        kubectl("delete", "-k", str(overlay), "--ignore-not-found", "--timeout=120s")


_POOL_OPTIONS = ("--type=kubernetes", f"--base-job-template={MANIFESTS / 'work-pool.json'}")
_PREFECT_FILE = ROOT / "deployments" / "prefect.yaml"


def _refuse_namespace_in_use(core_api: client.CoreV1Api) -> None:
    found = core_api.list_namespace(field_selector=f"metadata.name={NAMESPACE}")
    if found.items:
        pytest.fail(f"the cluster has a namespace {NAMESPACE} already; it may be in use")


def _write_overlay(folder: Path, image: str, api_url: str, results: Path) -> None:
    """Write what differs from cluster to cluster: image, addresses, volumes."""
    name, _, tag = image.rpartition(":")
    shutil.copytree(MANIFESTS / "base", folder / "base")
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": VOLUME},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(results), "type": "Directory"},
            "claimRef": {"namespace": NAMESPACE, "name": "results"},
        },
    }
    claim = {"spec": {"storageClassName": "", "volumeName": VOLUME}}
    api = {"data": {"PREFECT_API_URL": api_url}}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": ["base", "volume.yaml"],
        "images": [{"name": "claude-jobs-flow-run", "newName": name, "newTag": tag}],
        "patches": [
            {"target": {"kind": "ConfigMap", "name": "prefect-api"}, "patch": _patch(api)},
            {"target": {"kind": "PersistentVolumeClaim"}, "patch": _patch(claim)},
        ],
    }
    (folder / "volume.yaml").write_text(yaml.safe_dump(volume))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def _patch(fields: dict[str, Any]) -> str:
    # A merge patch has to name something; the target decides what it changes.
    named: dict[str, Any] = {"apiVersion": "v1", "kind": "Any", "metadata": {"name": "any"}}
    return yaml.safe_dump({**named, **fields})


def _environment(server: PrefectServer, image: str) -> dict[str, str]:
    return {
        **os.environ,
        "PREFECT_API_URL": server.api_url,
        "PREFECT_HOME": str(server.home),
        "CLAUDE_JOBS_IMAGE": image,
    }


def _run(command: list[Any], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def kubectl(*arguments: str) -> str:
    return _run(["kubectl", "--namespace", NAMESPACE, *arguments])


@dataclass(frozen=True)
class Deployed:
    """The deployed product, and what people do with it."""

    server: PrefectServer
    results: Path
    image: str

    def deployments(self) -> list[Any]:
        """What Prefect knows of deployments."""
        return self.server.post("/deployments/filter", {})

    def start(self, image: str, **fields: Any) -> "StartedRun":
        """Start a run of a new agent from the deployment, as the UI does."""
        agent_id = f"agent-{uuid.uuid4().hex[:8]}"
        runtime = {
            "image": image,
            "working_directory": "/work",
            "service_account": "agent",
            "resources": SMALL,
        }
        request = {"agent": {"agent_id": agent_id}, "runtime": runtime, "prompt": "Hi.", **fields}
        [deployment] = self.server.post(
            "/deployments/filter",
            {
                "flows": {"name": {"any_": ["run-agent"]}},
                "deployments": {"name": {"any_": ["kubernetes"]}},
            },
        )
        body = {"parameters": {"request": request}, "state": {"type": "SCHEDULED"}}
        path = f"/deployments/{deployment['id']}/create_flow_run"
        return StartedRun(self, agent_id, self.server.post(path, body)["id"])


@dataclass(frozen=True)
class StartedRun:
    """A run, and what it is known by."""

    deployed: Deployed
    agent_id: str
    flow_run_id: str

    @property
    def logs(self) -> str:
        return self.deployed.server.logs(self.flow_run_id)

    @property
    def states(self) -> list[str]:
        """Every state it has had, by name."""
        found = self.deployed.server.get(f"/flow_run_states/?flow_run_id={self.flow_run_id}")
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def wait_for_log(self, text: str, seconds: float = 120) -> None:
        self._wait_until(lambda: text in self.logs, seconds)

    def wait_for_end(self, seconds: float = 150) -> dict[str, Any]:
        """Return the state in which it ended."""
        ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        self._wait_until(lambda: self.state["type"] in ended, seconds)
        return self.state

    @property
    def state(self) -> dict[str, Any]:
        return self.deployed.server.flow_run(self.flow_run_id)["state"]

    @property
    def result(self) -> dict[str, Any]:
        [path] = self.deployed.results.glob(f"claude-jobs/*/{self.flow_run_id}/1/result.json")
        return json.loads(path.read_bytes())

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        def describe() -> str:
            pods = kubectl("get", "pods,jobs", "-o", "wide")
            worker = kubectl("logs", "deployment/prefect-worker", "--tail=40")
            return f"{self.states}\n{self.logs}\n{pods}\n{worker}"

        wait_until(condition, seconds, pause_seconds=0.5, describe=describe)
