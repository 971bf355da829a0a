"""Whole runs beside other containers, as a mesh or a policy injects them into the agent's pod."""

import json
import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.main_job.conftest import COMMAND, CliRun, PrefectServer, Traces, plain
from tests.main_job.endings import AT_WORK, StartedRun
from tests.mutating_webhook import mutating_webhook
from tests.waits import wait_until

pytestmark = [pytest.mark.slice, pytest.mark.timeout(300)]

# Ends as soon as it is told to, and never by itself.
RUNS_ON = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
CRASHES_ONCE = (
    f"test -e /state/seen || {{ touch /state/seen; echo 'no cert yet'; exit 1; }}; {RUNS_ON}"
)
STILL_RUNS = "container mesh still runs"

BuildRequest = Callable[..., dict[str, Any]]
Inject = Callable[..., Any]


@pytest.fixture
def inject(
    core_api: client.CoreV1Api,
    agents_namespace: str,
    node_address: str,
    replay_image: str,
    tmp_path: Path,
) -> Inject:
    """Inject a container named `mesh`, before the agent's in its list, into every new pod."""

    @contextmanager
    def injected(script: str, *, native: bool = False, **fields: Any) -> Generator[None]:
        container: dict[str, Any] = {
            "name": "mesh",
            "image": replay_image,
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [{"name": "mesh-state", "mountPath": "/state"}],
            **fields,
        }
        volume: dict[str, Any] = {"name": "mesh-state", "emptyDir": {}}
        place: dict[str, Any] = {"op": "add", "path": "/spec/containers/0", "value": container}
        if native:
            sidecar = {**container, "restartPolicy": "Always"}
            place = {"op": "add", "path": "/spec/initContainers", "value": [sidecar]}
        patch = [place, {"op": "add", "path": "/spec/volumes/-", "value": volume}]
        with mutating_webhook(core_api, agents_namespace, node_address, tmp_path, "pods", patch):
            yield

    return injected


@pytest.fixture
def claude_jobs(
    prefect_server: PrefectServer, agents_namespace: str
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command of an operator in the agents' namespace."""

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *words, "--namespace", agents_namespace],
            env={
                **os.environ,
                "PREFECT_API_URL": prefect_server.api_url,
                "PREFECT_HOME": str(prefect_server.home),
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def agent_of(request: dict[str, Any]) -> str:
    return str(request["agent"]["agent_id"])


def of_job(result: dict[str, Any]) -> str:
    return str(result["kubernetes"]["job_name"])


@pytest.mark.any_cluster
def test_job_whose_mesh_runs_on_is_deleted_after_a_success(
    inject: Inject,
    run_cli: Callable[..., CliRun],
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "ok"})
    with inject(RUNS_ON):
        ended = run_cli(request)

    result = ended.result
    job = of_job(result)
    assert result["error_code"] is None, ended.output
    assert result["transcript"]["complete"] is True
    assert result["kubernetes"]["still_running"] == ["mesh"]
    assert f"Deleting Job {job}: {STILL_RUNS}" in " ".join(plain(ended.output).split())
    wait_until(lambda: traces.job(agents_namespace, job) is None, seconds=60)
    wait_until(
        lambda: (
            job
            not in json.dumps([*traces.secrets(agents_namespace), *traces.pods(agents_namespace)])
        ),
        seconds=60,
    )


@pytest.mark.any_cluster
def test_job_whose_mesh_ends_after_the_agent_keeps_its_ttl(
    inject: Inject,
    run_cli: Callable[..., CliRun],
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "ok"})
    # Longer than the agent works, shorter than it and the time that it is given.
    with inject("sleep 4"):
        ended = run_cli(request)

    job = of_job(ended.result)
    assert ended.result["error_code"] is None, ended.output
    wait_until(lambda: "Complete" in json.dumps(traces.job(agents_namespace, job)), seconds=30)
    assert traces.job(agents_namespace, job)["spec"]["ttlSecondsAfterFinished"] == 300


