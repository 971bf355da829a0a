"""Kubernetes Events: what the cluster told about an object; gone after an hour by default."""

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import KUBERNETES_EVENTS, JsonObject
from tasks.cluster.kinds.api_objects import list_objects


async def list_kubernetes_events(
    client: ClusterClient, namespace: str, *, involved_uid: str
) -> tuple[JsonObject, ...]:
    """Return the Events about the object with this UID, in no promised order."""
    found = await list_objects(
        client,
        KUBERNETES_EVENTS,
        namespace,
        field_selector=f"involvedObject.uid={involved_uid}",
    )
    return found.items
