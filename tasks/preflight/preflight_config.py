"""`PreflightConfig`: the one parameter of `preflight`."""

from pydantic import Field

from tasks.agent_job.run_request import AgentRunRequest
from tasks.claude_code.agent_spec import SpecModel

LONGEST_OUTAGE_SECONDS = 28_800  # one night, until somebody looks in the morning


class PreflightConfig(SpecModel):
    """The run to check, and the longest outage it must survive."""

    request: AgentRunRequest = Field(description="Request of the run to check. Nothing is started.")
    longest_outage_seconds: int = Field(
        default=LONGEST_OUTAGE_SECONDS,
        ge=0,
        le=30 * 86_400,
        description="Longest outage, in seconds, of Prefect or its workers that must not lose a "
        "result.",
    )
