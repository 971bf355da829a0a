"""A run whose pod is deleted by somebody: it is told so, and no second pod comes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.conftest import LiveProcess, holder_of
from tests.main_job.conftest import Traces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.mark.parametrize("grace_seconds", [None, 0], ids=["with grace", "at once"])
def test_deleted_pod_is_named_and_its_prompt_is_not_sent_again(
    grace_seconds: int | None,
    live_cli: Callable[..., LiveProcess],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    slow = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "2"}
    request = build_request(replay_image, env=slow, task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for("Claude Code ready")
    [first] = pods_of(traces, agents_namespace, agent_id)

    traces.core.delete_namespaced_pod(
        first["metadata"]["name"], agents_namespace, grace_period_seconds=grace_seconds
    )

    assert live.wait() == 1, live.output
    result = json.loads(live.last_line)
    assert result["cause"] == "PodReplaced", result
    assert result["kubernetes"]["pod_uid"] == first["metadata"]["uid"]
    observed = dict(result["observed"])
    assert result["message"].startswith("Lost: the pod was deleted. ")
    assert observed["Pod"].startswith(first["metadata"]["name"])
    assert observed["Pod deleted"].startswith("at ")
    uids = {pod["metadata"]["uid"] for pod in pods_of(traces, agents_namespace, agent_id)}
    assert uids <= {first["metadata"]["uid"]}
    assert live.output.count("Claude Code ready") == 1
    assert not holder_of(traces, agents_namespace, agent_id)


def pods_of(traces: Traces, namespace: str, agent_id: str) -> list[Any]:
    name = "claude-jobs.dev/agent-id"
    return [
        pod
        for pod in traces.pods(namespace)
        if pod["metadata"].get("annotations", {}).get(name) == agent_id
    ]
