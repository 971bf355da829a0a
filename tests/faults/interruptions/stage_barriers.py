"""Brings a run to one of its stages and holds it there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.agent_space import AgentSpace
from tests.faults.interruptions.held_runs import HELD, HOLD
from tests.faults.interruptions.interruption_table import Stage
from tests.waits import wait_until

READY, LAST_LINE = "Claude Code ready", "Second part of the answer: DONE."
CONFIG_MAP = "comes-late"

# What is held, and whether the call has had its effect by then.
_HELD_CALLS: dict[Stage, tuple[str, str, bool]] = {
    Stage.GUARD: ("list", "jobs", False),
    Stage.JOB: ("create", "jobs", True),
    Stage.COMMIT: ("update", "leases", True),
    Stage.SECRET: ("create", "secrets", True),
    Stage.POD_WAIT: ("list", "events", False),
    Stage.CLEANUP: ("patch", "jobs", False),
}


@dataclass
class Barrier:
    """Holds one run at one stage.

    Attributes:
        repeatedly: Hold the same call again whenever it is repeated.
        late_status_seconds: For how long the node does not report an agent that has ended.
    """

    stage: Stage
    space: AgentSpace
    repeatedly: bool = False
    late_status_seconds: float = 15.0
    _hold: str = ""

    def set(self) -> None:
        """Prepare the barrier; before the run is started."""
        world = self.space.world
        if self.stage in _HELD_CALLS:
            verb, resource, after = _HELD_CALLS[self.stage]
            match = {"verb": verb, "resource": resource}
            times = None if self.repeatedly else 1
            self._hold = self.space.hold(match, times=times, after=after)
        elif self.stage is Stage.COMPLETION:
            settings = {"lateStatusSeconds": self.late_status_seconds}
            world.api.ok("PUT", "/_faults/settings", settings)
        elif self.stage is Stage.RESULT:
            (world.storage / HOLD).touch()

    def wait(self, flow_run_id: str, seconds: float = 150) -> None:
        """Return once the run is held."""
        if self.stage in _HELD_CALLS:
            assert self.space.is_held(self._hold, seconds), self._log(flow_run_id)
        elif self.stage is Stage.RESULT:
            self._until(flow_run_id, (self.space.world.storage / HELD).exists, seconds)
        else:
            line = READY if self.stage is Stage.STREAMING else LAST_LINE
            self._until(flow_run_id, lambda: line in self._log(flow_run_id), seconds)

    def lift(self) -> None:
        """Let whoever is held go on."""
        self.space.world.calm()
        (self.space.world.storage / HOLD).unlink(missing_ok=True)
        (self.space.world.storage / HELD).unlink(missing_ok=True)
        if self.stage is Stage.POD_WAIT:
            body = {"metadata": {"name": CONFIG_MAP}}
            answer = self.space.api.call("POST", f"{self.space.core}/configmaps", body)
            assert answer.status_code in {201, 409}, answer.text

    def request_fields(self) -> dict[str, Any]:
        """What the run's runtime needs for it."""
        if self.stage is not Stage.POD_WAIT:
            return {}
        return {"mounts": [{"kind": "config_map", "name": CONFIG_MAP, "path": "/var/run/late"}]}

    def _until(self, flow_run_id: str, condition: Callable[[], bool], seconds: float) -> None:
        # Each look costs the server's database something.
        log = self._log
        wait_until(condition, seconds, pause_seconds=0.3, describe=lambda: log(flow_run_id))

    def _log(self, flow_run_id: str) -> str:
        return self.space.world.prefect.logs(flow_run_id)
