"""How agents end in a real cluster, each with its verdict, its sentence and its proof."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.main_job.conftest import PrefectServer, Traces
from tests.main_job.endings import AT_WORK, StartedRun, StartRun
from tests.mutating_webhook import mutating_webhook
from tests.waits import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

BuildRequest = Callable[..., dict[str, Any]]

# Python reads it before anything else; the replayed `claude` is a Python program.
SITE_CUSTOMIZE = """
import atexit, os


def fill_memory():
    held = []
    while True:
        held.append(b"x" * (8 << 20))


mode = os.environ.get("MEMORY_HOG")
if mode == "agent":
    atexit.register(fill_memory)
elif mode == "child":
    child = os.fork()
    if child == 0:
        # Otherwise the kernel might choose the parent.
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        fill_memory()
    os.waitpid(child, 0)
"""
EXIT_3 = {
    "three.jsonl": '{"type":"system","subtype":"init","session_id":"s-3","model":"claude-test"}\n'
    '{"type":"assistant","message":{"content":[{"type":"text","text":"At work."}]}}\n',
    "three.stderr": "fatal: the disk is full\n",
    "three.meta.json": '{"exit_code": 3}',
}
LITTLE_MEMORY = {
    "cpu_request": "100m",
    "memory_request": "64Mi",
    "memory_limit": "128Mi",
    "ephemeral_storage_request": "16Mi",
    "ephemeral_storage_limit": "1Gi",
    "transcript_storage_limit": "256Mi",
}


@pytest.fixture(scope="module")
def scripts(core_api: client.CoreV1Api, agents_namespace: str) -> str:
    """A ConfigMap with what the agents of this module run and replay."""
    name = f"scripts-{uuid.uuid4().hex[:8]}"
    data = {"sitecustomize.py": SITE_CUSTOMIZE, **EXIT_3}
    body: Any = {"metadata": {"name": name}, "data": data}
    core_api.create_namespaced_config_map(agents_namespace, body)
    return name


@pytest.fixture
def start_run(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: BuildRequest,
    replay_image: str,
    scripts: str,
    agents_namespace: str,
    traces: Traces,
    prefect_server: PrefectServer,
) -> StartRun:
    """Start a run of the replayed agent; keyword arguments as for `build_request`."""

    def start(**fields: Any) -> StartedRun:
        mounts = [{"kind": "config_map", "name": scripts, "path": "/scripts"}]
        runtime = {"mounts": mounts, **fields.pop("runtime", {})}
        request = build_request(
            fields.pop("image", replay_image),
            runtime=runtime,
            **fields,
        )
        agent_id = request["agent"]["agent_id"]
        return StartedRun(start_cli(request), agent_id, agents_namespace, traces, prefect_server)

    return start


# --- endings of the container --------------------------------------------------------------------


def test_agent_over_its_memory_limit_is_oom_killed(start_run: StartRun) -> None:
    ended = start_run(
        env={
            "REPLAY_TRANSCRIPT": "killed_sigterm_during_tool",
            "PYTHONPATH": "/scripts",
            "MEMORY_HOG": "agent",
        },
        runtime={"resources": LITTLE_MEMORY},
    ).end()

    assert ended.verdict == ("claude_truncated", "OOMKilled", 137, "OOM killed")
    ended.assert_told("exit code 137", "signal 9 SIGKILL", "OOMKilled", "memory limit")
    ended.assert_told("Killed: out of memory (limit ")
    ended.assert_proven('"reason": "OOMKilled"', '"exitCode": 137', "container reason OOMKilled")


def test_child_over_the_memory_limit_is_no_failure_of_the_agent(start_run: StartRun) -> None:
    ended = start_run(
        env={"REPLAY_TRANSCRIPT": "ok", "PYTHONPATH": "/scripts", "MEMORY_HOG": "child"},
        runtime={"resources": LITTLE_MEMORY},
    ).end()

    assert ended.verdict == (None, None, 0, "Completed")
    ended.assert_told("OOMKilled", "only a child process was killed for its memory use")
    assert "forensics" not in ended.artifacts


def test_agent_that_exits_with_3_is_truncated_by_its_own_exit(start_run: StartRun) -> None:
    ended = start_run(env={"REPLAY_TRANSCRIPT": "three", "REPLAY_DIR": "/scripts"}).end()

    assert ended.verdict == ("claude_truncated", "AppExit", 3, "Truncated")
    ended.assert_told("exit code 3", "without a result", "claude-test")
    ended.assert_proven('"exitCode": 3', "the disk is full", "exit code 3 (container state)")


# --- limits of time ------------------------------------------------------------------------------


def test_agent_over_its_time_is_ended_by_the_run_script(start_run: StartRun) -> None:
    ended = start_run(env=AT_WORK, timeout_seconds=5).end()

    assert ended.verdict == ("timeout", "DeadlineExceeded", 124, "TimedOut")
    ended.assert_told("a time limit of 5 s", "exit code 124")
    ended.assert_proven("the run script stopped the agent at its time limit", "timed_out=1")


def test_job_over_its_deadline_is_told_from_the_agents_timeout(
    start_run: StartRun, traces: Traces
) -> None:
    run = start_run(env=AT_WORK)
    run.wait_for()
    deadline = {"spec": {"activeDeadlineSeconds": 1}}
    traces.batch.patch_namespaced_job(run.job_name, run.namespace, deadline)
    ended = run.end()

    assert ended.verdict == ("timeout", "DeadlineExceeded", 143, "TimedOut")
    assert ended.result["timed_out"] is False
    ended.assert_told("a time limit", "exit code 143")
    ended.assert_proven("Job condition Failed, reason DeadlineExceeded", '"DeadlineExceeded"')


# --- deletions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("propagation", ["Foreground", "Background"])
def test_job_deleted_by_somebody_else_is_told(
    start_run: StartRun, traces: Traces, propagation: str
) -> None:
    run = start_run(env=AT_WORK)
    run.wait_for()
    # `kubectl delete job` does it in the background, so that the Job goes first.
    options = {"propagationPolicy": propagation}
    traces.batch.delete_namespaced_job(run.job_name, run.namespace, body=options)
    ended = run.end()

    assert ended.verdict == ("k8s_job_deleted_externally", "JobDeleted", 143, "Job deleted")
    ended.assert_told("deleted by somebody else", "exit code 143")
    # If the Job goes first, the kubelet may lose the container before it reports how it ended.
    ended.assert_proven("**Killing** Pod", "exit code 143 (")
    assert ended.result["transcript"]["complete"] is True
    assert ended.result["clear_session"] is False


def test_deleted_pod_is_told_and_no_other_comes_in_its_place(
    start_run: StartRun, core_api: client.CoreV1Api
) -> None:
    run = start_run(env=AT_WORK)
    run.wait_for()
    first = run.pod_name
    core_api.delete_namespaced_pod(first, run.namespace)
    ended = run.end()

    assert ended.verdict == ("claude_truncated", "PodReplaced", 143, "Pod deleted")
    ended.assert_told(f"pod {first}", "pod deleted at", "exit code 143")
    # The kubelet may lose a deleted pod's container before it reports how it ended.
    ended.assert_proven(first, "the pod was deleted at", "exit code 143 (", "SuccessfulCreate")
    pods: Any = core_api.list_namespaced_pod(
        run.namespace, label_selector=f"batch.kubernetes.io/job-name={run.job_name}"
    )
    assert [pod.metadata.name for pod in pods.items if pod.metadata.name != first] == []


def test_job_that_was_cleared_away_by_its_ttl_keeps_its_own_ending(
    start_run: StartRun, traces: Traces
) -> None:
    run = start_run(env={**AT_WORK, "REPLAY_TRANSCRIPT": "three", "REPLAY_DIR": "/scripts"})
    run.wait_for()
    name = run.job_name
    traces.batch.patch_namespaced_job(name, run.namespace, {"spec": {"ttlSecondsAfterFinished": 5}})
    # The flow's process sleeps over the end of its Job, as long as its Lease is good.
    os.kill(run.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: traces.job(run.namespace, name) is None)
    finally:
        os.kill(run.process.pid, signal.SIGCONT)
    ended = run.end()

    assert ended.verdict == ("claude_truncated", "AppExit", 3, "Truncated")
    ended.assert_told("exit code 3")
    ended.assert_proven('"exitCode": 3', "BackoffLimitExceeded")


# --- pods that do not start ----------------------------------------------------------------------


def test_image_that_cannot_be_pulled_is_told(start_run: StartRun) -> None:
    image = "registry.invalid/agent:none"
    ended = start_run(image=image, runtime={"limits": {"image_pull_backoff_seconds": 3}}).end()

    assert ended.verdict == ("k8s_pod_schedule_failed", "ImagePull", None, "Pod not started")
    ended.assert_told(image, "cannot be pulled", "ErrImagePull")
    ended.assert_proven("Failed to pull image", "ErrImagePull", image)


def test_pod_that_no_node_takes_is_told(start_run: StartRun) -> None:
    ended = start_run(
        runtime={"node_selector": {"no-such": "node"}, "limits": {"scheduling_seconds": 2}}
    ).end()

    assert ended.verdict == ("k8s_pod_schedule_failed", "Unschedulable", None, "Pod not started")
    ended.assert_told("was not scheduled within", "didn't match")
    ended.assert_proven("FailedScheduling", '"PodScheduled"', '"Unschedulable"')


def test_failing_init_container_is_told_with_its_last_line(
    start_run: StartRun,
    core_api: client.CoreV1Api,
    agents_namespace: str,
    node_address: str,
    replay_image: str,
    tmp_path: Path,
) -> None:
    script = "echo cloning; echo 'fatal: repository not found'; exit 7"
    container = {"name": "clone", "image": replay_image, "command": ["/bin/sh", "-c", script]}
    patch = [{"op": "add", "path": "/spec/initContainers", "value": [container]}]
    with mutating_webhook(core_api, agents_namespace, node_address, tmp_path, "pods", patch):
        ended = start_run().end()

    assert ended.verdict == ("k8s_pod_schedule_failed", "AppExit", None, "Pod not started")
    ended.assert_told("Init container clone", "exit code 7", "“fatal: repository not found”")
    ended.assert_proven("clone: cloning", '"exitCode": 7')


@pytest.mark.long
def test_missing_credential_secret_is_told(start_run: StartRun) -> None:
    credential = {"env": "ANTHROPIC_API_KEY", "secret": "not-there", "key": "key"}
    started = time.monotonic()
    ended = start_run(agent={"credentials": [credential]}).end()

    assert ended.verdict == ("k8s_pod_schedule_failed", "ConfigError", None, "Pod not started")
    ended.assert_told("not-there", "20 s")
    ended.assert_proven("CreateContainerConfigError", 'secret "not-there" not found')
    assert time.monotonic() - started < 60
