"""How a run in progress is told to stop, and who reads along in this very process."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from tasks.agent_job.run_result import AgentRunResult
from tasks.claude_code.rendering import RenderedLine


class RunCrashed(Exception):
    """A run ended without a verdict: a defect of ours, or of what we stand on."""


@dataclass
class RunControls:
    """What surrounds a run in its own process.

    Attributes:
        cancel_requested: Set once to end the agent with grace and report what it has done.
        kubeconfig: File to use instead of what the runtime block names; null for the block's.
        on_lines: Called with rendered lines as they arrive, besides the flow run's log.
        job_reference: `namespace/name` of the Job at work, once there is one.
        job_deleted: The deletion of that Job has been asked for.
        result: The run's result, once there is one.
        stepped_back: Another process of the same flow run is at work, and the run's state is its
            business.
    """

    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
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
