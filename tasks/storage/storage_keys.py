"""Where the files of an attempt lie in the result storage.

The keys follow from ids that stand on the Job, so a hook, a later run or a reader finds them
without asking anybody.
"""

from datetime import date
from urllib.parse import quote

from tasks.observation.snapshots import JobSnapshot
from tasks.vocabulary.names import AgentId, FlowRunId

# Longer ones are cut by file systems, or refused.
_PART_LIMIT = 200


def attempt_folder(agent_id: AgentId, flow_run_id: FlowRunId, job: JobSnapshot) -> str:
    """Return where a flow run keeps what is about a Job: its own by number, others' by name."""
    if job.flow_run_id == flow_run_id:
        return own_attempt_folder(agent_id, flow_run_id, job.attempt or 1)
    return f"{_part(agent_id)}/{_part(flow_run_id)}/adopted-{_part(job.name)}"


def own_attempt_folder(agent_id: AgentId, flow_run_id: FlowRunId, attempt: int) -> str:
    """Return where a flow run keeps what is about an attempt of its own."""
    return f"{_part(agent_id)}/{_part(flow_run_id)}/{attempt}"


def result_key(folder: str) -> str:
    """Return the key of an attempt's result, JSON."""
    return f"{folder}/result.json"


def transcript_key(folder: str) -> str:
    """Return the key of an attempt's transcript: the agent's stdout lines, gzip."""
    return f"{folder}/transcript.jsonl.gz"


def usage_key(agent_id: AgentId, day: date) -> str:
    """Return the key of what an agent's runs have used on a day, JSON."""
    return f"{_part(agent_id)}/usage/{day.isoformat()}.json"


def usage_pattern(day: date) -> str:
    """Return the pattern of all agents' keys of a day."""
    return f"*/usage/{day.isoformat()}.json"


def usage_csv_key(since: date, until: date) -> str:
    """Return the key of a usage report; with a dot, which no agent's folder has."""
    return f"usage.reports/usage-{since.isoformat()}-to-{until.isoformat()}.csv"


def session_key(agent_id: AgentId, task_id: str) -> str:
    """Return the key of what is noted about an agent's last session on a task, JSON."""
    return f"{_part(agent_id)}/sessions/{_part(task_id)}.json"


def _part(text: str) -> str:
    # Dots are quoted too: an id must not climb out of its folder.
    return quote(text, safe="").replace(".", "%2E")[:_PART_LIMIT]
