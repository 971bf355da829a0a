"""A run whose repository is cloned before its agent starts, from a server that wants a password."""

import asyncio
import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.pod_exec import open_exec
from tests.git_server import GIT_PASSWORD, GIT_USER, make_repository, serve_repositories
from tests.main_job.conftest import CliRun, Traces
from tests.waits import wait_until

pytestmark = [
    pytest.mark.any_cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

BuildRequest = Callable[..., dict[str, Any]]


@pytest.fixture
def repository(tmp_path: Path, node_address: str) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    make_repository(folder, commits=2)
    with serve_repositories(folder, node_address) as address:
        yield address


@pytest.fixture
def git_robot(core_api: client.CoreV1Api, agents_namespace: str) -> Callable[[str], str]:
    """Makes a Secret with a password for the git server and returns its name."""

    def make(password: str) -> str:
        name = f"git-{uuid.uuid4().hex[:8]}"
        body: Any = {
            "metadata": {"name": name},
            "type": "kubernetes.io/basic-auth",
            "stringData": {"username": GIT_USER, "password": password},
        }
        core_api.create_namespaced_secret(agents_namespace, body)
        return name

    return make


def test_agent_finds_the_clone_in_its_working_directory(
    start_cli: Callable[..., Any],
    build_request: BuildRequest,
    git_image: str,
    repository: str,
    git_robot: Callable[[str], str],
    agents_namespace: str,
    traces: Traces,
) -> None:
    secret = git_robot(GIT_PASSWORD)
    request = build_request(
        git_image,
        env={"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "3"},
        workspace={"repo_url": repository, "repo_ref": "topic", "branch": "agent/work"},
        runtime={
            "git": {"image": git_image, "credentials_secret": secret},
            "working_directory": None,
        },
    )
    agent_id = request["agent"]["agent_id"]
    process = start_cli(request)

    def pods() -> list[Any]:
        found = traces.pods(agents_namespace)
        return [
            pod
            for pod in found
            if pod["metadata"]["annotations"]["claude-jobs.dev/agent-id"] == agent_id
            and pod["status"]["phase"] == "Running"
        ]

    wait_until(lambda: bool(pods()), 60)
    [pod] = pods()
    seen = look_into(agents_namespace, pod["metadata"]["name"])
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert seen.splitlines() == ["/workspace/repo", "commit 2", "topic", "agent/work", "none"], seen
    assert json.loads(output.rstrip("\n").rpartition("\n")[2])["error_code"] == "cancelled"
    environment = {entry["name"] for entry in pod["spec"]["containers"][0]["env"]}
    assert {"TRACEPARENT", "OTEL_RESOURCE_ATTRIBUTES"} <= environment
    assert GIT_PASSWORD not in json.dumps(pod) + output


LOOK = (
    "cd /workspace/repo; pwd; cat README TOPIC; git rev-parse --abbrev-ref HEAD; "
    "[ -e /var/run/claude-jobs/git ] && echo credentials || echo none"
)


def look_into(namespace: str, pod: str, script: str = LOOK) -> str:
    """Run a script in the agent's container, by default one that tells what is there."""

    async def look() -> bytes:
        connection = ClusterConnection.from_kubeconfig_file(os.environ["KUBECONFIG"])
        async with (
            ClusterClient(connection) as api,
            open_exec(api, namespace, pod, "agent", ["/bin/sh", "-c", script]) as session,
        ):
            return b"".join([chunk async for chunk in session.stdout_chunks()])

    return asyncio.run(look()).decode()


@pytest.mark.slice
def test_clone_that_fails_ends_the_run_with_gits_words_and_no_password(
    run_cli: Callable[..., CliRun],
    build_request: BuildRequest,
    git_image: str,
    repository: str,
    git_robot: Callable[[str], str],
) -> None:
    secret = git_robot("not-the-password-of-it")
    request = build_request(
        git_image,
        workspace={"repo_url": repository},
        runtime={"git": {"image": git_image, "credentials_secret": secret}},
    )

    run = run_cli(request)

    assert run.exit_code == 1, run.output
    result = run.result
    assert result["error_code"] == "k8s_pod_schedule_failed"
    assert "Init container clone" in result["message"], result
    assert "Authentication failed" in result["message"], result
    assert "not-the-password-of-it" not in run.output
