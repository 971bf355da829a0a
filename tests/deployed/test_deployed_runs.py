"""Runs from the deployment, by the worker in the cluster: to the end, cancelled, and disturbed."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.preflight.pod_security import restricted_violations
from tests.deployed.conftest import NAMESPACE, READY, Deployed, StartedRun, kubectl
from tests.engine.conftest import COLLECTED_SECONDS, holder_of, jobs_of, lease_of
from tests.main_job.conftest import Traces
from tests.waits import wait_until

# A pod with Prefect in it takes some ten seconds to its first line, and a run has up to three.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "2"}
FLOW_RUN_LABEL = "prefect.io/flow-run-id"
# After this the observer calls a run crashed whose Job has failed, unless another one is at work.
OBSERVER_SECONDS = 30


@pytest.fixture(scope="module", autouse=True)
def failing_run(deployed: Deployed, replay_image: str) -> StartedRun:
    """Started first and looked at last, since the observer takes its time."""
    return deployed.start(replay_image, env={"REPLAY_TRANSCRIPT": "max_turns"})


def flow_run_pods(traces: Traces, run: StartedRun) -> list[Any]:
    return [
        pod
        for pod in traces.pods(NAMESPACE)
        if pod["metadata"].get("labels", {}).get(FLOW_RUN_LABEL) == run.flow_run_id
    ]


def test_run_completes_in_pods_that_hold_no_more_than_they_need(
    deployed: Deployed, replay_image: str, traces: Traces
) -> None:
    run = deployed.start(replay_image, env={"REPLAY_TRANSCRIPT": "tools"})

    state = run.wait_for_end()

    assert state["type"] == "COMPLETED", run.logs
    assert run.result["transcript"]["complete"] is True
    assert run.result["summary"]
    [flow_run_pod] = flow_run_pods(traces, run)
    [agent_pod] = [
        pod
        for pod in traces.pods(NAMESPACE)
        if pod["metadata"].get("annotations", {}).get("claude-jobs.dev/agent-id") == run.agent_id
    ]
    assert flow_run_pod["spec"]["serviceAccountName"] == "flow-run"
    assert agent_pod["spec"]["serviceAccountName"] == "agent"
    # The cluster's own account, mounted by the cluster: no kubeconfig came with the pod.
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in mounts_of(flow_run_pod)
    assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts_of(agent_pod)
    for pod in (flow_run_pod, agent_pod, *pods_named(traces, "prefect-worker")):
        assert restricted_violations(pod["spec"]) == []


def mounts_of(pod: Any) -> set[str]:
    [container] = pod["spec"]["containers"]
    return {mount["mountPath"] for mount in container["volumeMounts"]}


def pods_named(traces: Traces, name: str) -> list[Any]:
    label = "app.kubernetes.io/name"
    found = [p for p in traces.pods(NAMESPACE) if p["metadata"]["labels"].get(label) == name]
    assert found, name
    return found


def test_deployments_can_be_made_from_inside_the_image(deployed: Deployed) -> None:
    before = {found["id"]: found["updated"] for found in deployed.deployments()}
    command = "prefect --no-prompt deploy --prefect-file deployments/prefect.yaml --all"
    image = f"CLAUDE_JOBS_IMAGE={deployed.image}"

    kubectl("exec", "deployment/prefect-worker", "--", "env", image, *command.split())

    after = {found["id"]: found["updated"] for found in deployed.deployments()}
    assert after.keys() == before.keys()
    assert all(after[key] > before[key] for key in before)


def test_cancelled_run_ends_its_agent(
    deployed: Deployed, replay_image: str, traces: Traces
) -> None:
    run = deployed.start(replay_image, env={**SLOW, "REPLAY_TERM_SECONDS": "2"}, task_id="T-1")
    run.wait_for_log(READY)

    deployed.server.post(
        f"/flow_runs/{run.flow_run_id}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )

    assert run.wait_for_end()["type"] == "CANCELLED", run.logs
    wait_until(lambda: not jobs_of(traces, NAMESPACE, run.agent_id), COLLECTED_SECONDS)
    assert (run.result["error_code"], run.result["exit_code"]) == ("cancelled", 143)
    assert run.result["transcript"]["complete"] is True
    assert not holder_of(traces, NAMESPACE, run.agent_id)


def test_run_survives_the_deletion_of_its_pod(
    deployed: Deployed, replay_image: str, traces: Traces
) -> None:
    run = deployed.start(replay_image, env={**SLOW, "REPLAY_LINE_DELAY_SECONDS": "5"})
    run.wait_for_log(READY)
    [pod] = flow_run_pods(traces, run)
    [job] = jobs_of(traces, NAMESPACE, run.agent_id)

    kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")

    state = run.wait_for_end(300)
    assert state["type"] == "COMPLETED", (run.states, run.logs)
    assert run.result["transcript"]["complete"] is True, run.result["transcript"]
    assert run.result["kubernetes"]["job_uid"] == job["metadata"]["uid"]
    assert "AwaitingRetry" in run.states
    # Kubernetes replaced the pod, or the worker started another Job, or both; which of them are
    # still there depends on when the first Job was collected.
    uids = {found["metadata"]["uid"] for found in flow_run_pods(traces, run)}
    assert uids - {pod["metadata"]["uid"]}
    # One agent, and a later owner of it than the first.
    assert {own["metadata"]["uid"] for own in jobs_of(traces, NAMESPACE, run.agent_id)} <= {
        job["metadata"]["uid"]
    }
    assert lease_of(traces, NAMESPACE, run.agent_id)["spec"]["leaseTransitions"] >= 1
    # What the first process has read is there twice at most: once by each.
    assert run.logs.count(READY) <= 2


def test_failed_agent_is_told_by_us_and_not_by_the_observer(
    failing_run: StartedRun, traces: Traces
) -> None:
    state = failing_run.wait_for_end()

    assert (state["type"], state["name"]) == ("FAILED", "Max turns reached"), failing_run.logs
    [job] = jobs_of(traces, NAMESPACE, failing_run.agent_id)
    assert [c["type"] for c in job["status"]["conditions"]] == ["FailureTarget", "Failed"]
    ended_seconds = (datetime.now(UTC) - datetime.fromisoformat(state["timestamp"])).total_seconds()
    time.sleep(max(0, OBSERVER_SECONDS + 5 - ended_seconds))
    assert "Crashed" not in failing_run.states
    assert failing_run.state["name"] == state["name"]
    assert FLOW_RUN_LABEL not in json.dumps(job["metadata"]["labels"])
