"""Finds out whether an agent's owner is alive, without taking its Lease."""

import asyncio

from tasks.cluster.cluster_errors import NamespaceNotFound, ObjectNotFound
from tasks.cluster.kinds.leases import read_lease
from tasks.observation.snapshots import LeaseSnapshot
from tasks.operators.cluster_look import ClusterAccess
from tasks.ownership.lease import LeaseHolder, LeaseSighting, LeaseState, LeaseVerdict, judge_lease
from tasks.vocabulary.names import AgentId, lease_name

_LOOK_AGAIN_SECONDS = 3.0
_ONLOOKER = LeaseHolder("")


async def watch_lease(access: ClusterAccess, agent_id: AgentId) -> LeaseVerdict:
    """Return whether the Lease may be taken or is being renewed, after at most its duration.

    Raises:
        ClusterError: The Lease could not be read.
    """
    first: LeaseSighting | None = None
    while True:
        lease = await _read(access, agent_id)
        now = access.now
        verdict = judge_lease(lease, now, _ONLOOKER, first)
        if verdict.state is not LeaseState.FRESH or lease is None:
            return verdict
        first = first or LeaseSighting(lease, now)
        await asyncio.sleep(min(_LOOK_AGAIN_SECONDS, verdict.expires_in_seconds + 0.1))


async def _read(access: ClusterAccess, agent_id: AgentId) -> LeaseSnapshot | None:
    try:
        raw = await read_lease(access.client, access.namespace, lease_name(agent_id))
    except NamespaceNotFound:
        raise
    except ObjectNotFound:
        return None
    return LeaseSnapshot.from_api(raw)
