"""Pauses and resumes an agent; what a pause means is decided in `tasks.ownership.pause`."""

from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import NamespaceNotFound, ObjectConflict, ObjectNotFound
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.leases import create_lease, read_lease, replace_lease
from tasks.observation.snapshots import LeaseSnapshot
from tasks.ownership.pause import AgentPause, build_paused, build_resumed, find_pause
from tasks.vocabulary.names import AgentId, lease_name

# A run at work renews its Lease every 15 s; more conflicts than this are somebody else's.
_TRIES = 8


async def pause_agent(
    client: ClusterClient, namespace: str, agent_id: AgentId, reason: str | None
) -> AgentPause | None:
    """Block new runs of this agent, whoever owns it now.

    Returns:
        The pause that was there before, if there was one; it is replaced.

    Raises:
        ClusterError: The Lease could not be read or written.
        InputInvalid: The reason is too long.
    """
    for tries_left in reversed(range(_TRIES)):
        raw = await _read(client, namespace, agent_id)
        # The answer that was just read carried the server's time.
        now = client.server_now()
        body = build_paused(raw, agent_id, reason, now)
        try:
            if raw is None:
                await create_lease(client, namespace, body)
            else:
                # A second try after a lost answer conflicts with our own first one; it is built
                # anew from what is read then.
                await replace_lease(client, namespace, body, retry=RETRY_SAFE)
        except NamespaceNotFound:
            raise
        except (ObjectConflict, ObjectNotFound):
            if not tries_left:
                raise
            continue
        return _pause_of(raw)
    raise AssertionError("the last try raises")


async def resume_agent(
    client: ClusterClient, namespace: str, agent_id: AgentId
) -> AgentPause | None:
    """Allow new runs of this agent again.

    Returns:
        The pause that has ended; `None` where there was none.

    Raises:
        ClusterError: The Lease could not be read or written.
    """
    for tries_left in reversed(range(_TRIES)):
        raw = await _read(client, namespace, agent_id)
        pause = _pause_of(raw)
        if raw is None or pause is None:
            return None
        try:
            await replace_lease(client, namespace, build_resumed(raw), retry=RETRY_SAFE)
        except ObjectConflict:
            if not tries_left:
                raise
            continue
        return pause
    raise AssertionError("the last try raises")


async def _read(client: ClusterClient, namespace: str, agent_id: AgentId) -> JsonObject | None:
    try:
        return await read_lease(client, namespace, lease_name(agent_id))
    except NamespaceNotFound:
        raise
    except ObjectNotFound:
        return None


def _pause_of(raw: JsonObject | None) -> AgentPause | None:
    return find_pause(LeaseSnapshot.from_api(raw).annotations) if raw is not None else None
