"""A run's verdict: as the state of its flow run, and as the result for its own process."""

from collections.abc import Awaitable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import Abort

from tasks.orchestrator.flow_run_states import to_state
from tasks.orchestrator.run_events import emit_run_event
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import RunControls, RunCrashed


def end_flow_run(result: AgentRunResult, controls: RunControls) -> State[dict[str, object]]:
    """Return the Prefect state for this result, and emit the event that automations react to.

    Raises:
        Abort: Another process of this flow run sets the run's state.
    """
    controls.result = result
    if controls.stepped_back:
        # The only way to end a process of a flow run without setting the run's state.
        raise Abort(result.message)
    emit_run_event(result)
    return to_state(result)


async def await_verdict(running: Awaitable[State[Any]], controls: RunControls) -> AgentRunResult:
    """Return the result of a run in this process, once it has ended.

    Raises:
        RunCrashed: The run ended without a result.
    """
    try:
        state = await running
        told = f"{state.name}: {state.message}"
    except Abort as aborted:
        # The run has stepped back, and its result says so.
        told = str(aborted)
    if controls.result is None:
        raise RunCrashed(
            f"The run ended without a verdict ({told}); its log in Prefect has the details, and "
            "the next run takes over its Job, if it has one."
        )
    return controls.result
