"""`UsageDay`: usage of an agent's runs on one day, stored as JSON in the result storage.

There is one file per agent and day, so a budget needs one read and a report reads no results.
"""

from collections.abc import Iterable, Mapping, Sequence
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
        namespace: Of the agent's Jobs; null in records of earlier versions, which were kept for all
            agents of one id together.
        day: In UTC; a Job counts for the day on which its agent ended.
        jobs: By Job UID, so that a Job that is concluded twice counts once.
    """

    version: Literal[1] = 1
    agent_id: str
    namespace: str | None = None
    day: date
    jobs: Mapping[str, UsageEntry] = Field(default_factory=dict[str, UsageEntry])


def day_of(result: AgentRunResult) -> date:
    """Return the day that a result belongs to: that of its agent's end, in UTC."""
    at = result.timings.agent_ended_at or result.timings.ended_at
    return at.astimezone(UTC).date()


def add_usage(recorded: UsageDay | None, result: AgentRunResult) -> UsageDay:
    """Return the day with a result's Job added, or told anew where it was there."""
    recorded = recorded or UsageDay(
        agent_id=result.agent_id, namespace=result.kubernetes.namespace, day=day_of(result)
    )
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


def join_usage(recorded: UsageDay, earlier: UsageDay) -> UsageDay:
    """Return a day with what an earlier version has recorded of it; a Job in both counts once."""
    return recorded.model_copy(update={"jobs": {**earlier.jobs, **recorded.jobs}})


def join_all_usage(records: Iterable[UsageDay]) -> list[UsageDay]:
    """Return one record for each agent and day; a Job counts once, whichever records it is in.

    What an earlier version has recorded counts for the one namespace in which the agent has run
    since, and for none where there are several or none.
    """
    days: dict[tuple[str, date], list[UsageDay]] = {}
    for record in records:
        days.setdefault((record.agent_id, record.day), []).append(record)
    return [joined for records_of_day in days.values() for joined in _join_day(records_of_day)]


def _join_day(records: Sequence[UsageDay]) -> list[UsageDay]:
    named = [record for record in records if record.namespace is not None]
    known = {job for record in named for job in record.jobs}
    joined = list(named)
    for earlier in (record for record in records if record.namespace is None):
        jobs = {uid: entry for uid, entry in earlier.jobs.items() if uid not in known}
        left = earlier.model_copy(update={"jobs": jobs})
        if len(named) == 1:
            joined[0] = join_usage(joined[0], left)
        elif jobs or not named:
            joined.append(left)
    return joined


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()
