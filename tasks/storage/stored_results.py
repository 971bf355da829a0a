"""Reading results back and writing them, validated."""

from pydantic import ValidationError

from tasks.outcome.run_result import AgentRunResult
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import own_attempt_folder, result_key
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId


async def read_stored_result(storage: ResultStorage, folder: str) -> AgentRunResult | None:
    """Return the stored result of an attempt; `None` if there is none.

    Raises:
        AgentRunError: It cannot be read. Taking that for none would pay for the work twice.
    """
    try:
        content = await storage.read(result_key(folder))
        return AgentRunResult.model_validate_json(content)
    except StoredObjectMissing:
        return None
    except ValidationError as error:
        raise _unreadable(storage, folder, "it is no result of this version") from error
    except Exception as error:
        # A block may raise whatever its library does.
        raise _unreadable(storage, folder, str(error)) from error


async def read_earlier_results(
    storage: ResultStorage, agent_id: AgentId, flow_run_id: FlowRunId, before: int
) -> list[AgentRunResult]:
    """Return what is stored of a flow run's own attempts with lower numbers, in order.

    Raises:
        AgentRunError: One of them cannot be read.
    """
    folders = [own_attempt_folder(agent_id, flow_run_id, number) for number in range(1, before)]
    found = [await read_stored_result(storage, folder) for folder in folders]
    return [result for result in found if result is not None]


async def write_result(storage: ResultStorage, folder: str, result: AgentRunResult) -> None:
    """Store a result; what the storage raises is passed on."""
    await storage.write(result_key(folder), result.model_dump_json(indent=2).encode())


def _unreadable(storage: ResultStorage, folder: str, why: str) -> AgentRunError:
    return AgentRunError(
        ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        f"Whether this run has a result already could not be read from {storage.description} "
        f"({folder}), so nothing was created: {why}.",
        advice="Make the result storage readable, or remove what is stored there, and run again.",
    )
