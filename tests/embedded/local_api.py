"""The embedded cluster as a process, and a small HTTP client for it that hides nothing."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.waits import wait_for_value

ROOT = Path(__file__).parents[2]
RUNS_USER = "system:serviceaccount:default:runs"
START_SECONDS = 20.0  # generous: the machine may be busy with other tests


class ClusterProcess:
    """A cluster that has written its kubeconfig."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.kubeconfig = folder / f"{uuid.uuid4().hex[:8]}.kubeconfig"
        command = [sys.executable, "-m", "deployments.local", "--kubeconfig", str(self.kubeconfig)]
        with (folder / "cluster.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options], cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ)
            )
        self._apis: list[Api] = []
        deadline = time.monotonic() + START_SECONDS
        while not self.kubeconfig.exists():
            assert self.process.poll() is None, (folder / "cluster.log").read_text()
            assert time.monotonic() < deadline, "the cluster did not start"
            time.sleep(0.02)

    def api(self, token: str | None = None) -> "Api":
        self._apis.append(Api(json.loads(self.kubeconfig.read_text()), token))
        return self._apis[-1]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the process if it still runs, and every connection to it."""
        for api in self._apis:
            api.http.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)  # after a thousand pods it has some folders to delete


class Api:
    """Calls of the Kubernetes API as JSON."""

    def __init__(self, config: dict[str, Any], token: str | None = None) -> None:
        cluster = config["clusters"][0]["cluster"]
        authority = b64decode(cluster["certificate-authority-data"]).decode()
        token = token or config["users"][0]["user"]["token"]
        self.url: str = cluster["server"]
        self.tls = ssl.create_default_context(cadata=authority)
        self.http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            verify=self.tls,
            timeout=20,
        )

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        kind = headers.pop("content_type", "application/json")
        content = None if body is None else json.dumps(body).encode()
        return self.http.request(
            method, path, content=content, headers={"Content-Type": kind, **headers}
        )

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.call(method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def faults(self, *rules: dict[str, Any], seed: int = 0) -> list[str]:
        return self.ok("POST", "/_faults", {"seed": seed, "rules": list(rules)})["ids"]


class Space:
    """One namespace."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.name = f"t-{uuid.uuid4().hex[:8]}"
        api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        self.core = f"/api/v1/namespaces/{self.name}"
        self.jobs = f"/apis/batch/v1/namespaces/{self.name}/jobs"
        self.leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.name}/leases"

    def create_job(self, name: str, script: str, **pod_spec: Any) -> Any:
        return self.api.ok("POST", self.jobs, job(name, script, **pod_spec))

    def pods(self, job_name: str) -> list[Any]:
        return self.api.ok(
            "GET", f"{self.core}/pods?labelSelector=batch.kubernetes.io/job-name={job_name}"
        )["items"]

    def until(self, check: Callable[[], Any], seconds: float = 15.0) -> Any:
        return wait_for_value(check, seconds, pause_seconds=0.05)

    def conditions(self, job_name: str, kind: str) -> list[Any]:
        """Return the conditions of a Job once this one is among them; empty before."""
        status = self.api.ok("GET", f"{self.jobs}/{job_name}")["status"]
        found: list[Any] = status.get("conditions") or []
        return found if any(condition["type"] == kind for condition in found) else []

    def ended_pod(self, job_name: str) -> Any:
        def find() -> Any:
            found = self.pods(job_name)
            return found[0] if found and found[0]["status"]["phase"] in ENDED else None

        return self.until(find)

    def running_pod(self, job_name: str) -> str:
        def find() -> Any:
            found = self.pods(job_name)
            return found and found[0]["status"]["phase"] == "Running" and found[0]

        return self.until(find)["metadata"]["name"]


ENDED = ("Succeeded", "Failed")


def terminated(pod: Any) -> Any:
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]


def job(name: str, script: str, container: dict[str, Any] | None = None, **pod_spec: Any) -> Any:
    agent = {
        "name": "agent",
        "image": "busybox:1.36",
        "command": ["/bin/sh", "-c", script],
        **(container or {}),
    }
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 3, "containers": [agent]}
    return {
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {**spec, **pod_spec}}},
    }


def kubeconfig_of_runs(api: Api, kubeconfig: Path, folder: Path) -> Path:
    """Give runs a user of their own, who may do everything, so that faults can meet them alone.

    The kubeconfig is written into the folder. Once for a cluster: the user's name is `RUNS_USER`.
    """
    *_, namespace, account_name = RUNS_USER.split(":")
    name = {"metadata": {"name": account_name}}
    everything: dict[str, Any] = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    account = {"kind": "ServiceAccount", "name": account_name, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account_name}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api.ok("POST", accounts, name)
    api.ok("POST", f"{rbac}/clusterroles", {**name, "rules": [everything]})
    api.ok("POST", f"{rbac}/clusterrolebindings", {**name, "roleRef": role, "subjects": [account]})
    lifetime = {"spec": {"expirationSeconds": 86_400}}
    answer = api.ok("POST", f"{accounts}/{account_name}/token", lifetime)
    config = json.loads(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    theirs = folder / "runs.kubeconfig"
    theirs.write_text(json.dumps(config))
    return theirs
