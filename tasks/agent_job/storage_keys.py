"""Where the files of an attempt lie in the result storage.

The keys follow from ids that stand on the Job, so a hook, a later run or a reader finds them
without asking anybody.
"""

from urllib.parse import quote

from tasks.agent_job.names import AgentId, FlowRunId

# Longer ones are cut by file systems, or refused.
_PART_LIMIT = 200


def result_key(agent_id: AgentId, flow_run_id: FlowRunId, attempt: int) -> str:
    """Return the key of an attempt's result, JSON."""
    return f"{_folder(agent_id, flow_run_id, attempt)}/result.json"


def transcript_key(agent_id: AgentId, flow_run_id: FlowRunId, attempt: int) -> str:
    """Return the key of an attempt's transcript: the agent's stdout lines, gzip."""
    return f"{_folder(agent_id, flow_run_id, attempt)}/transcript.jsonl.gz"


def _folder(agent_id: AgentId, flow_run_id: FlowRunId, attempt: int) -> str:
    return f"{_part(agent_id)}/{_part(flow_run_id)}/{attempt}"


def _part(text: str) -> str:
    # Dots are quoted too: an id must not climb out of its folder.
    return quote(text, safe="").replace(".", "%2E")[:_PART_LIMIT]
