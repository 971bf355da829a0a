"""kubectl, where the machine has one, works on the embedded cluster without tricks."""

import json
import shutil
import subprocess
from collections.abc import Callable
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


@pytest.fixture
def allow(
    cluster: ClusterProcess, space: Space, kubectl: Kubectl, tmp_path: Path
) -> Callable[..., Kubectl]:
    """Makes a ServiceAccount that may do just this, and returns what it can use."""

    def make(**verbs_by_resource: str) -> Kubectl:
        name = f"limited-{len(verbs_by_resource)}"
        kubectl.run("create", "serviceaccount", name)
        rules = [
            {
                "apiGroups": ["batch" if resource == "jobs" else ""],
                "resources": [resource.replace("_", "/")],
                "verbs": verbs.split(),
            }
            for resource, verbs in verbs_by_resource.items()
        ]
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": rules,
        }
        kubectl.run("apply", "-f", "-", given=json.dumps(role))
        account = f"--serviceaccount={space.name}:{name}"
        kubectl.run("create", "rolebinding", name, f"--role={name}", account)
        config = json.loads(cluster.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = kubectl.run("create", "token", name).strip()
        file = tmp_path / f"{name}.kubeconfig"
        file.write_text(json.dumps(config))
        return Kubectl(file, space.name)

    return make


def manifest(name: str) -> str:
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", **job(name, UNTIL_TERM)})


@pytest.mark.parametrize("is_admin", [True, False], ids=["administrator", "limited account"])
def test_job_is_applied_watched_read_entered_and_deleted(
    kubectl: Kubectl, allow: Callable[..., Kubectl], is_admin: bool
) -> None:
    if not is_admin:
        kubectl = allow(
            jobs="create get list watch patch delete",
            pods="get list watch",
            pods_log="get",
            pods_exec="get create",
            events="list",
        )
    assert kubectl.run("auth", "can-i", "create", "jobs.batch") == "yes\n"
    watch = kubectl.begin("get", "pods", "--watch", "--no-headers")
    kubectl.run("apply", "-f", "-", given=manifest("k"))
    kubectl.run("wait", "--for=condition=ready", "pod", "-l", "job-name=k", "--timeout=15s")
    logs = kubectl.begin("logs", "--follow", "job/k")
    entered = kubectl.run("exec", "--stdin", "job/k", "--", "cat", given="through")
    kubectl.run("exec", "job/k", "--", "sh", "-c", "exit 7", code=7)
    described = kubectl.run("describe", "pod", "-l", "job-name=k")
    job_described = kubectl.run("describe", "job", "k")
    unchanged = kubectl.run("apply", "-f", "-", given=manifest("k"))
    kubectl.run("delete", "job", "k", "--cascade=foreground")
    watch.terminate()
    seen, _ = watch.communicate(timeout=10)
    lines, _ = logs.communicate(timeout=10)

    assert entered == "through"
    assert "Container started" in described
    assert "Created pod: k-" in job_described
    assert unchanged == "job.batch/k unchanged\n"
    assert lines.splitlines()[:2] == ["up", "stopped"]
    assert [line.split()[2] for line in seen.splitlines()][-1] == "Terminating"
    assert "Running" in seen


def test_limited_account_is_told_what_it_may(allow: Callable[..., Kubectl]) -> None:
    limited = allow(jobs="get list", pods="get list")

    assert limited.run("auth", "can-i", "list", "pods") == "yes\n"
    assert limited.run("auth", "can-i", "create", "jobs", code=1) == "no\n"
    assert limited.run("get", "jobs") == ""
    limited.run("get", "secrets", code=1)
    limited.run("apply", "-f", "-", given=manifest("k"), code=1)
