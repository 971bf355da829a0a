"""The bare API of whatever cluster there is: statuses, headers, bodies, and what a watch shows."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.waits import wait_for_value

Json = dict[str, Any]
IMAGE = "busybox:1.36"
_NOT_FOUND = 404
# Tells on SIGTERM that it was asked, and ends with the code at once or after some seconds.
_UNTIL_TERM = "trap 'sleep {seconds}; exit {code}' TERM; echo up; while :; do sleep 0.1; done"


def until_term(code: int, seconds: float = 0) -> str:
    return _UNTIL_TERM.format(code=code, seconds=seconds)


class RawCluster:
    """Calls as the administrator of the kubeconfig's first cluster."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config: Any = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        headers: dict[str, str] = {}
        if "token" in user:
            headers["Authorization"] = f"Bearer {user['token']}"
        else:
            pair = folder / "admin.pem"
            parts = (user["client-certificate-data"], user["client-key-data"])
            pair.write_bytes(b"\n".join(map(base64.b64decode, parts)))
            context.load_cert_chain(pair)
        self.http = httpx.Client(
            base_url=cluster["server"], verify=context, headers=headers, timeout=30
        )

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        return self.http.request(method, path, content=content, headers={"Content-Type": kind})

    def ok(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        answer = self.call(method, path, body, kind)
        assert answer.status_code < 300, answer.text
        return answer.json()


class RawSpace:
    """One namespace, and the Jobs in it."""

    def __init__(self, cluster: RawCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.core = f"/api/v1/namespaces/{name}"
        self.jobs = f"/apis/batch/v1/namespaces/{name}/jobs"

    def create(self, manifest: Json) -> Any:
        """Create a Job; one that a test's first try has left under its name goes before."""
        path = f"{self.jobs}/{manifest['metadata']['name']}"
        if self.cluster.call("GET", path).status_code != _NOT_FOUND:
            self.cluster.ok("DELETE", f"{path}?propagationPolicy=Foreground")
            self.until(lambda: self.cluster.call("GET", path).status_code == _NOT_FOUND)
        return self.cluster.ok("POST", self.jobs, manifest)

    def job(self, name: str) -> Any:
        return self.cluster.ok("GET", f"{self.jobs}/{name}")

    def pods(self, job_name: str) -> list[Any]:
        selector = f"batch.kubernetes.io/job-name={job_name}"
        return self.cluster.ok("GET", f"{self.core}/pods?labelSelector={selector}")["items"]

    def running_pod(self, job_name: str) -> Any:
        """Return the one pod of a Job whose script is `until_term`, once it can be asked to end."""

        def find() -> Any:
            return [
                pod
                for pod in self.pods(job_name)
                if pod["status"]["phase"] == "Running"
                and "deletionTimestamp" not in pod["metadata"]
            ]

        [pod] = self.until(find)
        path = f"{self.core}/pods/{pod['metadata']['name']}/log"
        self.until(lambda: self.cluster.call("GET", path).text.startswith("up"))
        return pod

    def ended_job(self, name: str) -> list[Any]:
        """Return the conditions of a Job that has its final one."""
        return self.until(lambda: is_final(found := conditions(self.job(name))) and found)

    def events(self, about: str, reason: str) -> list[Any]:
        listed = self.cluster.ok("GET", f"{self.core}/events")["items"]
        return [
            event
            for event in listed
            if event["reason"] == reason and event["involvedObject"]["name"].startswith(about)
        ]

    def until(self, check: Callable[[], Any], seconds: float = 40.0) -> Any:
        return wait_for_value(check, seconds)

    @contextmanager
    def watched(self, path: str) -> Generator[list[Any]]:
        """Collect the events of a watch while the context is open."""
        seen: list[Any] = []
        is_open = threading.Event()

        def read() -> None:
            with self.cluster.http.stream("GET", path, timeout=60) as answer:
                is_open.set()
                seen.extend(map(json.loads, answer.iter_lines()))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        assert is_open.wait(10)
        yield seen
        thread.join(30)


def conditions(job: Json) -> list[Any]:
    return job["status"].get("conditions") or []


def is_final(found: list[Any]) -> bool:
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in found)


def pairs(found: list[Any]) -> list[tuple[str, str]]:
    return [(condition["type"], condition["reason"]) for condition in found]


def container(name: str, script: str, **more: Any) -> Json:
    return {"name": name, "image": IMAGE, "command": ["/bin/sh", "-c", script], **more}


def manifest(name: str, script: str = "exit 0", pod: Json | None = None, **spec: Any) -> Json:
    """Return a Job; `pod` are further fields of its pod, `spec` of its own spec."""
    pod_spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        "automountServiceAccountToken": False,
        "containers": [container("agent", script)],
        **(pod or {}),
    }
    return {
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec}, **spec},
    }
