"""Usage per agent and day, summed up from the records: rows, table, CSV."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import TypeVar

from pydantic import BaseModel

from tasks.text.safe_text import duration_text
from tasks.usage.usage_ledger import SUCCESS, UsageDay, UsageEntry

T = TypeVar("T", int, float)

UNKNOWN = "–"
# Nobody reads a longer page to its end; the CSV has all rows.
_ROWS_LIMIT = 500


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one agent on one day: sums of the known values, `None` if none is known.

    Attributes:
        day: In UTC.
        namespace: Of the agent's Jobs; null where an earlier version recorded them.
        outcomes: How many Jobs ended how: `success`, or an error code.
        cost_usd: US dollars.
        jobs_of_unknown_cost: Number of Jobs that are not in `cost_usd`.
        duration_seconds: Total running time of the agent's containers.
    """

    day: date
    agent_id: str
    namespace: str | None
    jobs: int
    succeeded: int
    outcomes: tuple[tuple[str, int], ...]
    input_tokens: int | None
    output_tokens: int | None
    cache_creation_input_tokens: int | None
    cache_read_input_tokens: int | None
    cost_usd: float | None
    jobs_of_unknown_cost: int
    duration_seconds: float | None


class UsageReport(BaseModel):
    """The sums of a usage report.

    Attributes:
        cost_usd: US dollars, summed over the Jobs whose cost is known.
        csv_location: Where the CSV was stored; null if it could not be stored.
        problems: What could not be read or written, as sentences.
    """

    since: date
    until: date
    agents: int
    jobs: int
    succeeded: int
    cost_usd: float
    jobs_of_unknown_cost: int
    csv_location: str | None = None
    problems: list[str]

    @property
    def summary(self) -> str:
        """The report in a few sentences."""
        unknown = self.jobs_of_unknown_cost
        sentences = [
            f"{self.since} to {self.until} (UTC): {self.jobs} Jobs of {self.agents} agents, "
            f"{self.succeeded} succeeded, ${self.cost_usd:.4f}.",
            *([f"The cost of {unknown} Jobs is unknown and not included."] if unknown else []),
            *([f"CSV: {self.csv_location}."] if self.csv_location else []),
            *self.problems,
        ]
        return " ".join(sentences)


def build_usage_rows(days: Iterable[UsageDay]) -> list[UsageRow]:
    """Sum up each agent's day: newest day first, then by agent; empty days have no row."""
    rows = [_row(day) for day in days if day.jobs]
    return sorted(rows, key=lambda row: (-row.day.toordinal(), row.agent_id, row.namespace or ""))


def build_usage_report(
    rows: Sequence[UsageRow], *, since: date, until: date, problems: Sequence[str]
) -> UsageReport:
    """Sum up all rows."""
    return UsageReport(
        since=since,
        until=until,
        agents=_count_agents(rows),
        jobs=sum(row.jobs for row in rows),
        succeeded=sum(row.succeeded for row in rows),
        cost_usd=sum(row.cost_usd or 0.0 for row in rows),
        jobs_of_unknown_cost=sum(row.jobs_of_unknown_cost for row in rows),
        problems=list(problems),
    )


def build_usage_table(rows: Sequence[UsageRow]) -> tuple[list[dict[str, str]], int]:
    """Return the rows for people to read, and how many were left out."""
    return [_columns(row) for row in rows[:_ROWS_LIMIT]], max(0, len(rows) - _ROWS_LIMIT)


def build_usage_csv(rows: Iterable[UsageRow]) -> str:
    """Return all rows as CSV with a header; unknown values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(UsageRow))
    for row in rows:
        writer.writerow(_csv_value(getattr(row, field.name)) for field in fields(UsageRow))
    return text.getvalue()


def _row(day: UsageDay) -> UsageRow:
    jobs = list(day.jobs.values())
    outcomes = Counter(job.outcome for job in jobs)
    return UsageRow(
        day=day.day,
        agent_id=day.agent_id,
        namespace=day.namespace,
        jobs=len(jobs),
        succeeded=outcomes[SUCCESS],
        outcomes=tuple(sorted(outcomes.items())),
        input_tokens=_sum(jobs, lambda job: job.usage.input_tokens),
        output_tokens=_sum(jobs, lambda job: job.usage.output_tokens),
        cache_creation_input_tokens=_sum(jobs, lambda job: job.usage.cache_creation_input_tokens),
        cache_read_input_tokens=_sum(jobs, lambda job: job.usage.cache_read_input_tokens),
        cost_usd=_sum(jobs, lambda job: job.cost_usd),
        jobs_of_unknown_cost=sum(job.cost_usd is None for job in jobs),
        duration_seconds=_sum(jobs, lambda job: job.duration_seconds),
    )


def _count_agents(rows: Iterable[UsageRow]) -> int:
    named = {(row.agent_id, row.namespace) for row in rows if row.namespace is not None}
    # A row without a namespace is of an agent that is counted already, if it has run since.
    return len(named) + len({row.agent_id for row in rows} - {agent_id for agent_id, _ in named})


def _sum(jobs: Iterable[UsageEntry], value_of: Callable[[UsageEntry], T | None]) -> T | None:
    known = [value for job in jobs if (value := value_of(job)) is not None]
    return sum(known[1:], known[0]) if known else None


def _columns(row: UsageRow) -> dict[str, str]:
    cost = UNKNOWN if row.cost_usd is None else f"${row.cost_usd:.4f}"
    unknown = row.jobs_of_unknown_cost
    return {
        "day": row.day.isoformat(),
        "agent": row.agent_id,
        "namespace": row.namespace or UNKNOWN,
        "Jobs": str(row.jobs),
        "succeeded": str(row.succeeded),
        "failed": ", ".join(f"{n} {code}" for code, n in row.outcomes if code != SUCCESS) or "-",
        "input tokens": _number(row.input_tokens),
        "output tokens": _number(row.output_tokens),
        "cache written": _number(row.cache_creation_input_tokens),
        "cache read": _number(row.cache_read_input_tokens),
        "cost": f"{cost}, {unknown} unknown" if unknown and row.cost_usd is not None else cost,
        "agent time": UNKNOWN
        if row.duration_seconds is None
        else duration_text(row.duration_seconds),
    }


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _csv_value(value: object) -> object:
    if isinstance(value, tuple):
        return " ".join(f"{code}={n}" for code, n in value)  # pyright: ignore[reportUnknownVariableType] # `outcomes`, the only tuple of a row
    return "" if value is None else value
