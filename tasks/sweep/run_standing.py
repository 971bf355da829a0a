"""How the flow run of an object stands, by what Prefect says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tasks.sweep.sweep_facts import RunStanding
from tasks.vocabulary.names import FlowRunId


@dataclass(frozen=True, slots=True)
class FlowRunRecord:
    """A flow run as Prefect knows it.

    Attributes:
        state_type: As Prefect spells it, such as `RUNNING`.
        state_at: Since when, by Prefect's clock.
        has_heartbeat: Whether it lately emitted one, or whether it did cannot be told.
        deployment_id: The deployment that it is a run of.
        parameters: As it was started with.
    """

    state_type: str
    state_at: datetime | None = None
    has_heartbeat: bool = True
    deployment_id: UUID | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)


# None: Prefect could not be read. A flow run that is missing in it is not there any more.
FlowRunRecords = Mapping[FlowRunId, FlowRunRecord] | None


def is_askable(run: FlowRunId) -> bool:
    """Tell whether Prefect can be asked about a flow run: its ids are UUIDs."""
    try:
        UUID(run)
    except ValueError:
        return False
    return True


def judge_standing(
    run: FlowRunId | None, runs: FlowRunRecords, *, now: datetime, minimum_age: timedelta
) -> RunStanding:
    """Tell how a flow run stands.

    One that is running counts as silent only when it has been running for the minimum age without a
    heartbeat; whether its process lives is for the Lease to say.
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
    # Scheduled, pending, paused, and what later versions may add: they may go on.
    return _STANDINGS.get(record.state_type, RunStanding.WAITING)


_STANDINGS: dict[str, RunStanding] = {
    "CANCELLING": RunStanding.CANCELLING,
    "CANCELLED": RunStanding.CANCELLED,
    "COMPLETED": RunStanding.OVER,
    "FAILED": RunStanding.OVER,
    "CRASHED": RunStanding.OVER,
}
