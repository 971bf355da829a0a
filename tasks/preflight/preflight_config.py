"""What a preflight is asked: `PreflightConfig`, the one parameter of `preflight`."""

from pydantic import Field

from tasks.agent_job.run_request import AgentRunRequest
from tasks.claude_code.agent_spec import SpecModel

LONGEST_OUTAGE_SECONDS = 28_800  # a night, after which somebody looks


class PreflightConfig(SpecModel):
    """The run that is to be possible, and what it has to outlive."""

    request: AgentRunRequest = Field(
        description="A run as one would start it; nothing of it is started."
    )
    longest_outage_seconds: int = Field(
        default=LONGEST_OUTAGE_SECONDS,
        ge=0,
        le=30 * 86_400,
        description="Longest time in seconds for which Prefect, or what executes flow runs, may be "
        "away without a result being lost.",
    )
