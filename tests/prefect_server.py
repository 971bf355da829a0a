"""A real Prefect server as a process of its own, and what tests ask it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.cli.local_processes import free_port
from tests.published_texts import find_leaks, published_texts
from tests.waits import wait_until

# As Prefect starts it, but without the collection of cyclic garbage: that may free a statement of
# SQLite while the thread of its connection waits for another writer, and this one waits for the
# collecting thread. Nothing is written for a minute then, until SQLite gives up.
_SERVE = "import gc; gc.disable(); from prefect.cli import app; app()"
# All processes of a session ask one server, and it writes one thing at a time.
_ANSWER_SECONDS = 60


@dataclass
class PrefectServer:
    """A real server, as tests ask it."""

    api_url: str
    home: Path

    def post(self, path: str, body: Any) -> Any:
        return json.loads(self._ask("POST", path, json.dumps(body).encode()))

    def get(self, path: str) -> Any:
        return json.loads(self._ask("GET", path))

    def send(self, path: str, body: Any) -> None:
        """Post what has no answer."""
        self._ask("POST", path, json.dumps(body).encode())

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api_url}{path}", body, headers, method=method)
        for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0):
            try:
                with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                    return answer.read()
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

    def artifacts(self, flow_run_id: str, *, newest_first: bool = False) -> list[Any]:
        """The published ones; Prefect keeps results of states as artifacts without a key."""
        wanted = {"flow_run_id": {"any_": [flow_run_id]}, "key": {"exists_": True}}
        sort = "CREATED_DESC" if newest_first else "ID_DESC"
        return self.post("/artifacts/filter", {"artifacts": wanted, "sort": sort})

    def flow_run(self, flow_run_id: str) -> Any:
        return self.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})[0]

    def stages(self, flow_run_id: str, awaited: Set[str]) -> dict[str, str]:
        """The stages of a flow run and the names of their states, once the awaited ones ended.

        The server writes task runs down a while after they told it of themselves.
        """
        found: dict[str, str] = {}

        def have_ended() -> bool:
            rows = self.post(
                "/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
            )
            found.clear()
            found.update((row["name"].rpartition("-")[0], row["state"]["name"]) for row in rows)
            ended = {row["name"].rpartition("-")[0] for row in rows if row["end_time"]}
            return awaited <= ended

        wait_until(have_ended, describe=lambda: f"of {sorted(awaited)} there are {found}")
        return found


class OwnPrefectServer(PrefectServer):
    """A server with a database of its own; killed, it can be started again on both."""

    def __init__(
        self, port: int, home: Path, host: str, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"http://{host}:{port}/api", home)
        self._environment = environment or {}
        self._host = host
        self._port = port
        self._log = home / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers; that takes about 12 s."""
        home = {"PREFECT_HOME": str(self.home), "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _SERVE, "server", "start"),
                    f"--host={self._host}",
                    f"--port={self._port}",
                    "--no-ui",
                ],
                env={**os.environ, **home, **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None, self._log.read_text()
            try:
                with urllib.request.urlopen(f"{self.api_url}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.25)
        raise AssertionError("the Prefect server did not start")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it and its children a signal and wait until it is gone."""
        if self._process is not None:
            os.killpg(self._process.pid, number)
            self._process.wait(timeout=20)
            self._process = None


@contextmanager
def run_prefect_server(home: Path, host: str = "127.0.0.1") -> Generator[OwnPrefectServer]:
    """Run a server whose database is in `home`; at its end, what was published must be clean."""
    with _run(OwnPrefectServer(free_port(), home, host)) as server:
        yield server
    check_published(home)


@contextmanager
def run_bare_prefect_server(home: Path) -> Generator[OwnPrefectServer]:
    """Run a server whose database is in `home`; who uses it calls `check_published`."""
    with _run(OwnPrefectServer(free_port(), home, "127.0.0.1")) as server:
        yield server


def check_published(home: Path) -> None:
    """Assert that what was published so far on the server of `home` is clean."""
    leaks = find_leaks(published_texts(home / "prefect.db"))
    assert leaks == [], "\n".join(["what must not be published stands in Prefect:", *leaks])


@contextmanager
def run_prefect_server_on(database_url: str, home: Path) -> Generator[OwnPrefectServer]:
    """Run a server whose database is elsewhere; what was published is not looked through."""
    environment = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url}
    with _run(OwnPrefectServer(free_port(), home, "127.0.0.1", environment)) as server:
        yield server


@contextmanager
def _run(server: OwnPrefectServer) -> Generator[OwnPrefectServer]:
    try:
        server.start()
        yield server
    finally:
        server.end()
