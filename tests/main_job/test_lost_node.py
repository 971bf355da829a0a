"""A node that stops while an agent works on it. It is the cluster's only one: nothing beside it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.main_job.conftest import PrefectServer, Traces
from tests.main_job.endings import AT_WORK, StartedRun
from tests.waits import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(420)]


@pytest.fixture
def stop_node(core_api: client.CoreV1Api) -> Iterator[Callable[[], None]]:
    """Stop the kit's node and remove it from the cluster; it is started again afterwards."""
    folder = os.environ.get("CLUSTER_KIT")
    if not folder or not (Path(folder) / "node").exists():
        pytest.skip("CLUSTER_KIT names no kit whose node can be stopped")
    command = Path(folder) / "node"

    def stop() -> None:
        subprocess.run([command, "down"], check=True, capture_output=True, timeout=60)

    yield stop
    subprocess.run([command, "up"], check=True, capture_output=True, timeout=120)
    wait_until(lambda: all(_is_ready(node) for node in core_api.list_node().items), 60)


def _is_ready(node: Any) -> bool:
    return any(item.type == "Ready" and item.status == "True" for item in node.status.conditions)


def test_agent_of_a_node_that_stopped_ends_as_lost(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
    prefect_server: PrefectServer,
    stop_node: Callable[[], None],
) -> None:
    request = build_request(replay_image, env=AT_WORK)
    agent_id = request["agent"]["agent_id"]
    run = StartedRun(start_cli(request), agent_id, agents_namespace, traces, prefect_server)
    run.wait_for()
    pod = run.pod_name
    stop_node()
    ended = run.end(300)

    assert ended.verdict == ("claude_truncated", "NodeLost", None, "Node lost")
    ended.assert_told(f"pod {pod}", "was removed", "exit code unknown")
    ended.assert_proven("It was removed from the cluster.", pod)
    # The agent may be alive there for all that is known, so its Job stays.
    assert traces.job(run.namespace, run.job_name) is not None
    assert ended.result["clear_session"] is False
