"""How a run in progress is told to stop, and who reads along in this very process."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tasks.claude_code.rendering import RenderedLine
from tasks.outcome.run_result import AgentRunResult
from tasks.vocabulary.names import FlowRunId

# The command line refuses a wrong request without waiting for the Kubernetes client.
if TYPE_CHECKING:
    from tasks.cluster.watching.shared_clusters import SharedClusters


class Cancellation(Protocol):
    """Tells whether a run is being cancelled."""

    async def is_cancelled(self) -> bool:
        """Tell whether it is, or was; what cannot be read is no cancellation."""
        ...

    async def wait_until_cancelled(self) -> None:
        """Return once it is being cancelled."""
        ...


@dataclass(frozen=True)
class FleetShare:
    """What a run shares with the other runs of its fleet, which all are in one process.

    Attributes:
        clusters: Connections and watches.
        cancellation: Of this run; the fleet asks Prefect for all of its runs at once, and listens
            for signals.
    """

    clusters: "SharedClusters"
    cancellation: Cancellation


class RunCrashed(Exception):
    """A run ended without a verdict: a defect of ours, or of what we stand on."""


@dataclass
class RunControls:
    """What surrounds a run in its own process.

    Attributes:
        cancel_requested: Set once to end the agent with grace and report what it has done.
        fleet: What is shared with other runs; null for a run on its own.
        flow_run_id: The run's id, once it has begun.
        on_begin: Called once it has.
        kubeconfig: File to use instead of what the runtime block names; null for the block's.
        on_lines: Called with rendered lines as they arrive, besides the flow run's log.
        job_reference: `namespace/name` of the Job at work, once there is one.
        job_deleted: The deletion of that Job has been asked for.
        result: The run's result, once there is one.
        stepped_back: Another process of the same flow run is at work, and the run's state is its
            business.
    """

    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    fleet: FleetShare | None = None
    flow_run_id: FlowRunId | None = None
    on_begin: Callable[[], None] | None = None
    kubeconfig: Path | None = None
    on_lines: Callable[[Sequence[RenderedLine]], None] | None = None
    job_reference: str | None = None
    job_deleted: bool = False
    result: AgentRunResult | None = None
    stepped_back: bool = False


# Parameters of a flow run are stored and shown in Prefect; these belong to the process alone.
CONTROLS: ContextVar[RunControls | None] = ContextVar("claude_jobs_run_controls", default=None)


def current_controls() -> RunControls:
    """Return what surrounds the current run; empty controls where nobody set any."""
    return CONTROLS.get() or RunControls()
