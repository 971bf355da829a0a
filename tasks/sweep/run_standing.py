"""The state of an object's flow run, according to Prefect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tasks.sweep.sweep_facts import RunStanding
from tasks.vocabulary.names import FlowRunId


@dataclass(frozen=True, slots=True)
class FlowRunRecord:
    """A flow run, as read from Prefect.

    Attributes:
        state_type: As Prefect spells it, for example `RUNNING`.
        state_at: When it entered this state, by Prefect's clock.
        has_heartbeat: Whether it recently sent a heartbeat; also true if that is unknown.
        deployment_id: The deployment that it belongs to.
        parameters: The parameters that it was started with.
    """

    state_type: str
    state_at: datetime | None = None
    has_heartbeat: bool = True
    deployment_id: UUID | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)


# None: Prefect could not be read. A flow run that is missing here no longer exists.
FlowRunRecords = Mapping[FlowRunId, FlowRunRecord] | None


def is_askable(run: FlowRunId) -> bool:
    """Return whether Prefect can be asked about a flow run: its ids are UUIDs."""
    try:
        UUID(run)
    except ValueError:
        return False
    return True


def judge_standing(
    run: FlowRunId | None, runs: FlowRunRecords, *, now: datetime, minimum_age: timedelta
) -> RunStanding:
    """Return the state of a flow run.

    A running flow run is silent only if it has been running for the minimum age and sends no
    heartbeat; its Lease shows whether its process is alive.
    """
    if run is None or not is_askable(run):
        return RunStanding.UNKNOWN
    if runs is None:
        return RunStanding.UNREADABLE
    record = runs.get(run)
    if record is None:
        return RunStanding.DELETED
    if record.state_type == "RUNNING":
        is_new = record.state_at is None or now - record.state_at < minimum_age
        return RunStanding.RUNNING if is_new or record.has_heartbeat else RunStanding.SILENT
    # Scheduled, pending, paused, and types that later versions may add: they may continue.
    return _STANDINGS.get(record.state_type, RunStanding.WAITING)


_STANDINGS: dict[str, RunStanding] = {
    "CANCELLING": RunStanding.CANCELLING,
    "CANCELLED": RunStanding.CANCELLED,
    "COMPLETED": RunStanding.OVER,
    "FAILED": RunStanding.OVER,
    "CRASHED": RunStanding.OVER,
}
