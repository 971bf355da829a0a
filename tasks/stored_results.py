"""Reading results back and writing them, validated."""

from pydantic import ValidationError

from tasks.agent_job.names import AgentId, FlowRunId
from tasks.agent_job.run_result import AgentRunResult
from tasks.agent_job.storage_keys import result_key
from tasks.result_storage import ResultStorage, StoredObjectMissing


async def read_stored_result(
    storage: ResultStorage, agent_id: AgentId, flow_run_id: FlowRunId, attempt: int
) -> AgentRunResult | None:
    """Return the stored result of an attempt; `None` if there is none or it cannot be read."""
    try:
        content = await storage.read(result_key(agent_id, flow_run_id, attempt))
        return AgentRunResult.model_validate_json(content)
    except (StoredObjectMissing, ValidationError, OSError):
        return None


async def write_result(storage: ResultStorage, result: AgentRunResult, attempt: int) -> str:
    """Store a result and return its key.

    Raises:
        OSError: The storage cannot be written.
    """
    key = result_key(AgentId(result.agent_id), FlowRunId(result.flow_run_id), attempt)
    await storage.write(key, result.model_dump_json(indent=2).encode())
    return key
