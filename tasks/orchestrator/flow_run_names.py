"""Gives flow runs their names and tags in Prefect, however they were created.

A run names itself once it knows its agent, because a form, a schedule or an automation that creates
a run may know only the name of a block.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from tasks.agent_job.run_naming import may_be_renamed

# A name is worth no wait; the API may be away or slow.
_UPDATE_SECONDS = 4.0


async def name_flow_run(flow_run_id: str, name: str, tags: Sequence[str], *, base: str) -> bool:
    """Give the current flow run its name and tags; return whether Prefect has taken them.

    Tags that it already has stay. A name that somebody has chosen stays too.

    Args:
        flow_run_id: The flow run of the current context; another one is left alone.
        name: As it should be called.
        tags: What it should be tagged with.
        base: How its name begins when it is one of ours.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    if flow_run is None or str(flow_run.id) != flow_run_id:
        return False
    # The context has the tags from the run's beginning: they are only sent to add some to them.
    added = [tag for tag in tags if tag not in flow_run.tags]
    new_tags = [*flow_run.tags, *added] if added else None
    new_name = name if may_be_renamed(flow_run.name, base) and name != flow_run.name else None
    if new_name is None and new_tags is None:
        return True
    try:
        async with asyncio.timeout(_UPDATE_SECONDS), get_client() as client:
            await client.update_flow_run(UUID(flow_run_id), name=new_name, tags=new_tags)
    except Exception:
        # Nothing depends on it: the run's artifacts and log name its agent.
        return False
    return True
