"""Runs whose pod does not come or does not start, each told with what the cluster says of it."""

import subprocess
import time
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


@pytest.fixture
def start_run(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    prefect_server: PrefectServer,
) -> StartRun:
    """Start a run of the replayed agent; keyword arguments as for `build_request`."""

    def start(**fields: Any) -> StartedRun:
        request = build_request(replay_image, **fields)
        agent_id = request["agent"]["agent_id"]
        return StartedRun(start_cli(request), agent_id, agents_namespace, traces, prefect_server)

    return start


def test_service_account_that_is_missing_ends_the_wait_with_its_sentence(
    start_run: StartRun,
) -> None:
    started = time.monotonic()
    ended = start_run(runtime={"service_account": "not-there"}).end()

    assert ended.verdict == ("k8s_pod_schedule_failed", "ConfigError", None, "Pod not started")
    ended.assert_told("not-there", "could not be created for 20 s")
    ended.assert_proven("FailedCreate")
    assert time.monotonic() - started < 70


def test_job_in_a_queue_is_waited_for_until_it_is_admitted(
    start_run: StartRun,
    core_api: client.CoreV1Api,
    traces: Traces,
    node_address: str,
    tmp_path: Path,
    agents_namespace: str,
) -> None:
    patch = [{"op": "add", "path": "/spec/suspend", "value": True}]
    with mutating_webhook(core_api, agents_namespace, node_address, tmp_path, "jobs", patch):
        run = start_run(
            env={"REPLAY_TRANSCRIPT": "ok"},
            runtime={
                "labels": {"kueue.x-k8s.io/queue-name": "agents"},
                "limits": {"scheduling_seconds": 5},
            },
        )
        run.wait_for("is suspended by its queue agents")
        time.sleep(8)  # longer than a pod may wait for a node
        traces.batch.patch_namespaced_job(run.job_name, run.namespace, {"spec": {"suspend": False}})
        ended = run.end()

    assert ended.verdict == (None, None, 0, "Completed")


def test_job_that_its_queue_suspends_again_is_preempted_and_deleted(
    start_run: StartRun, traces: Traces
) -> None:
    run = start_run(env=AT_WORK)
    run.wait_for()
    name = run.job_name
    traces.batch.patch_namespaced_job(name, run.namespace, {"spec": {"suspend": True}})
    ended = run.end()

    assert ended.verdict == ("claude_truncated", "Preempted", 143, "Preempted")
    ended.assert_told("suspended it while the agent was at work", name)
    ended.assert_proven("the Job was suspended and its pod deleted")
    assert ended.result["transcript"]["complete"] is True
    wait_until(lambda: traces.job(run.namespace, name) is None)


def test_init_container_that_keeps_failing_ends_the_wait_early_with_its_last_line(
    start_run: StartRun,
    core_api: client.CoreV1Api,
    node_address: str,
    tmp_path: Path,
    agents_namespace: str,
    replay_image: str,
) -> None:
    vault: dict[str, Any] = {
        "name": "vault",
        "image": replay_image,
        "restartPolicy": "Always",
        "command": ["/bin/sh", "-c", "echo 'no token for this role'; sleep 1; exit 3"],
        # Without one, a sidecar counts as started as soon as its process runs.
        "startupProbe": {"exec": {"command": ["false"]}, "failureThreshold": 1000},
    }
    patch = [{"op": "add", "path": "/spec/initContainers", "value": [vault]}]
    started = time.monotonic()
    with mutating_webhook(core_api, agents_namespace, node_address, tmp_path, "pods", patch):
        ended = start_run().end(200)

    assert ended.verdict == ("k8s_pod_schedule_failed", "AppExit", None, "Pod not started")
    ended.assert_told("container vault was started again", "exit code 3", "no token for this role")
    assert time.monotonic() - started < 180
