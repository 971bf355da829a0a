"""Reading and naming the states of flow runs, bounded in time."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Completed, Failed

from tasks.outcome.run_result import AgentRunResult
from tasks.outcome.state_names import state_name
from tasks.vocabulary.error_codes import ErrorCode

# A call to an API that is away blocks for 77 s; the process has 30 s between SIGTERM and SIGKILL.
_READ_SECONDS = 4.0
_POLL_SECONDS = 10.0
_CANCEL_STATES = frozenset({StateType.CANCELLING, StateType.CANCELLED})
_ENDED_STATES = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED})
# Deeper nesting than this is a circle.
_GENERATIONS = 20


class CancellationReader:
    """Asks the API whether a flow run, or one that it is a part of, is being cancelled.

    Prefect stops the process of a cancelled run, but nobody tells its subflows' states, nor a run
    that no runner watches. Nothing else tells a cancellation from a crash either: exceptions and
    signals are the same.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self._lineage = [flow_run_id]
        self._lineage_known = False

    async def is_cancelled(self) -> bool:
        """Tell whether one of the runs is being cancelled, or was.

        An API that cannot be read within seconds is no cancellation, and neither is a run that was
        deleted from it: the Job is left alone.
        """
        try:
            async with asyncio.timeout(_READ_SECONDS), get_client() as client:
                if _any_cancelled(await self._read(client)):
                    return True
                if self._lineage_known:
                    return False
                await self._learn_ancestors(client)
                return _any_cancelled(await self._read(client))
        except Exception:
            # Whatever went wrong, the safe answer is the same.
            return False

    async def wait_until_cancelled(self) -> None:
        """Return once one of them is being cancelled; polls every 10 s, jittered."""
        while True:
            if await self.is_cancelled():
                return
            await asyncio.sleep(_POLL_SECONDS * random.uniform(0.8, 1.2))

    async def _read(self, client: PrefectClient) -> list[FlowRun]:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=self._lineage))
        return await client.read_flow_runs(flow_run_filter=wanted)

    async def _learn_ancestors(self, client: PrefectClient) -> None:
        while len(self._lineage) < _GENERATIONS:
            flow_run = await client.read_flow_run(self._lineage[-1])
            if flow_run.parent_task_run_id is None:
                break
            # Where the task run has not arrived yet, the next poll asks again.
            task_run = await client.read_task_run(flow_run.parent_task_run_id)
            if task_run.flow_run_id is None:
                break
            self._lineage.append(task_run.flow_run_id)
        self._lineage_known = True


async def read_cancelled(flow_run_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Ask the API which of these flow runs are being cancelled, or were; none if it is away.

    Args:
        flow_run_ids: At most 200, the API's limit of one answer.
    """
    wanted = FlowRunFilter(
        id=FlowRunFilterId(any_=list(flow_run_ids)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(_CANCEL_STATES))),
    )
    try:
        async with asyncio.timeout(_READ_SECONDS), get_client() as client:
            found = await client.read_flow_runs(flow_run_filter=wanted)
    except Exception:
        # Whatever went wrong, the safe answer is the same.
        return frozenset()
    return frozenset(run.id for run in found)


def _any_cancelled(flow_runs: list[FlowRun]) -> bool:
    return any(flow_run.state_type in _CANCEL_STATES for flow_run in flow_runs)


async def read_whether_cancelled(flow_run_id: UUID) -> bool | None:
    """Ask the API whether a flow run is being cancelled, or was; `None` if it cannot be read."""
    try:
        async with asyncio.timeout(_READ_SECONDS), get_client() as client:
            flow_run = await client.read_flow_run(flow_run_id)
    except Exception:
        # Whatever went wrong, who asks does the safe thing: the Job is left alone.
        return None
    return flow_run.state_type in _CANCEL_STATES


async def has_ended(flow_run_id: UUID) -> bool:
    """Ask the API whether a process of a flow run has said how it ended.

    Prefect lets a second process of a completed run fail it. A crash is nobody's own word; False
    also where the API cannot be read.
    """
    try:
        async with asyncio.timeout(_READ_SECONDS), get_client() as client:
            flow_run = await client.read_flow_run(flow_run_id)
    except Exception:
        # Whatever went wrong, the caller then reports its own ending.
        return False
    return flow_run.state_type in _ENDED_STATES


def to_state(result: AgentRunResult) -> State[dict[str, object]]:
    """Return the Prefect state in which a run with this result ends, with the result as data."""
    data = result.model_dump(mode="json")
    if result.error_code is None:
        return Completed(message=result.message, data=data)
    name = state_name(result.error_code, result.cause)
    if result.error_code is ErrorCode.CANCELLED:
        return Cancelled(name=name, message=result.message, data=data)
    return Failed(name=name, message=result.message, data=data)
