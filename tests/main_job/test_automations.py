"""The automations of `deployments/automations`, created as their README says, on a failed run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.main_job.conftest import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
AUTOMATIONS = ROOT / "deployments" / "automations"
NO_BLOCK = "00000000-0000-0000-0000-000000000000"
# Saves a notification block and deploys the flow; prints both ids.
PREPARE = """
import json, sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.types.entrypoint import EntrypointType
from flows.run_agent import run_agent
block = CustomWebhookNotificationBlock(
    name="listener", url=sys.argv[1], json_data={"subject": "{{subject}}", "body": "{{body}}"}
)
block_id = block.save("listener", overwrite=True)
entrypoint = EntrypointType.MODULE_PATH
deployment_id = run_agent.to_deployment("automations", entrypoint_type=entrypoint).apply()
print(json.dumps([str(block_id), str(deployment_id)]))
"""


class Listener:
    """Takes what notification blocks post."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                received.append(json.loads(self.rfile.read(length)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def wait_for(self, seconds: float, *, subject: str, body: str = "") -> Any:
        """Return the one message of ours; other tests' runs on the server may be told of too."""

        def ours() -> list[Any]:
            return [m for m in self.received if m["subject"] == subject and body in m["body"]]

        wait_until(lambda: bool(ours()), seconds)
        [message] = ours()
        return message

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.01,))
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


@pytest.fixture
def prefect(prefect_server: PrefectServer) -> Callable[..., str]:
    """Runs a program against the server and returns what it prints."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_HOME": str(prefect_server.home),
        "PYTHONPATH": str(ROOT),
    }

    def run(*command: str | Path) -> str:
        ended = subprocess.run(
            [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    return run


# Has a sweep fail at once.
FAIL_A_SWEEP = """
from flows.sweep_orphans import sweep_orphans
from tasks.sweep.sweep_config import SweepConfig
import asyncio
asyncio.run(sweep_orphans(SweepConfig(runtime="not-there"), return_state=True))
"""


@pytest.fixture
def create_automations(
    prefect: Callable[..., str], prefect_server: PrefectServer, tmp_path: Path
) -> Iterator[Callable[..., None]]:
    """Create automations of the folder with a notification block; no later run meets them."""

    def create(block_id: str, names: str) -> None:
        for file in sorted(AUTOMATIONS.glob(names)):
            filled_in = tmp_path / file.name
            filled_in.write_text(file.read_text().replace(NO_BLOCK, block_id))
            prefect("-m", "prefect", "automation", "create", "--from-file", filled_in)

    yield create
    for automation in prefect_server.post("/automations/filter", {}):
        prefect_server.delete(f"/automations/{automation['id']}")


@pytest.mark.slice
@pytest.mark.waits(28)
def test_automations_fire_on_a_failed_run_of_a_deployment(
    prefect: Callable[..., str],
    prefect_server: PrefectServer,
    listener: Listener,
    create_automations: Callable[..., None],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
) -> None:
    block_id, deployment_id = json.loads(prefect("-c", PREPARE, listener.url))
    create_automations(block_id, "*.yaml")
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "auth_401"})
    flow_run = prefect_server.post(
        f"/deployments/{deployment_id}/create_flow_run", {"parameters": {"request": request}}
    )

    prefect("-m", "prefect", "flow-run", "execute", flow_run["id"])

    state = prefect_server.flow_run(flow_run["id"])["state"]
    assert state["name"] == "Login required"
    subject = f"{request['agent']['agent_id']}: Login required"
    message = listener.wait_for(30, subject=subject)
    assert message["body"].startswith(state["message"])
    assert "\nFirst check: the key or token" in message["body"]
    assert "\nWhat to do: " in message["body"]
    name = prefect_server.flow_run(flow_run["id"])["name"]
    assert message["body"].rstrip().endswith(f"\nFlow run {name}")

    def is_paused() -> bool:
        wanted = {"deployments": {"id": {"any_": [deployment_id]}}}
        return prefect_server.post("/deployments/filter", wanted)[0]["paused"]

    wait_until(is_paused, 30)


@pytest.mark.long
@pytest.mark.slice
def test_automation_tells_of_a_sweep_that_needs_a_person(
    prefect: Callable[..., str], listener: Listener, create_automations: Callable[..., None]
) -> None:
    block_id, _ = json.loads(prefect("-c", PREPARE, listener.url))
    create_automations(block_id, "notify-of-failed-sweeps.yaml")

    prefect("-c", FAIL_A_SWEEP)

    message = listener.wait_for(60, subject="Sweep of orphans: Invalid input", body="not-there")
    assert "There is no Agent Runtime block" in message["body"]
