"""The trace that an agent's spans belong to, handed to it under OpenTelemetry's own names.

Claude Code takes `TRACEPARENT` as the parent of its spans, and every exporter takes
`OTEL_RESOURCE_ATTRIBUTES` as what the spans are about.
"""

import re
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID

TRACEPARENT = "TRACEPARENT"
RESOURCE_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"

# W3C Trace Context, level 1; later versions may append fields that we need not understand.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
# Sampled: else exporters that ask the parent would drop every span of the agent.
_FLAGS = "01"


def trace_env(
    *,
    run_traceparent: str | None,
    flow_run_id: str,
    namespace: str,
    job_name: str,
    agent_id: str,
    task_id: str | None,
) -> dict[str, str]:
    """Return the variables by which an agent's spans carry their flow run and Job.

    Always the same for the same arguments.

    Args:
        run_traceparent: Prefect's own for the flow run; used where it is a valid one. Otherwise the
            trace's id is the flow run's, so that it is found by that.
        flow_run_id: Of the run.
        namespace: Of its Job.
        job_name: Of its Job.
        agent_id: Of its agent.
        task_id: What the agent was woken for.
    """
    attributes = {
        # As Prefect calls them on its own spans.
        "prefect.run.type": "flow",
        "prefect.run.id": flow_run_id,
        "k8s.namespace.name": namespace,
        "k8s.job.name": job_name,
        "claude_jobs.agent.id": agent_id,
        "claude_jobs.task.id": task_id,
    }
    is_valid = run_traceparent is not None and _TRACEPARENT.fullmatch(run_traceparent)
    return {
        TRACEPARENT: run_traceparent
        if run_traceparent is not None and is_valid
        else f"00-{_trace_id(flow_run_id)}-{_hash_of(job_name)[:16]}-{_FLAGS}",
        RESOURCE_ATTRIBUTES: ",".join(
            f"{key}={quote(value, safe='')}" for key, value in attributes.items() if value
        ),
    }


def _trace_id(flow_run_id: str) -> str:
    try:
        found = UUID(flow_run_id)
    except ValueError:
        return _hash_of(flow_run_id)[:32]
    return found.hex if found.int else _hash_of(flow_run_id)[:32]


def _hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()