@pytest.mark.any_cluster
def test_kept_job_whose_mesh_runs_on_blocks_no_run_and_is_no_live_agent(
    inject: Inject,
    run_cli: Callable[..., CliRun],
    claude_jobs: Callable[..., "subprocess.CompletedProcess[str]"],
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(
        replay_image, env={"REPLAY_TRANSCRIPT": "ok"}, runtime={"retention": {"keep": "always"}}
    )
    with inject(RUNS_ON):
        first = run_cli(request)
    second = run_cli(request)

    job = of_job(first.result)
    words = " ".join(plain(first.output).split())
    assert f"Job {job} does not finish, because {STILL_RUNS}" in words
    assert second.result["error_code"] is None, second.output
    assert traces.job(agents_namespace, job)["status"].get("active") == 1
    [row] = [
        row
        for row in json.loads(claude_jobs("ls", "--all", "--json").stdout)
        if row["job_name"] == job
    ]
    assert (row["state"], row["live"]) == (f"agent ended: Succeeded, {STILL_RUNS}", False)
    shown = json.loads(claude_jobs("show", job, "--json").stdout)
    assert shown["job"]["still_running"] == ["mesh"]
    stopped = claude_jobs("stop", job)
    assert stopped.returncode == 0, stopped.stdout
    assert STILL_RUNS in " ".join(plain(stopped.stdout + stopped.stderr).split())
    assert traces.job(agents_namespace, job) is not None


@pytest.mark.any_cluster
@pytest.mark.waits(60)
def test_result_of_an_agent_without_an_owner_is_stored_while_its_mesh_runs_on(
    inject: Inject,
    start_cli: Callable[..., "subprocess.Popen[str]"],
    run_cli: Callable[..., CliRun],
    prefect_server: PrefectServer,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=AT_WORK, task_id="task-1")
    with inject(RUNS_ON):
        run = StartedRun(
            start_cli(request), agent_of(request), agents_namespace, traces, prefect_server
        )
        run.wait_for()
        job, pod = run.job_name, run.pod_name
        run.process.kill()

        def agent_has_ended() -> bool:
            [found] = [
                one for one in traces.pods(agents_namespace) if one["metadata"]["name"] == pod
            ]
            statuses = {one["name"]: one["state"] for one in found["status"]["containerStatuses"]}
            return "terminated" in statuses["agent"] and "running" in statuses["mesh"]

        wait_until(agent_has_ended, seconds=90)
        ended = run_cli(request)

    words = " ".join(plain(ended.output).split())
    assert f"Job {job} of flow run" in words
    assert f"is over: its agent has ended, but {STILL_RUNS}; its result is not stored" in words
    assert "Stored the result of flow run" in words
    assert ended.result["error_code"] is None, ended.output
    assert of_job(ended.result) != job
    wait_until(lambda: traces.job(agents_namespace, job) is None, seconds=60)


@pytest.mark.any_cluster
def test_native_sidecar_that_crashes_once_delays_the_agent_only(
    inject: Inject,
    run_cli: Callable[..., CliRun],
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "ok"})
    probe = {"exec": {"command": ["test", "-e", "/state/seen"]}, "periodSeconds": 1}
    with inject(CRASHES_ONCE, native=True, startupProbe=probe):
        ended = run_cli(request)

    job = of_job(ended.result)
    assert ended.result["error_code"] is None, ended.output
    assert ended.result["kubernetes"]["still_running"] == []
    assert "which must start before the agent's, ended with exit code 1" in " ".join(
        plain(ended.output).split()
    )
    wait_until(lambda: "Complete" in json.dumps(traces.job(agents_namespace, job)), seconds=60)


# The embedded cluster runs no startup probes.
@pytest.mark.cluster
def test_native_sidecar_that_never_starts_is_named(
    inject: Inject,
    run_cli: Callable[..., CliRun],
    build_request: BuildRequest,
    replay_image: str,
) -> None:
    request = build_request(replay_image, runtime={"limits": {"start_seconds": 10}})
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 600}
    with inject(RUNS_ON, native=True, startupProbe=probe):
        ended = run_cli(request)

    assert ended.result["error_code"] == "k8s_pod_schedule_failed"
    assert ended.result["message"].endswith(
        "within 10 s: container mesh, which must start before the agent's, runs, but its startup "
        "probe has not succeeded yet."
    )
