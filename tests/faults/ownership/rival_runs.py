"""One agent and the runs that want it at the same time."""

import uuid
from typing import Any

from tests.faults.agent_space import AgentSpace
from tests.faults.run_processes import RunProcess, request_for
from tests.faults.world import World

_OWNER_EPOCH = "claude-jobs.dev/owner-epoch"


class Rivals(AgentSpace):
    """An agent and its runs."""

    def __init__(self, world: World, line_delay_seconds: float = 0.0) -> None:
        super().__init__(world)
        self._line_delay_seconds = line_delay_seconds
        self._started: list[RunProcess] = []

    def start(
        self,
        flow_run_id: str | None = None,
        prompt: str = "Say hello.",
        *,
        env: dict[str, str] | None = None,
        runtime: dict[str, Any] | None = None,
    ) -> RunProcess:
        """Start a run of the agent; `env` and `runtime` are added to what all runs have."""
        request = request_for(
            self.agent_id,
            self.name,
            self.world.storage,
            prompt=prompt,
            line_delay_seconds=self._line_delay_seconds,
        )
        request["env"] |= env or {}
        request["runtime"] |= runtime or {}
        run = self.world.host.start(request, flow_run_id)
        self._started.append(run)
        return run

    def refuse(self, match: dict[str, str]) -> None:
        """Have the next such call in the agent's namespace refused (403)."""
        name = f"refuse-{uuid.uuid4().hex[:8]}"
        self.add_faults({"id": name, "match": match, "times": 1, "do": {"status": 403}})

    def _is_owned_by_holder(self) -> bool:
        """Tell whether a Job was made or adopted in the Lease's present tenure."""
        epoch = str(self.lease["spec"]["leaseTransitions"])
        return any(job["metadata"]["annotations"][_OWNER_EPOCH] == epoch for job in self.found_jobs)

    def wait_for_successor(self, former_holder: str, successor: RunProcess) -> None:
        """Return once another process owns the agent and its live Job, or has ended already."""

        def has_taken_over() -> bool:
            if successor.outcome is not None:
                return True
            is_owner = self.lease_holder not in {"", former_holder}
            return is_owner and self.is_live() and self._is_owned_by_holder()

        self.until(has_taken_over, 150)

    def describe(self) -> str:
        """Return what is there and what every run has said."""
        said = (f"{run.base.name}: {run.outcome}\n{run.log}" for run in self._started)
        return "\n".join((super().describe(), *said))

    def clear_away(self) -> None:
        """Kill the runs too."""
        for run in self._started:
            run.kill()
        super().clear_away()
