"""A run whose agent's work is pushed to the server it was cloned from."""

import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.git_server import GIT_PASSWORD, GIT_USER, let_push, make_repository, serve_repositories
from tests.main_job.conftest import CliRun, Traces, plain
from tests.main_job.test_collected_work import MAKE_WORK, claude_jobs, git
from tests.main_job.test_git_workspace import git_robot as git_robot  # a fixture
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [
    pytest.mark.any_cluster,
    pytest.mark.slice,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

BuildRequest = Callable[..., dict[str, Any]]


class Pushes:
    """The pushes that the server has carried out; the first one's answer can be held back."""

    def __init__(self) -> None:
        self.count = 0
        self.holds = False
        self.release = threading.Event()

    def answer(self, when: str, path: str) -> int | None:
        if when == "after" and path.endswith("/git-receive-pack"):
            self.count += 1
            if self.holds:
                self.holds = False
                self.release.wait(60)
                return 0
        return None


@pytest.fixture
def pushes() -> Pushes:
    return Pushes()


@pytest.fixture
def served(tmp_path: Path, node_address: str, pushes: Pushes) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    make_repository(folder, commits=2)
    bare = let_push(folder)
    with serve_repositories(folder, node_address, pushes.answer) as address:
        yield address, bare


@pytest.fixture
def build_push(
    build_request: BuildRequest,
    git_image: str,
    served: tuple[str, Path],
    git_robot: Callable[[str], str],
    core_api: client.CoreV1Api,
    agents_namespace: str,
) -> BuildRequest:
    """A request whose work is pushed, with a Secret of its own for that."""
    clones = git_robot(GIT_PASSWORD)

    def build(password: str = GIT_PASSWORD, **fields: Any) -> dict[str, Any]:
        name = f"push-{uuid.uuid4().hex[:8]}"
        body: Any = {
            "metadata": {"name": name},
            "stringData": {"username": GIT_USER, "password": password},
        }
        core_api.create_namespaced_secret(agents_namespace, body)
        return build_request(
            git_image,
            **{
                "env": {"REPLAY_TRANSCRIPT": "ok"},
                "task_id": "t-1",
                "workspace": {"repo_url": served[0], "branch": "agent/work"},
                "deliver": "push",
                "check": {"command": MAKE_WORK},
                "runtime": {
                    "git": {"image": git_image, "credentials_secret": clones},
                    "publish": {"credentials_secret": name},
                    "working_directory": None,
                },
                **fields,
            },
        )

    return build


def test_work_is_on_its_branch_when_the_run_ends(
    run_cli: Callable[..., CliRun],
    build_push: BuildRequest,
    served: tuple[str, Path],
    prefect_server: PrefectServer,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_push()

    ended = run_cli(request)

    assert ended.exit_code == 0, ended.output
    result = ended.result
    published = result["work"]["published"]
    branch = f"claude-jobs/no-tenant/{result['agent_id']}/t-1"
    assert (published["branch"], published["problem"]) == (branch, None)
    assert published["commit"] == result["work"]["work_commit"]
    head = git(served[1], "rev-parse", f"refs/heads/{branch}").strip()
    assert head == published["commit"]
    assert git(served[1], "show", f"{head}:ONE") == "one\n"
    assert git(served[1], "show", f"{head}:README") == "changed\n"
    assert f"Pushed {head} to branch {branch}" in plain(ended.output)
    [report] = [
        artifact["data"]
        for artifact in prefect_server.artifacts(result["flow_run_id"])
        if "report" in artifact["key"]
    ]
    assert branch in report
    secret = request["runtime"]["publish"]["credentials_secret"]
    for seen in (*traces.pods(agents_namespace), ended.output, report):
        assert secret not in json.dumps(seen)
        assert GIT_PASSWORD not in json.dumps(seen)


def test_work_that_could_not_be_pushed_is_kept_and_pushed_by_one_command(
    run_cli: Callable[..., CliRun],
    build_push: BuildRequest,
    served: tuple[str, Path],
    storage: Path,
    prefect_server: PrefectServer,
    core_api: client.CoreV1Api,
    agents_namespace: str,
) -> None:
    request = build_push("not-the-password-of-it")
    ended = run_cli(request)

    result = ended.result
    assert (ended.exit_code, result["error_code"]) == (1, "work_not_delivered"), ended.output
    assert "credentials were refused" in result["message"], result
    which = (result["agent_id"], "--run", result["flow_run_id"], "--push")
    assert f"`{' '.join(('claude-jobs work', *which))}`" in result["advice"]
    assert result["work"]["collected"]
    assert (storage / result["work"]["bundle_key"]).exists()
    assert "not-the-password-of-it" not in ended.output
    assert "claude-jobs/" not in git(served[1], "for-each-ref")

    corrected: Any = {"stringData": {"password": GIT_PASSWORD}}
    name = request["runtime"]["publish"]["credentials_secret"]
    core_api.patch_namespaced_secret(name, agents_namespace, corrected)
    pushed = claude_jobs(prefect_server, "work", *which, "--namespace", agents_namespace)
    assert pushed.returncode == 0, pushed
    branch = f"refs/heads/claude-jobs/no-tenant/{result['agent_id']}/t-1"
    assert git(served[1], "rev-parse", branch).strip() == result["work"]["work_commit"]
    assert GIT_PASSWORD.encode() not in pushed.stdout + pushed.stderr


def test_run_that_was_killed_after_its_push_is_finished_by_the_next_one(
    start_cli: Callable[..., Any],
    run_cli: Callable[..., CliRun],
    build_push: BuildRequest,
    served: tuple[str, Path],
    pushes: Pushes,
    storage: Path,
) -> None:
    pushes.holds = True
    request = build_push()
    process = start_cli(request)
    wait_until(lambda: pushes.count == 1, 90)
    process.kill()
    process.wait()
    pushes.release.set()

    ended = run_cli({**request, "prompt": "Something else.", "deliver": "none", "check": None})

    assert ended.exit_code == 0, ended.output
    assert ended.result["work"] is None
    results = [json.loads(path.read_text()) for path in storage.glob("*/*/*/result.json")]
    [earlier] = [item for item in results if item["work"] is not None]
    published = earlier["work"]["published"]
    assert (earlier["error_code"], published["problem"]) == (None, None)
    head = git(served[1], "rev-parse", f"refs/heads/{published['branch']}").strip()
    assert head == published["commit"] == earlier["work"]["work_commit"]
    assert published["replaced_commit"] is None
    assert pushes.count == 1
    assert all(GIT_PASSWORD.encode() not in path.read_bytes() for path in files_of(storage))


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
