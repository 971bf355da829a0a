"""Keeps the table of all agents current beside a run: while its agent waits, starts, and ends."""

import asyncio

from tasks.operators.agents_page import update_agents_page
from tasks.operators.cluster_look import ClusterAccess
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork

# An agent that has ended by then is shown by its end alone.
_LOOK_SECONDS = 5.0
_UPDATE_SECONDS = 5.0


async def show_agents_beside(run: AgentRun, work: AttemptAtWork) -> None:
    """Show the agent as waiting, if it waits long, and as working; ends by itself after that."""
    is_shown = False
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if work.agent_started:
            await show_agents(run)
            return
        if not is_shown:
            await show_agents(run)
            is_shown = True


async def show_agents(run: AgentRun) -> None:
    """Bring the table of all agents up to date; never raises, and takes at most 5 s."""
    outside = run.outside
    seconds = outside.controls.bounded(_UPDATE_SECONDS)
    await update_agents_page(ClusterAccess(outside.client, outside.namespace), seconds=seconds)
