"""A real Prefect server as a process of its own, and what tests ask it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.local_processes import free_port
from tests.published_texts import find_leaks, published_texts


@dataclass(frozen=True)
class PrefectServer:
    """A real server with a database of its own."""

    api_url: str
    home: Path

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.api_url}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for pause in (0.5, 1.0, 2.0, 4.0):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                # SQLite was locked for too long on a busy machine; nothing was written.
                if error.code != 503:
                    raise
            time.sleep(pause)
        raise AssertionError(f"the Prefect server is too busy for {path}")

    def logs(self, flow_run_id: str) -> str:
        """All log records of a flow run and its tasks, as one text."""
        found: list[str] = []
        while True:
            rows = self.post(
                "/logs/filter",
                {
                    "logs": {"flow_run_id": {"any_": [flow_run_id]}},
                    "sort": "TIMESTAMP_ASC",
                    "offset": len(found),
                },
            )
            if not rows:
                return "\n".join(found)
            found += [row["message"] for row in rows]

    def artifacts(self, flow_run_id: str) -> list[Any]:
        """The published ones; Prefect keeps results of states as artifacts without a key."""
        wanted = {"flow_run_id": {"any_": [flow_run_id]}, "key": {"exists_": True}}
        return self.post("/artifacts/filter", {"artifacts": wanted})

    def flow_run(self, flow_run_id: str) -> Any:
        return self.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})[0]

    def task_runs(self, flow_run_id: str) -> list[Any]:
        return self.post(
            "/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
        )


@contextmanager
def run_prefect_server(home: Path) -> Generator[PrefectServer]:
    """Run a server whose database is in `home`; at its end, what was published must be clean."""
    port = free_port()
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
    prefect = Path(sys.executable).with_name("prefect")
    log = (home / "server.log").open("wb")
    process = subprocess.Popen(
        [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = PrefectServer(f"http://127.0.0.1:{port}/api", home)
    try:
        _wait_until_healthy(server, process)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)
        log.close()
    leaks = find_leaks(published_texts(home / "prefect.db"))
    assert leaks == [], "\n".join(["what must not be published stands in Prefect:", *leaks])


def _wait_until_healthy(server: PrefectServer, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, (server.home / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{server.api_url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    raise AssertionError("the Prefect server did not start")
