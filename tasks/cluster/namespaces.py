"""Namespaces: one API call each."""

from tasks.cluster.client import ClusterClient
from tasks.cluster.objects import read_object
from tasks.cluster.resources import NAMESPACES, JsonObject


async def read_namespace(client: ClusterClient, name: str) -> JsonObject:
    """Return one Namespace, or raise `ObjectNotFound`; needs a ClusterRole."""
    return await read_object(client, NAMESPACES, None, name)
