"""PersistentVolumeClaims: one API call each."""

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import VOLUME_CLAIMS, JsonObject
from tasks.cluster.kinds.api_objects import read_object


async def read_volume_claim(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    """Return one claim, or raise `ObjectNotFound`."""
    return await read_object(client, VOLUME_CLAIMS, namespace, name)
