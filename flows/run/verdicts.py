"""The verdict of a run: as the state of its flow run, and for the process that started it."""

from collections.abc import Awaitable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import Abort

from tasks.orchestrator.flow_run_states import to_state
from tasks.orchestrator.run_events import emit_run_event
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import RunControls, RunCrashed


def end_flow_run(result: AgentRunResult, controls: RunControls) -> State[dict[str, object]]:
    """Return the Prefect state of a run with this result, and tell automations of it.

    Raises:
        Abort: The run's state is the business of another process of this flow run.
    """
    controls.result = result
    if controls.stepped_back:
        # The one way to end a process of a flow run without a word on the run's state.
        raise Abort(result.message)
    emit_run_event(result)
    return to_state(result)


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
