"""A rolling deployment: the process that serves the flow ends, and with it those of its runs.

From Prefect 3.9 on `serve()` answers SIGTERM as if all of its runs were being cancelled, hooks and
final state included, while their state in the API is still Running. The runner of earlier versions
has the same method, and never calls it.
"""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.conftest import holder_of, jobs_of
from tests.engine.deployments import Deployment, deployed
from tests.main_job.conftest import Traces
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.slice, pytest.mark.any_cluster, pytest.mark.timeout(240)]

# Like `serve()`, but for the signal, which the runner would take for its own.
SERVE = """
import asyncio, signal
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType
from flows.run_agent import run_agent

async def main():
    runner = Runner(pause_on_shutdown=False)
    await runner.aadd_deployment(
        await run_agent.ato_deployment("redeployed", entrypoint_type=EntrypointType.MODULE_PATH)
    )
    shutting_down = []
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGUSR1, lambda: shutting_down.append(asyncio.create_task(runner.cancel_all()))
    )
    print("polling for scheduled runs")
    await runner.start()

asyncio.run(main())
"""


@pytest.fixture
def deployment(prefect_server: PrefectServer, cluster_kubeconfig: str) -> Iterator[Deployment]:
    with deployed(prefect_server, cluster_kubeconfig, "redeployed", SERVE) as deployment:
        yield deployment


@pytest.mark.waits(20)
def test_agent_outlives_a_redeployment_that_looks_like_a_cancellation(
    deployment: Deployment,
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    slow = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "2.5"}
    request = build_request(replay_image, env=slow, task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    flow_run_id = deployment.run(request)

    deployment.signal(signal.SIGUSR1)

    deployment.wait_for_state(flow_run_id, "CANCELLED")
    assert not holder_of(traces, agents_namespace, agent_id)
    deployment.wait_for_log(flow_run_id, "told to stop without a cancellation of the run: Job")
    # Prefect says that its hook has come to an end, and the hook says nothing.
    deployment.wait_for_log(
        flow_run_id, "Hook 'delete_jobs_of_cancelled_run' finished running successfully"
    )
    assert "The cancelled run left" not in prefect_server.logs(flow_run_id)
    [left] = jobs_of(traces, agents_namespace, agent_id)
    assert "deletionTimestamp" not in left["metadata"]
    assert left["status"].get("active") == 1
