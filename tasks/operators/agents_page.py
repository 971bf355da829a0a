"""Keeps the artifact with the table of all agents current; what fails there is nobody's failure."""

import asyncio
from functools import partial
from uuid import UUID

from tasks.operators.agents_table import as_text_rows, build_agents_table, table_key
from tasks.operators.cluster_look import ClusterAccess
from tasks.orchestrator.artifacts import add_table_version, delete_versions, list_versions

# Looks at the cluster, and writes at most, for one update.
_MOST_LOOKS = 3


async def update_agents_page(access: ClusterAccess, *, seconds: float) -> bool:
    """Show all agents of a namespace as they are now; returns whether that was published.

    A table that somebody else has published since the look began may know more or less; whoever
    has published last then looks again, and so knows all that the others knew. What stood there
    before a look is deleted, and no history grows. A look is three lists.

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
    key = table_key(access.namespace)
    list_tables = partial(list_versions, key, seconds=seconds)
    replaced = frozenset(await list_tables())
    for _ in range(_MOST_LOOKS):
        table = build_agents_table(await access.look())
        rows = [*as_text_rows(table)]
        own = await add_table_version(key, rows, table.description, seconds=seconds)
        there = await list_tables()
        await delete_versions(replaced.intersection(there), seconds=seconds)
        if not must_look_again(there, own, replaced):
            break
        replaced = frozenset(there)
    return True


def must_look_again(there: tuple[UUID, ...], own: UUID, replaced: frozenset[UUID]) -> bool:
    """Tell whether a table that was just published may lack what another one knows.

    Args:
        there: All tables, the oldest first.
        own: The one just published.
        replaced: Those from before its look began.
    """
    # The writer of a later one finds ours, and looks again for both.
    return there[-1:] == (own,) and not replaced.issuperset(there[:-1])
