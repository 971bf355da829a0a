"""Reading, ending and restarting the flow runs that a sweep deals with.

"Prefect could not be read" and "Prefect does not know the flow run" are different answers.
"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventResourceFilter,
)
from prefect.states import Cancelled, Crashed

from tasks.sweep.run_standing import FlowRunRecord, FlowRunRecords
from tasks.vocabulary.names import FlowRunId, JobUid

# A call to an API that does not answer blocks for 77 s.
_CALL_SECONDS = 15.0
_PAGE_SIZE = 200  # Prefect's own limit
_EVENTS_PAGE_SIZE = 50  # Prefect's own limit
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RESOURCE = "prefect.flow-run."
# Three of Prefect's default intervals of 180 s, and some time for delivery.
_SILENCE = timedelta(minutes=10)


async def read_flow_run_records(runs: Iterable[FlowRunId]) -> FlowRunRecords:
    """Return the flow runs that Prefect knows, by id; `None` if Prefect cannot be read.

    Heartbeats are not read here.
    """
    wanted = sorted(UUID(run) for run in runs)
    records: dict[FlowRunId, FlowRunRecord] = {}
    try:
        async with get_client() as client:
            for start in range(0, len(wanted), _PAGE_SIZE):
                chosen = FlowRunFilterId(any_=wanted[start : start + _PAGE_SIZE])
                async with asyncio.timeout(_CALL_SECONDS):
                    found = await client.read_flow_runs(
                        flow_run_filter=FlowRunFilter(id=chosen), limit=_PAGE_SIZE
                    )
                records |= {FlowRunId(str(run.id)): _record(run) for run in found}
    except Exception:
        # Whatever went wrong, nothing is known.
        return None
    return records


async def ask_for_heartbeats(
    records: FlowRunRecords, runs: Collection[FlowRunId]
) -> FlowRunRecords:
    """Return the records, with those of flow runs without a heartbeat marked.

    Args:
        records: As read; `None` is returned unchanged.
        runs: The flow runs to check. If Prefect's events cannot be read, none is marked.
    """
    running = [run for run in runs if records and _is_running(records.get(run))]
    if not records or not running:
        return records
    try:
        beating = await _read_beating(running)
    except Exception:
        # Whatever went wrong, a flow run that may be alive is not called silent.
        return records
    silent = {run: replace(records[run], has_heartbeat=False) for run in set(running) - beating}
    return {**records, **silent}


async def mark_cancelled(run: FlowRunId) -> bool:
    """Set a flow run in state Cancelling to Cancelled; return whether Prefect accepted it.

    Raises:
        Exception: Whatever Prefect's client raises.
    """
    return await _set_state(
        run, Cancelled(message="The run had no process any more; a sweep marked it as cancelled.")
    )


async def mark_crashed(run: FlowRunId) -> bool:
    """Mark a flow run without any sign of life as crashed; return whether Prefect accepted it.

    Raises:
        Exception: Whatever Prefect's client raises.
    """
    message = "The run held no Lease and sent no heartbeat; a sweep marked it as crashed."
    return await _set_state(run, Crashed(message=message))


async def start_again(record: FlowRunRecord, orphan: JobUid) -> tuple[FlowRunId, bool]:
    """Start the deployment of a flow run again, once for each orphan.

    Returns:
        The new flow run, or the one that was started for this orphan before, and whether it has
        already ended.

    Raises:
        Exception: Whatever Prefect's client raises.
    """
    if record.deployment_id is None:
        raise ValueError("a flow run without a deployment cannot be started again")
    async with asyncio.timeout(_CALL_SECONDS), get_client() as client:
        started = await client.create_flow_run_from_deployment(
            record.deployment_id,
            parameters=dict(record.parameters),
            # If a flow run with this key exists, Prefect returns that one.
            idempotency_key=f"claude-jobs-adopt-{orphan}",
        )
    return FlowRunId(str(started.id)), bool(started.state and started.state.is_final())


async def _set_state(run: FlowRunId, state: State[None]) -> bool:
    async with asyncio.timeout(_CALL_SECONDS), get_client() as client:
        answer = await client.set_flow_run_state(UUID(run), state)
    return answer.status is SetStateStatus.ACCEPT


async def _read_beating(runs: list[FlowRunId]) -> set[FlowRunId]:
    beating: set[FlowRunId] = set()
    async with get_client() as client:
        for start in range(0, len(runs), _EVENTS_PAGE_SIZE):
            async with asyncio.timeout(_CALL_SECONDS):
                beating |= await _read_heartbeats(client, runs[start : start + _EVENTS_PAGE_SIZE])
    return beating


async def _read_heartbeats(client: PrefectClient, runs: list[FlowRunId]) -> set[FlowRunId]:
    now = datetime.now(UTC)
    wanted = EventFilter(
        occurred=EventOccurredFilter.model_validate(
            {"since": now - _SILENCE, "until": now + _SILENCE}
        ),
        event=EventNameFilter(name=[_HEARTBEAT]),
        resource=EventResourceFilter(id=[f"{_RESOURCE}{run}" for run in runs]),
    )
    found: set[FlowRunId] = set()
    page = await client.read_events(wanted, limit=_EVENTS_PAGE_SIZE)
    while True:
        found |= {FlowRunId(one.resource.id.removeprefix(_RESOURCE)) for one in page.events}
        following = await page.get_next_page(client)
        if following is None or len(found) == len(runs):
            return found
        page = following


def _is_running(record: FlowRunRecord | None) -> bool:
    return record is not None and record.state_type == "RUNNING"


def _record(run: FlowRun) -> FlowRunRecord:
    return FlowRunRecord(
        state_type=run.state_type.value if run.state_type else "",
        state_at=run.state.timestamp if run.state else None,
        deployment_id=run.deployment_id,
        parameters=run.parameters or {},
    )
