"""`UsageDay`: usage of an agent's runs on one day, stored as JSON in the result storage.

There is one file per agent and day, so a budget needs one read and a report reads no results.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Literal

from pydantic import Field

from tasks.outcome.run_result import AgentRunResult, FrozenModel, TokenUsage

SUCCESS = "success"


class UsageEntry(FrozenModel):
    """Usage of one Job; unknown values are null, never zero.

    Attributes:
        outcome: `success`, or the error code.
        duration_seconds: How long the agent's container ran.
    """

    flow_run_id: str
    outcome: str
    usage: TokenUsage = TokenUsage()
    cost_usd: float | None = None
    duration_seconds: float | None = None


class UsageDay(FrozenModel):
    """The records of one agent and day.

    Attributes:
        day: In UTC; a Job belongs to the day on which its agent ended.
        jobs: By Job UID, so a Job that is recorded twice counts once.
    """

    version: Literal[1] = 1
    agent_id: str
    day: date
    jobs: Mapping[str, UsageEntry] = Field(default_factory=dict[str, UsageEntry])


def day_of(result: AgentRunResult) -> date:
    """Return the day that a result belongs to: that of its agent's end, in UTC."""
    at = result.timings.agent_ended_at or result.timings.ended_at
    return at.astimezone(UTC).date()


def add_usage(recorded: UsageDay | None, result: AgentRunResult) -> UsageDay:
    """Return the day with a result's Job added or replaced."""
    recorded = recorded or UsageDay(agent_id=result.agent_id, day=day_of(result))
    entry = UsageEntry(
        flow_run_id=result.flow_run_id,
        outcome=SUCCESS if result.error_code is None else result.error_code.value,
        usage=result.usage,
        cost_usd=result.cost_usd,
        duration_seconds=_seconds_between(
            result.timings.agent_started_at, result.timings.agent_ended_at
        ),
    )
    key = result.kubernetes.job_uid or f"{result.flow_run_id}/{result.attempt}"
    return recorded.model_copy(update={"jobs": {**recorded.jobs, key: entry}})


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()
