"""The one world of these tests: a cluster whose API can be made to fail, and who uses it.

What is the whole cluster's (faults, settings, restarts) is undone after each test, and then what
must hold after every disturbance is asserted: see `World.check`.
"""

import gzip
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.embedded.local_api import ClusterProcess, kubeconfig_of_runs
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


@contextmanager
def run_fault_cluster(folder: Path) -> Generator[ClusterProcess]:
    """Run an embedded cluster, its files in a folder that containers can read."""
    folder.chmod(0o755)
    cluster = ClusterProcess(folder, ("--bin", str(install_claude(folder, _CLAUDE))))
    try:
        yield cluster
    finally:
        cluster.stop()


class World:
    """A cluster, a record of it, a Prefect server, a folder for results, and a host for runs.

    Attributes:
        api: The administrator, whom no fault meets that names the runs' user.
        storage: Where all runs keep their results.
        runs_kubeconfig: That of the runs' user.
    """

    def __init__(
        self, cluster: ClusterProcess, folder: Path, start_prefect: Callable[[], PrefectServer]
    ) -> None:
        """Look at the cluster.

        Args:
            cluster: It runs.
            folder: For files of the world; containers can read it.
            start_prefect: Called when somebody needs the server, for it takes 12 s to start.
        """
        self.cluster = cluster
        self.api = cluster.api()
        self.storage = folder / "results"
        self.storage.mkdir()
        self.runs_kubeconfig = kubeconfig_of_runs(self.api, cluster.kubeconfig, folder)
        self.record = ClusterRecord(cluster.api())
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
        """Return the transcript of a run as it was kept; empty where none was."""
        key = outcome["transcript"]["storage_key"]
        return read_transcript(self.storage / key) if key else []

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


def read_transcript(path: Path) -> list[bytes]:
    """Return the lines of a stored transcript; the last one may have had no newline."""
    *lines, rest = gzip.decompress(path.read_bytes()).split(b"\n")
    return [*lines, rest] if rest else lines
