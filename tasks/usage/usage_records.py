"""Recording what runs have used, and reading it back for budgets and reports."""

import asyncio
from dataclasses import dataclass, field
from datetime import date

from pydantic import ValidationError

from tasks.outcome.run_result import AgentRunResult
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import usage_key, usage_pattern
from tasks.usage.usage_ledger import UsageDay, add_usage, day_of
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError, InputInvalid
from tasks.vocabulary.names import AgentId

_READ_SECONDS = 30.0


class UsageUnreadable(AgentRunError):
    """What was recorded of a day cannot be read; that is not the same as nothing."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
            f"What was spent could not be read from {where}: {why}.",
            advice="Make the result storage readable, or remove the file there, and run again.",
        )


@dataclass
class RecordedUsage:
    """What is recorded of several days.

    Attributes:
        problems: What could not be read, as sentences.
    """

    days: list[UsageDay] = field(default_factory=list[UsageDay])
    problems: list[str] = field(default_factory=list[str])


async def read_usage_day(storage: ResultStorage, agent_id: AgentId, day: date) -> UsageDay | None:
    """Return what is recorded of an agent's day; `None` if nothing is.

    Raises:
        UsageUnreadable: It cannot be read. Taking that for nothing would spend a budget twice.
    """
    return await _read(storage, usage_key(agent_id, day))


async def record_usage(storage: ResultStorage, agent_id: AgentId, result: AgentRunResult) -> None:
    """Add a result to its day; again it changes nothing.

    Only the owner of the agent's Lease calls this, so nobody else writes the same file.

    Raises:
        UsageUnreadable: What is there already cannot be read, and is left as it is.
        Exception: Whatever the storage raises.
    """
    key = usage_key(agent_id, day_of(result))
    recorded = add_usage(await _read(storage, key), result)
    await storage.write(key, recorded.model_dump_json().encode())


async def read_recorded_usage(storage: ResultStorage, days: list[date]) -> RecordedUsage:
    """Return what is recorded of all agents on these days; what cannot be read is named.

    Raises:
        InputInvalid: This kind of storage cannot tell what is in it.
    """
    found = RecordedUsage()
    for day in days:
        try:
            keys = await storage.find(usage_pattern(day))
        except InputInvalid:
            raise
        except Exception as error:
            # A block may raise whatever its library does.
            why = str(error) or type(error).__name__
            found.problems.append(f"{storage.description} cannot be searched: {why}.")
            break
        for key in keys:
            try:
                recorded = await _read(storage, key)
            except UsageUnreadable as error:
                found.problems.append(error.message)
                continue
            if recorded is not None:
                found.days.append(recorded)
    return found


async def _read(storage: ResultStorage, key: str) -> UsageDay | None:
    where = f"{storage.description} ({key})"
    try:
        async with asyncio.timeout(_READ_SECONDS):
            content = await storage.read(key)
        return UsageDay.model_validate_json(content)
    except StoredObjectMissing:
        return None
    except ValidationError as error:
        raise UsageUnreadable(where, "it is no usage record of this version") from error
    except Exception as error:
        # A block may raise whatever its library does.
        raise UsageUnreadable(where, str(error) or type(error).__name__) from error
