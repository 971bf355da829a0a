"""The verdict of a run of the flow in this process, for whoever started it."""

from collections.abc import Awaitable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import Abort

from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import RunControls, RunCrashed


async def await_verdict(running: Awaitable[State[Any]], controls: RunControls) -> AgentRunResult:
    """Return the result of a run of the flow in this process, once it has ended.

    Raises:
        RunCrashed: It ended without one.
    """
    try:
        state = await running
        told = f"{state.name}: {state.message}"
    except Abort as aborted:
        # It has stepped back, with a result that says so.
        told = str(aborted)
    if controls.result is None:
        raise RunCrashed(
            f"The run broke off without a verdict ({told}); its log in Prefect has the details, "
            "and a Job that was created is left for the next run."
        )
    return controls.result
