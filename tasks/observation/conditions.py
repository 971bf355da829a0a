"""Conditions of Jobs and pods."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from tasks.observation.api_fields import RawObject, instant_at, objects_at, text_at


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a Job or pod; only `status == "True"` states it."""

    type: str
    status: str = "Unknown"
    reason: str | None = None
    message: str | None = None
    changed_at: datetime | None = None

    @property
    def is_true(self) -> bool:
        """Whether the condition holds."""
        return self.status == "True"

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read one item of `status.conditions`."""
        return cls(
            type=text_at(raw, "type") or "",
            status=text_at(raw, "status") or "Unknown",
            reason=text_at(raw, "reason"),
            message=text_at(raw, "message"),
            changed_at=instant_at(raw, "lastTransitionTime"),
        )


def conditions_at(status: RawObject) -> tuple[Condition, ...]:
    """Read `conditions` of a status, in the order in which the API gave them."""
    return tuple(Condition.from_api(item) for item in objects_at(status, "conditions"))
