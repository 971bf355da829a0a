"""What people find on the flow run's page when a run is over."""

import asyncio

from prefect.artifacts import acreate_markdown_artifact

from tasks.agent_job.names import AgentId, lease_name
from tasks.agent_job.report import render_report
from tasks.agent_job.run_result import AgentRunResult
from tasks.run_context import RunContext
from tasks.stage import stage

# With the API down, creating an artifact blocks for 77 s before it fails.
_PUBLISH_SECONDS = 5.0


def report_key(agent_id: AgentId) -> str:
    """Return the artifact key of an agent's reports; stable, so that the UI shows their history.

    Lowercase letters, digits and dashes, as Prefect wants keys; another one for each exact id.
    """
    return f"{lease_name(agent_id)}-report"


@stage("Report")
async def publish_report(context: RunContext, result: AgentRunResult) -> bool:
    """Publish the report; the verdict stands whether or not that works.

    Returns:
        Whether it was published.
    """
    report = context.redactor.text(render_report(result))
    try:
        async with asyncio.timeout(context.bounded(_PUBLISH_SECONDS)):
            await acreate_markdown_artifact(
                markdown=report,
                key=report_key(context.prepared.agent_id),
                description=result.message,
            )
    except Exception as error:
        # Whatever the API does must not change the verdict, which is decided by now.
        context.say(
            f"The report could not be published ({type(error).__name__}); the result stands."
        )
        return False
    return True
