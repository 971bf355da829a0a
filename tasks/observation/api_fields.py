"""Reading fields and conditions of raw Kubernetes API objects.

A field that is missing, null, empty or of another type than expected reads as absent: servers of
different versions leave out different things, and a snapshot must be had of each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, cast

RawObject = Mapping[str, Any]

# As many as a 64-bit number has; Python refuses to read thousands of them.
_DIGITS = re.compile(r"[0-9]{1,19}")


def object_at(raw: RawObject, key: str) -> RawObject:
    """Return the object of a field, an empty one if there is none."""
    found = raw.get(key)
    return cast("RawObject", found) if isinstance(found, Mapping) else {}


def objects_at(raw: RawObject, key: str) -> list[RawObject]:
    """Return the objects of a list field, leaving out what is none."""
    found = raw.get(key)
    if not isinstance(found, list):
        return []
    items = cast("list[Any]", found)
    return [cast("RawObject", item) for item in items if isinstance(item, Mapping)]


def text_at(raw: RawObject, key: str) -> str | None:
    """Return a text field as it is; blank counts as absent."""
    found = raw.get(key)
    return found if isinstance(found, str) and found.strip() else None


def integer_at(raw: RawObject, key: str) -> int | None:
    """Return a whole number, given as one or (in annotations) as at most 19 decimal digits."""
    found = raw.get(key)
    if isinstance(found, str) and _DIGITS.fullmatch(found):
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def instant_at(raw: RawObject, key: str) -> datetime | None:
    """Return an RFC 3339 instant in UTC."""
    found = raw.get(key)
    if not isinstance(found, str):
        return None
    try:
        instant = datetime.fromisoformat(found)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):  # the first day there is, of a zone in the east
        return None


def texts_at(raw: RawObject, key: str) -> dict[str, str]:
    """Return the text values of a map such as labels or annotations."""
    return {name: value for name, value in object_at(raw, key).items() if isinstance(value, str)}


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
