"""kubectl, where the machine has one, works on the embedded cluster without tricks."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.embedded.local_api import ClusterProcess, Space, job

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")

UNTIL_TERM = "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.05; done"


class Kubectl:
    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._command = ["kubectl", "--kubeconfig", str(kubeconfig), "--namespace", namespace]

    def run(self, *arguments: str, given: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [*self._command, *arguments], input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*self._command, *arguments], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def kubectl(cluster: ClusterProcess, space: Space) -> Kubectl:
    return Kubectl(cluster.kubeconfig, space.name)


def manifest(name: str) -> str:
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", **job(name, UNTIL_TERM)})


def test_job_is_applied_watched_read_entered_and_deleted(kubectl: Kubectl) -> None:
    watch = kubectl.begin("get", "pods", "--watch", "--no-headers")
    kubectl.run("apply", "-f", "-", given=manifest("k"))
    kubectl.run("wait", "--for=condition=ready", "pod", "-l", "job-name=k", "--timeout=15s")
    logs = kubectl.begin("logs", "--follow", "job/k")
    entered = kubectl.run("exec", "--stdin", "job/k", "--", "cat", given="through")
    kubectl.run("exec", "job/k", "--", "sh", "-c", "exit 7", code=7)
    described = kubectl.run("describe", "pod", "-l", "job-name=k")
    unchanged = kubectl.run("apply", "-f", "-", given=manifest("k"))
    kubectl.run("delete", "job", "k", "--cascade=foreground")
    watch.terminate()
    seen, _ = watch.communicate(timeout=10)
    lines, _ = logs.communicate(timeout=10)

    assert entered == "through"
    assert "Started container agent" in described
    assert unchanged == "job.batch/k unchanged\n"
    assert lines.splitlines()[:2] == ["up", "stopped"]
    assert [line.split()[2] for line in seen.splitlines()][-1] == "Terminating"
    assert "Running" in seen


def test_limited_account_is_told_what_it_may(
    cluster: ClusterProcess, space: Space, kubectl: Kubectl, tmp_path: Path
) -> None:
    kubectl.run("create", "serviceaccount", "limited")
    kubectl.run("create", "role", "limited", "--verb=get,list", "--resource=pods,jobs.batch")
    account = f"--serviceaccount={space.name}:limited"
    kubectl.run("create", "rolebinding", "limited", "--role=limited", account)
    token = kubectl.run("create", "token", "limited").strip()
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = token
    file = tmp_path / "limited.kubeconfig"
    file.write_text(json.dumps(config))
    limited = Kubectl(file, space.name)

    assert limited.run("auth", "can-i", "list", "pods") == "yes\n"
    assert limited.run("auth", "can-i", "create", "jobs", code=1) == "no\n"
    assert limited.run("get", "jobs") == ""
    limited.run("get", "secrets", code=1)
