"""Brings a run to one of its stages and holds it there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.embedded.local_api import RUNS_USER, Api
from tests.interruptions.held_runs import HELD, HOLD
from tests.interruptions.interruption_table import Stage
from tests.prefect_server import PrefectServer

READY, LAST_LINE = "Claude Code ready", "Second part of the answer: DONE."
CONFIG_MAP = "comes-late"

_HOLD = "stage"
# What is held, and whether the call has had its effect by then.
_HELD_CALLS: dict[Stage, tuple[str, str, bool]] = {
    Stage.GUARD: ("list", "jobs", False),
    Stage.JOB: ("create", "jobs", True),
    Stage.COMMIT: ("update", "leases", True),
    Stage.SECRET: ("create", "secrets", True),
    Stage.POD_WAIT: ("list", "events", False),
    Stage.CLEANUP: ("patch", "jobs", False),
}


@dataclass(frozen=True)
class Barrier:
    """Holds one run at one stage.

    Attributes:
        repeatedly: Hold the same call again whenever it is repeated.
        late_status_seconds: For how long the node does not report an agent that has ended.
    """

    stage: Stage
    api: Api
    prefect: PrefectServer
    namespace: str
    storage: Path
    repeatedly: bool = False
    late_status_seconds: float = 15.0

    def set(self) -> None:
        """Prepare the barrier; before the run is started."""
        if self.stage in _HELD_CALLS:
            verb, resource, after = _HELD_CALLS[self.stage]
            self.api.faults(
                {
                    "match": {
                        "verb": verb,
                        "resource": resource,
                        "namespace": self.namespace,
                        # Whoever looks on is not held.
                        "user": RUNS_USER,
                    },
                    "times": None if self.repeatedly else 1,
                    "do": {"hold": _HOLD, "after": after},
                }
            )
        elif self.stage is Stage.COMPLETION:
            self.api.ok("PUT", "/_faults/settings", {"lateStatusSeconds": self.late_status_seconds})
        elif self.stage is Stage.RESULT:
            (self.storage / HOLD).touch()

    def wait(self, flow_run_id: str, seconds: float = 150) -> None:
        """Return once the run is held."""
        if self.stage in _HELD_CALLS:
            query = f"name={_HOLD}&count=1&timeout={seconds:g}"
            self.api.http.timeout = seconds + 10
            assert self.api.ok("GET", f"/_faults/held?{query}")["reached"], self._log(flow_run_id)
        elif self.stage is Stage.RESULT:
            self._until(flow_run_id, (self.storage / HELD).exists, seconds)
        else:
            line = READY if self.stage is Stage.STREAMING else LAST_LINE
            self._until(flow_run_id, lambda: line in self._log(flow_run_id), seconds)

    def lift(self) -> None:
        """Let whoever is held go on."""
        self.api.ok("DELETE", "/_faults")
        self.api.ok("PUT", "/_faults/settings", {"lateStatusSeconds": 0})
        (self.storage / HOLD).unlink(missing_ok=True)
        (self.storage / HELD).unlink(missing_ok=True)
        if self.stage is Stage.POD_WAIT:
            path = f"/api/v1/namespaces/{self.namespace}/configmaps"
            answer = self.api.call("POST", path, {"metadata": {"name": CONFIG_MAP}})
            assert answer.status_code in {201, 409}, answer.text

    def request_fields(self) -> dict[str, Any]:
        """What the run's runtime needs for it."""
        if self.stage is not Stage.POD_WAIT:
            return {}
        return {"mounts": [{"kind": "config_map", "name": CONFIG_MAP, "path": "/var/run/late"}]}

    def _until(self, flow_run_id: str, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self._log(flow_run_id)
            # Each look costs the server's database something.
            time.sleep(0.3)

    def _log(self, flow_run_id: str) -> str:
        return self.prefect.logs(flow_run_id)
