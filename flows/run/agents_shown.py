"""Keeps the table of all agents current beside a run: while its agent waits, starts, and ends."""

import asyncio
import random

from tasks.cluster.watching.shared_clusters import SharedClusters
from tasks.operators.agents_page import update_agents_page
from tasks.operators.cluster_look import ClusterAccess
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork

# An agent that has ended by then is shown by its end alone.
_LOOK_SECONDS = 5.0
_UPDATE_SECONDS = 5.0
_FLEET_SECONDS = 15.0


async def show_agents_beside(run: AgentRun, work: AttemptAtWork) -> None:
    """Show the agent as waiting, if it waits long, and as working; ends by itself after that."""
    is_shown = False
    while True:
        # Runs that began together would all find a newer table than theirs, and look again.
        await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.5))
        if work.agent_started:
            await show_agents(run)
            return
        if not is_shown:
            await show_agents(run)
            is_shown = True


async def show_agents(run: AgentRun) -> None:
    """Bring the table of all agents up to date; never raises, and takes at most 5 s.

    Runs of a fleet leave it to the fleet: together they would ask the same again and again.
    """
    outside = run.outside
    if outside.controls.fleet is None:
        seconds = outside.controls.bounded(_UPDATE_SECONDS)
        await update_agents_page(ClusterAccess(outside.client, outside.namespace), seconds=seconds)


async def show_fleet(clusters: SharedClusters) -> None:
    """Bring the tables of the namespaces of a fleet up to date, at once and within 5 s."""
    accesses = [ClusterAccess(client, namespace) for client, namespace in clusters.places]
    await asyncio.gather(*(update_agents_page(one, seconds=_UPDATE_SECONDS) for one in accesses))


async def keep_fleet_shown(clusters: SharedClusters) -> None:
    """Show the agents of a fleet again and again, until cancelled."""
    while True:
        await asyncio.sleep(_FLEET_SECONDS)
        await show_fleet(clusters)
