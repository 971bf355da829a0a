"""Reading results back and writing them, validated."""

from pydantic import ValidationError

from tasks.outcome.run_result import AgentRunResult
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import (
    AttemptFolder,
    StorageOwner,
    result_key,
    transcript_key,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId


async def read_stored_result(
    storage: ResultStorage, folder: AttemptFolder
) -> AgentRunResult | None:
    """Return the stored result of an attempt; `None` if there is none of this agent and flow run.

    Raises:
        AgentRunError: It cannot be read. Taking that for none would pay for the work twice.
    """
    for path in (folder.path, folder.old_path):
        result = await _read_result(storage, path)
        if result is not None and _is_of(result, folder):
            return result
    return None


async def read_earlier_results(
    storage: ResultStorage, owner: StorageOwner, flow_run_id: FlowRunId, before: int
) -> list[AgentRunResult]:
    """Return what is stored of a flow run's own attempts with lower numbers, in order.

    Raises:
        AgentRunError: One of them cannot be read.
    """
    folders = [owner.own_attempt(flow_run_id, number) for number in range(1, before)]
    found = [await read_stored_result(storage, folder) for folder in folders]
    return [result for result in found if result is not None]


async def read_stored_transcript(storage: ResultStorage, folder: AttemptFolder) -> bytes:
    """Return the stored transcript of an attempt, gzip.

    A transcript does not tell whose it is; for those of earlier versions the result beside it does.

    Raises:
        StoredObjectMissing: There is none of this agent and flow run.
        AgentRunError: The result beside it cannot be read.
        Exception: Whatever the storage raises.
    """
    try:
        return await storage.read(transcript_key(folder.path))
    except StoredObjectMissing:
        result = await _read_result(storage, folder.old_path)
        if result is None or not _is_of(result, folder):
            raise
    return await storage.read(transcript_key(folder.old_path))


async def write_result(storage: ResultStorage, path: str, result: AgentRunResult) -> None:
    """Store a result in an attempt's folder; what the storage raises is passed on."""
    await storage.write(result_key(path), result.model_dump_json(indent=2).encode())


async def _read_result(storage: ResultStorage, path: str) -> AgentRunResult | None:
    try:
        content = await storage.read(result_key(path))
        return AgentRunResult.model_validate_json(content)
    except StoredObjectMissing:
        return None
    except ValidationError as error:
        raise _unreadable(storage, path, "it is not a result of this version") from error
    except Exception as error:
        # A block may raise whatever its library does.
        raise _unreadable(storage, path, str(error) or type(error).__name__) from error


def _is_of(result: AgentRunResult, folder: AttemptFolder) -> bool:
    owner = StorageOwner(result.kubernetes.namespace, AgentId(result.agent_id))
    return owner == folder.owner and result.flow_run_id == folder.flow_run_id


def _unreadable(storage: ResultStorage, path: str, why: str) -> AgentRunError:
    return AgentRunError(
        ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        f"Whether this run has a result already could not be read from {storage.description} "
        f"({path}), so nothing was created: {why}.",
        advice="Make the result storage readable, or remove what is stored there, and run again.",
    )
