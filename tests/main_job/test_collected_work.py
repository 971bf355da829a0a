"""A run whose agent's work is collected, from the request to what a person can do with it."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git_server import GIT_PASSWORD, make_repository, serve_repositories
from tests.main_job.conftest import COMMAND, CliRun, Traces, plain
from tests.main_job.test_git_workspace import git_robot as git_robot  # a fixture
from tests.main_job.test_git_workspace import look_into
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [
    pytest.mark.any_cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

RunCli = Callable[..., CliRun]
BuildRequest = Callable[..., dict[str, Any]]
GitRobot = Callable[[str], str]

# What a check leaves is the agent's too: it works in the same folder, before the work is collected.
MAKE_WORK = """
git config user.name a && git config user.email a@b.c
git commit -q --allow-empty -m 'Say nothing'
echo one >ONE && git add ONE && git commit -q -m 'Add ONE'
echo changed >README && echo two >'new file' && echo ignored >x.log && echo '*.log' >.gitignore
"""


@pytest.fixture
def served(tmp_path: Path, node_address: str) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    make_repository(folder, commits=2)
    with serve_repositories(folder, node_address) as address:
        yield address, folder / "project.git"


@pytest.fixture
def build_work(
    build_request: BuildRequest,
    git_image: str,
    served: tuple[str, Path],
    git_robot: GitRobot,
) -> BuildRequest:
    """A request whose agent works on a clone, and whose work is collected."""
    credentials = git_robot(GIT_PASSWORD)

    def build(**fields: Any) -> dict[str, Any]:
        git = {"image": git_image, "credentials_secret": credentials}
        runtime = {"git": git, "working_directory": None, **fields.pop("runtime", {})}
        return build_request(
            git_image,
            **{
                "env": {"REPLAY_TRANSCRIPT": "ok"},
                "workspace": {"repo_url": served[0], "branch": "agent/work"},
                "deliver": "collect",
                "runtime": runtime,
                **fields,
            },
        )

    return build


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, *args], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def claude_jobs(prefect_server: PrefectServer, *args: str) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_HOME": str(prefect_server.home),
    }
    return subprocess.run(
        [COMMAND, *args], env=environment, capture_output=True, timeout=120, check=False
    )


def test_work_is_collected_and_can_be_applied_to_a_clone(
    run_cli: RunCli,
    build_work: BuildRequest,
    served: tuple[str, Path],
    storage: Path,
    prefect_server: PrefectServer,
    agents_namespace: str,
    traces: Traces,
    tmp_path: Path,
) -> None:
    request = build_work(check={"command": MAKE_WORK}, expect_changes=True)

    ended = run_cli(request)

    assert ended.exit_code == 0, ended.output
    result = ended.result
    work = result["work"]
    assert (work["collected"], work["problem"], work["left_out"]) == (True, None, [])
    assert (work["branch"], work["commits"], work["files_changed"]) == ("agent/work", 2, 4)
    files = {file["path"]: (file["status"], file["size_bytes"]) for file in work["files"]}
    assert files == {
        ".gitignore": ("added", 6),
        "ONE": ("added", 4),
        "README": ("modified", 8),
        "new file": ("added", 4),
    }
    assert "Collected the work: 2 commits, 4 changed files, +4 −1 lines." in plain(ended.output)

    # The Job is finished, since its keeper has ended.
    def has_finished() -> bool:
        job = traces.job(agents_namespace, result["kubernetes"]["job_name"])
        return job is None or job["status"].get("succeeded") == 1

    wait_until(has_finished, 30)
    logs = prefect_server.logs(result["flow_run_id"])
    assert "still run" not in logs
    pages = {
        artifact["key"].rsplit("-", 2)[-2]: artifact["data"]
        for artifact in prefect_server.artifacts(result["flow_run_id"])
    }
    assert "+one" in pages["work"]
    assert "new file" in pages["work"]
    assert "2 commits, 4 changed files" in pages["report"]

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(served[1]), str(clone))
    bundle = storage / work["bundle_key"]
    git(clone, "fetch", "-q", str(bundle), "refs/heads/claude-jobs/work")
    assert git(clone, "rev-parse", "FETCH_HEAD").strip() == work["work_commit"]
    git(clone, "checkout", "-q", work["work_commit"])
    assert (clone / "README").read_text() == "changed\n"
    assert (clone / "new file").read_text() == "two\n"
    assert git(clone, "log", "--format=%s", "-n2", work["head_commit"]) == "Add ONE\nSay nothing\n"
    git(clone, "checkout", "-q", work["base_commit"])
    git(clone, "apply", "--check", str(storage / work["patch_key"]))
    which = (result["agent_id"], "--namespace", agents_namespace)
    applied = claude_jobs(prefect_server, "work", *which, "--apply", str(clone))
    assert applied.returncode == 0, applied
    branch = f"claude-jobs/{result['agent_id']}"
    assert git(clone, "rev-parse", branch).strip() == work["work_commit"], applied
    patch = claude_jobs(prefect_server, "work", *which, "--patch").stdout
    assert patch == (storage / work["patch_key"]).read_bytes()


@pytest.mark.slice
def test_run_without_changes_ends_so_where_they_are_expected(
    run_cli: RunCli, build_work: BuildRequest
) -> None:
    ended = run_cli(build_work(expect_changes=True))

    result = ended.result
    assert (ended.exit_code, result["error_code"]) == (1, "no_changes"), ended.output
    assert (result["work"]["collected"], result["work"]["files"]) == (True, [])
    assert result["work"]["head_commit"] == result["work"]["base_commit"]


@pytest.mark.slice
def test_work_of_an_agent_that_failed_is_collected_too(
    run_cli: RunCli, build_work: BuildRequest
) -> None:
    check = {"command": f"{MAKE_WORK} exit 3"}

    ended = run_cli(build_work(check=check))

    result = ended.result
    assert result["error_code"] == "check_failed", ended.output
    assert (result["work"]["collected"], result["work"]["commits"]) == (True, 2)


def await_agent(traces: Traces, namespace: str, agent_id: str) -> str:
    """Return the name of the agent's pod once it runs."""

    def running() -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in traces.pods(namespace)
            if pod["metadata"]["annotations"]["claude-jobs.dev/agent-id"] == agent_id
            and pod["status"]["phase"] == "Running"
        ]

    wait_until(lambda: bool(running()), 60)
    return running()[0]


SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "3"}


@pytest.mark.slice
def test_work_of_a_cancelled_run_is_collected_before_its_pod_goes(
    start_cli: Callable[..., Any],
    build_work: BuildRequest,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_work(env=SLOW)
    process = start_cli(request)
    pod = await_agent(traces, agents_namespace, request["agent"]["agent_id"])
    look_into(agents_namespace, pod, "echo half >/workspace/repo/HALF")

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)

    result = json.loads(output.rstrip("\n").rpartition("\n")[2])
    assert result["error_code"] == "cancelled"
    assert [file["path"] for file in result["work"]["files"]] == ["HALF"], output
    wait_until(lambda: not traces.job(agents_namespace, result["kubernetes"]["job_name"]), 30)


@pytest.mark.slice
def test_next_run_collects_what_a_killed_one_left(
    start_cli: Callable[..., Any],
    run_cli: RunCli,
    build_work: BuildRequest,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_work(env={**SLOW, "REPLAY_LINE_DELAY_SECONDS": "1"})
    process = start_cli(request)
    pod = await_agent(traces, agents_namespace, request["agent"]["agent_id"])
    look_into(agents_namespace, pod, "echo left >/workspace/repo/LEFT")
    process.kill()
    process.wait()

    def agent_has_ended() -> bool:
        pods = {item["metadata"]["name"]: item for item in traces.pods(agents_namespace)}
        reported = pods[pod]["status"]["containerStatuses"]
        statuses = {item["name"]: item["state"] for item in reported}
        return "terminated" in statuses["agent"] and "running" in statuses["keeper"]

    wait_until(agent_has_ended, 90)
    ended = run_cli({**request, "prompt": "Something else.", "deliver": "none"})

    assert ended.exit_code == 0, ended.output
    assert ended.result["work"] is None
    results = [json.loads(path.read_text()) for path in storage.glob("*/*/*/result.json")]
    [earlier] = [item for item in results if item["work"] is not None]
    assert earlier["error_code"] is None
    assert [file["path"] for file in earlier["work"]["files"]] == ["LEFT"]
    assert (storage / earlier["work"]["bundle_key"]).exists()


@pytest.mark.slice
def test_last_checkpoint_is_what_is_left_of_an_agent_whose_pod_is_gone(
    start_cli: Callable[..., Any],
    build_work: BuildRequest,
    agents_namespace: str,
    traces: Traces,
    storage: Path,
) -> None:
    request = build_work(env=SLOW, runtime={"limits": {"checkpoint_seconds": 2}})
    process = start_cli(request)
    pod = await_agent(traces, agents_namespace, request["agent"]["agent_id"])

    def checkpoints() -> list[Any]:
        return [json.loads(path.read_text()) for path in storage.glob("*/*/*/checkpoint.json")]

    look_into(agents_namespace, pod, "echo early >/workspace/repo/EARLY")
    wait_until(lambda: bool(checkpoints()), 30)
    look_into(agents_namespace, pod, "echo later >/workspace/repo/LATER")
    wait_until(lambda: [item["work"]["files_changed"] for item in checkpoints()] == [2], 30)
    traces.core.delete_namespaced_pod(pod, agents_namespace, grace_period_seconds=0)
    output, _ = process.communicate(timeout=120)

    result = json.loads(output.rstrip("\n").rpartition("\n")[2])
    work = result["work"]
    assert result["error_code"] is not None, output
    assert [file["path"] for file in work["files"]] == ["EARLY", "LATER"], output
    assert (storage / work["bundle_key"]).exists()
    if work["collected"]:
        # A kubelet may take longer to end the keeper than the run to have the work from it.
        assert (work["problem"], work["checkpoint_at"]) == (None, None)
    else:
        assert "What is stored is a checkpoint of" in work["problem"]
        assert work["checkpoint_at"] == checkpoints()[0]["made_at"]
