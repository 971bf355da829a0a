"""Nodes: one API call, for those who may; a Role of one namespace cannot allow it."""

from tasks.cluster.client import ClusterClient
from tasks.cluster.objects import read_object
from tasks.cluster.resources import NODES, JsonObject


async def read_node(client: ClusterClient, name: str) -> JsonObject:
    """Return one node; `ClusterForbidden` where the identity may not read nodes."""
    return await read_object(client, NODES, None, name)
