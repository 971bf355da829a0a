"""PersistentVolumeClaims: one API call each."""

from tasks.cluster.client import ClusterClient
from tasks.cluster.objects import read_object
from tasks.cluster.resources import VOLUME_CLAIMS, JsonObject


async def read_volume_claim(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    """Return one claim, or raise `ObjectNotFound`."""
    return await read_object(client, VOLUME_CLAIMS, namespace, name)
