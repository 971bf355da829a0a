"""Small facts about objects: names, times, owners."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.local.resources import JsonObject

# Kubernetes leaves out what could be misread or spell words.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_LONGEST_BASE = 63 - _SUFFIX_LENGTH


def now() -> datetime:
    """Return this machine's time, in UTC: there is one machine, so it is everybody's clock."""
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """Write an instant as `metadata` does: whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    """Write an instant as Leases do: microseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read either form.

    Raises:
        ValueError: The text is no RFC 3339 time.
    """
    return datetime.fromisoformat(text).astimezone(UTC)


def after(moment: datetime, seconds: float) -> datetime:
    """Return the instant `seconds` later."""
    return moment + timedelta(seconds=seconds)


def new_uid() -> str:
    """Return a fresh UID."""
    return str(uuid.uuid4())


def random_suffix() -> str:
    """Return what `generateName` appends."""
    return "".join(random.choices(_SUFFIX_ALPHABET, k=_SUFFIX_LENGTH))


def generated_name(base: str) -> str:
    """Return a name for `generateName`, at most 63 characters."""
    return base[:_LONGEST_BASE] + random_suffix()


def name_of(obj: JsonObject) -> str:
    """Return `metadata.name`."""
    return obj["metadata"]["name"]


def namespace_of(obj: JsonObject) -> str:
    """Return `metadata.namespace`, empty for cluster-scoped objects."""
    return obj["metadata"].get("namespace", "")


def uid_of(obj: JsonObject) -> str:
    """Return `metadata.uid`."""
    return obj["metadata"]["uid"]


def is_deleting(obj: JsonObject) -> bool:
    """Tell whether deletion has been asked for."""
    return "deletionTimestamp" in obj["metadata"]


def owners_of(obj: JsonObject) -> list[JsonObject]:
    """Return `metadata.ownerReferences`."""
    return listed(obj["metadata"], "ownerReferences")


def is_owned_by(obj: JsonObject, uid: str) -> bool:
    """Tell whether one of the owners has this UID."""
    return any(owner["uid"] == uid for owner in owners_of(obj))


def listed(obj: JsonObject, key: str) -> list[Any]:
    """Return a list field; an absent one is empty."""
    return obj.get(key) or []


def mapped(obj: JsonObject, key: str) -> dict[str, Any]:
    """Return an object field; an absent one is empty."""
    return obj.get(key) or {}
