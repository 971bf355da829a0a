"""Keeps the artifact with the table of all agents current; what fails there is nobody's failure."""

import asyncio

from tasks.operators.agents_table import AgentsTable, as_text_rows, build_agents_table, table_key
from tasks.operators.cluster_look import ClusterAccess
from tasks.orchestrator.artifacts import publish_current_table

# Looks at the cluster, and writes at most, for one update.
_MOST_LOOKS = 3


async def update_agents_page(access: ClusterAccess, *, seconds: float) -> bool:
    """Show all agents of a namespace as they are now; returns whether that was published.

    It looks again after it has written: of two who write at the same time, the later one has then
    seen what the earlier one knew. Each look is three lists, and each write two requests.

    Args:
        access: The cluster and the namespace.
        seconds: How long all of it may take.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _update(access, seconds)
    except Exception:
        # Without the permission to list Leases, too: then the sweep alone keeps the table.
        return False


async def _update(access: ClusterAccess, seconds: float) -> bool:
    shown: AgentsTable | None = None
    for _ in range(_MOST_LOOKS):
        table = build_agents_table(await access.look())
        if table == shown:
            break
        await publish_current_table(
            table_key(access.namespace),
            [*as_text_rows(table)],
            table.description,
            seconds=seconds,
        )
        shown = table
    return shown is not None
