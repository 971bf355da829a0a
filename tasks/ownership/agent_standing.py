"""How an agent stands after its last run: a note on its Lease, for the table of all agents.

The owner of the Lease writes it and nobody else, so two runs that end together lose neither note;
whoever lists the Leases has the standing of every agent at once.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, cast

from tasks.text.safe_text import one_line
from tasks.vocabulary.names import ANNOTATION_STANDING

_OUTCOME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Spending:
    """What an agent's Jobs have cost.

    Attributes:
        usd: US dollars, summed over the Jobs whose cost is known.
        unknown: Number of Jobs whose cost is not.
    """

    usd: float = 0.0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class AgentStanding:
    """How an agent stood when its last run ended.

    Attributes:
        outcome: The name of the ending in Prefect's run list.
        ended_at: UTC.
        day: The day that was current then, in UTC.
        on_day: Spent on that day; `None` if the records could not be read.
        in_month: Spent in the month of that day; `None` likewise.
    """

    outcome: str
    ended_at: datetime
    day: date
    on_day: Spending | None
    in_month: Spending | None

    def spent_on(self, day: date) -> Spending | None:
        """Return what was spent on a day that is not before the last run's."""
        return self.on_day if self.day == day else Spending()

    def spent_in_month_of(self, day: date) -> Spending | None:
        """Return what was spent in the month of a day that is not before the last run's."""
        same = (self.day.year, self.day.month) == (day.year, day.month)
        return self.in_month if same else Spending()


def standing_note(standing: AgentStanding) -> dict[str, str]:
    """Return the annotations of a Lease that keep a standing."""
    fields = {
        "outcome": standing.outcome,
        "ended_at": standing.ended_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "day": standing.day.isoformat(),
        "on_day": None if standing.on_day is None else asdict(standing.on_day),
        "in_month": None if standing.in_month is None else asdict(standing.in_month),
    }
    return {ANNOTATION_STANDING: json.dumps(fields, separators=(",", ":"))}


def find_standing(notes: Mapping[str, str]) -> AgentStanding | None:
    """Return the standing in a Lease's annotations; `None` where there is none of this form."""
    try:
        fields: Any = json.loads(notes.get(ANNOTATION_STANDING) or "null")
        ended_at = datetime.fromisoformat(fields["ended_at"])
        if ended_at.tzinfo is None:
            return None
        return AgentStanding(
            outcome=one_line(str(fields["outcome"]), _OUTCOME_CHARACTERS),
            ended_at=ended_at,
            day=date.fromisoformat(fields["day"]),
            on_day=_spending(fields["on_day"]),
            in_month=_spending(fields["in_month"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _spending(value: Any) -> Spending | None:
    if value is None:
        return None
    known = cast("Mapping[str, Any]", value)
    return Spending(float(known["usd"]), int(known["unknown"]))
