"""A run whose pod is deleted by somebody: the Job makes another one at once."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.conftest import LiveProcess, holder_of
from tests.main_job.conftest import Traces
from tests.waits import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.mark.parametrize("grace_seconds", [None, 0], ids=["with grace", "at once"])
def test_prompt_is_not_sent_again_and_both_pods_are_named(
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
    second = wait_for_other_pod(traces, agents_namespace, agent_id, first)
    assert first["metadata"]["name"] in result["message"]
    assert second["metadata"]["name"] in result["message"]
    assert exit_code(second) == 76  # refused by the run script, which had read no prompt
    assert live.output.count("Claude Code ready") == 1
    assert not holder_of(traces, agents_namespace, agent_id)


def pods_of(traces: Traces, namespace: str, agent_id: str) -> list[Any]:
    name = "claude-jobs.dev/agent-id"
    return [
        pod
        for pod in traces.pods(namespace)
        if pod["metadata"].get("annotations", {}).get(name) == agent_id
    ]


def wait_for_other_pod(traces: Traces, namespace: str, agent_id: str, first: Any) -> Any:
    """The pod that replaces the first one, once it has ended."""
    found: list[Any] = []

    def has_ended() -> bool:
        pods = pods_of(traces, namespace, agent_id)
        found[:] = [pod for pod in pods if pod["metadata"]["uid"] != first["metadata"]["uid"]]
        return bool(found) and exit_code(found[0]) is not None

    wait_until(has_ended, 60)
    return found[0]


def exit_code(pod: Any) -> int | None:
    for status in pod["status"].get("containerStatuses", ()):
        if "terminated" in status["state"]:
            return status["state"]["terminated"]["exitCode"]
    return None
