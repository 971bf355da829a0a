"""Records the usage of runs, and reads it for budgets and reports."""

import asyncio
from dataclasses import dataclass
from datetime import date

from pydantic import ValidationError

from tasks.outcome.run_result import AgentRunResult
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import USAGE_PATTERN, StorageOwner, usage_keys_of
from tasks.usage.usage_ledger import (
    UsageDay,
    add_usage,
    day_of,
    join_all_usage,
    join_usage,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError, InputInvalid
from tasks.vocabulary.names import AgentId

_READ_SECONDS = 30.0


class UsageUnreadable(AgentRunError):
    """The records of a day cannot be read, so spending is unknown."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
            f"The agent's spending could not be read from {where}: {why}.",
            advice="Make the result storage readable, or remove the file there, and run again.",
        )


@dataclass(frozen=True, slots=True)
class RecordedUsage:
    """The records of several days.

    Attributes:
        days: One record for each agent and day.
        problems: What could not be read, as sentences.
    """

    days: list[UsageDay]
    problems: list[str]


async def read_usage_day(storage: ResultStorage, owner: StorageOwner, day: date) -> UsageDay | None:
    """Return what is recorded of an agent's day, by earlier versions too; `None` if nothing is.

    Raises:
        UsageUnreadable: They cannot be read; to treat that as zero would spend a budget twice.
    """
    where = owner.usage(day)
    recorded = await _read_own(storage, where.key, owner)
    earlier = await _read_own(storage, where.old_key, owner)
    if earlier is None:
        return recorded
    empty = UsageDay(agent_id=owner.agent_id, namespace=owner.namespace, day=day)
    return join_usage(recorded or empty, earlier)


async def record_usage(storage: ResultStorage, result: AgentRunResult) -> None:
    """Add a result to its agent's day; again it changes nothing.

    Only the owner of the agent's Lease calls this, so nobody else writes the same file.

    Raises:
        UsageUnreadable: The existing records cannot be read and were not changed.
        Exception: Whatever the storage raises.
    """
    owner = StorageOwner(result.kubernetes.namespace, AgentId(result.agent_id))
    key = owner.usage(day_of(result)).key
    recorded = add_usage(await _read_own(storage, key, owner), result)
    await storage.write(key, recorded.model_dump_json().encode())


async def read_recorded_usage(storage: ResultStorage, days: list[date]) -> RecordedUsage:
    """Return the records of all agents on these days, and name what cannot be read.

    Raises:
        InputInvalid: This kind of storage cannot list its contents.
    """
    problems: list[str] = []
    try:
        keys = usage_keys_of(await storage.find(USAGE_PATTERN), days)
    except InputInvalid:
        raise
    except Exception as error:
        # A block may raise whatever its library does.
        why = (str(error) or type(error).__name__).rstrip(".")
        return RecordedUsage([], [f"{storage.description} cannot be searched: {why}."])
    records: list[UsageDay] = []
    for key in keys:
        try:
            recorded = await _read(storage, key)
        except UsageUnreadable as error:
            problems.append(error.message)
            continue
        if recorded is not None:
            records.append(recorded)
    return RecordedUsage(join_all_usage(records), problems)


async def _read_own(storage: ResultStorage, key: str, owner: StorageOwner) -> UsageDay | None:
    """Return a record; one of another agent counts as missing.

    Records of earlier versions name no namespace: they count for every agent of their id, since
    what is left out of a budget is spent twice.
    """
    recorded = await _read(storage, key)
    if recorded is None or recorded.agent_id != owner.agent_id:
        return None
    return recorded if recorded.namespace in {None, owner.namespace} else None


async def _read(storage: ResultStorage, key: str) -> UsageDay | None:
    where = f"{storage.description} ({key})"
    try:
        async with asyncio.timeout(_READ_SECONDS):
            content = await storage.read(key)
        return UsageDay.model_validate_json(content)
    except StoredObjectMissing:
        return None
    except ValidationError as error:
        raise UsageUnreadable(where, "it is not a usage record of this version") from error
    except Exception as error:
        # A block may raise any exception of its library.
        raise UsageUnreadable(where, str(error) or type(error).__name__) from error
