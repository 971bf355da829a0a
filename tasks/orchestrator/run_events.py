"""Telling Prefect's automations how a run has ended."""

from prefect.events import emit_event

from tasks.outcome.run_event import build_run_event
from tasks.outcome.run_result import AgentRunResult


def emit_run_event(result: AgentRunResult) -> None:
    """Emit the event of a run that is over; never waits, raises nothing.

    Prefect adds the flow run, its flow, deployment, work pool and tags as related resources.
    """
    event = build_run_event(result)
    try:
        emit_event(event.name, resource=event.resource, payload=event.payload)
    except Exception:
        # Such as one that is too large; state and report tell the same.
        return
