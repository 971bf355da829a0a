"""How a run in progress is told to stop, and who shows its output live."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tasks.claude_code.rendering import RenderedLine
from tasks.outcome.run_result import AgentRunResult
from tasks.text.redaction import Redactor
from tasks.vocabulary.names import AgentId, FlowRunId

# The command line refuses a wrong request without waiting for the Kubernetes client.
if TYPE_CHECKING:
    from tasks.agent_job.manifest import JobSpec
    from tasks.cluster.watching.shared_clusters import SharedClusters
    from tasks.run.attempt_at_work import AttemptAtWork


class Cancellation(Protocol):
    """Tells whether a run is being cancelled."""

    async def is_cancelled(self) -> bool:
        """Tell whether it is or was; False if that cannot be read."""
        ...

    async def wait_until_cancelled(self) -> None:
        """Return once the run is being cancelled."""
        ...


@dataclass(frozen=True)
class FleetShare:
    """What a run shares with the other runs of its fleet, all of which are in one process.

    Attributes:
        clusters: Connections and watches.
        cancellation: Tells of this run's cancellation; the fleet asks Prefect about all of its runs
            at once, and listens for signals.
    """

    clusters: "SharedClusters"
    cancellation: Cancellation


class RunCrashed(Exception):
    """A run ended without a verdict: a defect of ours, or of a library that we use."""


@dataclass
class RunControls:
    """What surrounds a run in its own process.

    Attributes:
        cancel_requested: Set once to end the agent gracefully and report what it has done.
        fleet: What is shared with other runs; null for a run that is in no fleet.
        flow_run_id: The run's id, once it has begun.
        on_begin: Called once the run has begun.
        kubeconfig: File to use instead of the runtime block's; null to use the block's.
        on_lines: Called with rendered lines as they arrive, besides the flow run's log.
        started_at: When the run began in this process.
        agent_id: The agent's id, once its block was read.
        redactor: Masks the values that are known as secrets by now.
        is_named: Whether the flow run was named after its agent.
        at_work: The Job at work, its own or an earlier run's, once there is one.
        creating: The Job that is being created, until it is committed.
        conclude_by: When this process will be killed, on the monotonic clock, in seconds; infinite
            if that is not known.
        result: The run's result, once there is one.
        stepped_back: Another process of the same flow run is at work, and sets the run's state.
    """

    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    fleet: FleetShare | None = None
    flow_run_id: FlowRunId | None = None
    on_begin: Callable[[], None] | None = None
    kubeconfig: Path | None = None
    on_lines: Callable[[Sequence[RenderedLine]], None] | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    agent_id: AgentId | None = None
    redactor: Redactor = field(default_factory=lambda: Redactor(()))
    is_named: bool = False
    at_work: "AttemptAtWork | None" = None
    creating: "JobSpec | None" = None
    conclude_by: float = math.inf
    result: AgentRunResult | None = None
    stepped_back: bool = False

    @property
    def job_reference(self) -> str | None:
        """`namespace/name` of the Job at work, once there is one."""
        return f"{self.at_work.namespace}/{self.at_work.job_name}" if self.at_work else None

    @property
    def job_deleted(self) -> bool:
        """Whether the deletion of that Job was requested, answered or not."""
        return self.at_work is not None and self.at_work.stopping is not None

    def bounded(self, seconds: float, *, leaving_seconds: float = 0.0) -> float:
        """Return `seconds`, or less if the process will be killed before.

        Args:
            seconds: How long something may take.
            leaving_seconds: How much of the process's life must be left for what follows.
        """
        left_seconds = self.conclude_by - time.monotonic() - leaving_seconds
        return max(0.0, min(seconds, left_seconds))


# Parameters of a flow run are stored and shown in Prefect; these belong to the process alone.
CONTROLS: ContextVar[RunControls | None] = ContextVar("claude_jobs_run_controls", default=None)


def current_controls() -> RunControls:
    """Return the controls of the current run; empty ones if none were set."""
    return CONTROLS.get() or RunControls()
