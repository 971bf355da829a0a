"""The one world of these tests: a cluster whose API can be made to fail, and who uses it.

What is the whole cluster's (faults, settings, restarts) is undone after each test, and then what
must hold after every disturbance is asserted: see `World.check`.
"""

import gzip
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.embedded.local_api import Api, ClusterProcess, kubeconfig_of_runs
from tests.embedded_cluster import install_claude
from tests.faults.cluster_record import ClusterRecord
from tests.faults.run_processes import RunHost
from tests.prefect_server import PrefectServer

# One line for each agent that was started, with or without a run that knows of it; and an agent
# that does what its environment says, after it has read its prompt. Else it replays a recording.
_CLAUDE = (
    '[ -z "$STARTS_FILE" ] || echo started >>"$STARTS_FILE"; '
    '[ -z "$AGENT_SCRIPT" ] || { cat >/dev/null; eval "$AGENT_SCRIPT"; exit; }'
)


def _no_prefect() -> PrefectServer:
    raise AssertionError("this world has no Prefect server")


class World:
    """A cluster, a record of it, a Prefect server, a folder for results, and a host for runs.

    Attributes:
        kubeconfig: The administrator's, whom no fault meets that names the runs' user.
        runs_kubeconfig: That of the runs' user.
        api: The administrator's calls.
        storage: Where all runs keep their results.
    """

    def __init__(
        self,
        kubeconfig: Path,
        runs_kubeconfig: Path,
        folder: Path,
        start_prefect: Callable[[], PrefectServer] = _no_prefect,
    ) -> None:
        """Look at a cluster that runs.

        Args:
            kubeconfig: The administrator's.
            runs_kubeconfig: That of the runs' user.
            folder: For files of the world; containers can read it.
            start_prefect: Called when somebody needs the server, for it takes 12 s to start.
        """
        self.kubeconfig = kubeconfig
        self.runs_kubeconfig = runs_kubeconfig
        self.api = Api(json.loads(kubeconfig.read_text()))
        self.record = ClusterRecord(self.api)
        self.storage = folder / "results"
        self.storage.mkdir()
        self._folder = folder
        self._start_prefect = start_prefect
        self._settings: dict[str, Any] = self.api.ok("GET", "/_faults")["settings"]
        self._told: set[str] = set()

    @cached_property
    def prefect(self) -> PrefectServer:
        return self._start_prefect()

    @cached_property
    def host(self) -> RunHost:
        """Forks runs that are processes of their own."""
        return RunHost(self.runs_kubeconfig, self.prefect.api_url, self._folder)

    def stored_lines(self, outcome: dict[str, Any]) -> list[bytes]:
        """Return the transcript of a run as it was kept; its last line may have had no newline."""
        key = outcome["transcript"]["storage_key"]
        if not key:
            return []
        *lines, rest = gzip.decompress((self.storage / key).read_bytes()).split(b"\n")
        return [*lines, rest] if rest else lines

    def calm(self) -> None:
        """Take all faults away, and set the cluster as it was in the beginning."""
        self.api.ok("DELETE", "/_faults")
        self.api.ok("PUT", "/_faults/settings", self._settings)

    def check(self) -> None:
        """Assert that what no disturbance may bring about has not happened since the last time.

        No agent has had two live pods, and no Job was deleted while its agent was running, but by
        whom the test has allowed it.
        """
        told = set(self._told)
        self.leave_unjudged()
        assert self._told - told == set()

    def leave_unjudged(self) -> None:
        """Leave what has happened so far to those who know what was allowed."""
        self._told |= {*self.record.twins, *self.record.deleted_alive()}

    def end(self) -> None:
        if "host" in self.__dict__:
            self.host.end()
        self.record.end()
        self.api.http.close()


@contextmanager
def run_world(
    folder: Path, start_prefect: Callable[[], PrefectServer] = _no_prefect
) -> Generator[World]:
    """Run an embedded cluster and its world; containers can read the folder of their files."""
    folder.chmod(0o755)
    cluster = ClusterProcess(folder, ("--bin", str(install_claude(folder, _CLAUDE))))
    try:
        runs_kubeconfig = kubeconfig_of_runs(cluster.api(), cluster.kubeconfig, folder)
        world = World(cluster.kubeconfig, runs_kubeconfig, folder, start_prefect)
        try:
            yield world
        finally:
            world.end()
    finally:
        cluster.stop()
