"""Reading and naming the states of flow runs, bounded in time."""

import asyncio
import random
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Completed, Failed

from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.run_result import AgentRunResult
from tasks.agent_job.state_names import state_name

# A call to an API that is away blocks for 77 s; the process has 30 s between SIGTERM and SIGKILL.
_READ_SECONDS = 4.0
_POLL_SECONDS = 10.0
_CANCEL_STATES = frozenset({StateType.CANCELLING, StateType.CANCELLED})


async def is_cancelled(flow_run_id: UUID) -> bool:
    """Tell whether the API says that a flow run is being cancelled, or was.

    Nothing else tells a cancellation from a crash: exceptions and signals are the same. An API that
    cannot be read is no cancellation.
    """
    return await read_whether_cancelled(flow_run_id) is True


async def read_whether_cancelled(flow_run_id: UUID) -> bool | None:
    """Ask the API whether a flow run is being cancelled, or was; `None` if it cannot be read."""
    try:
        async with asyncio.timeout(_READ_SECONDS), get_client() as client:
            flow_run = await client.read_flow_run(flow_run_id)
    except Exception:
        # Whatever went wrong, who asks does the safe thing: the Job is left alone.
        return None
    return flow_run.state_type in _CANCEL_STATES


async def wait_until_cancelled(flow_run_id: UUID) -> None:
    """Return once the API says that a flow run is being cancelled; polls every 10 s, jittered."""
    while True:
        if await is_cancelled(flow_run_id):
            return
        await asyncio.sleep(_POLL_SECONDS * random.uniform(0.8, 1.2))


def to_state(result: AgentRunResult) -> State[dict[str, object]]:
    """Return the Prefect state in which a run with this result ends, with the result as data."""
    data = result.model_dump(mode="json")
    if result.error_code is None:
        return Completed(message=result.message, data=data)
    name = state_name(result.error_code, result.cause)
    if result.error_code is ErrorCode.CANCELLED:
        return Cancelled(name=name, message=result.message, data=data)
    return Failed(name=name, message=result.message, data=data)
