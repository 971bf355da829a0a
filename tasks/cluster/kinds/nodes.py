"""Nodes: one API call, for those who may; a Role of one namespace cannot allow it."""

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import NODES, JsonObject
from tasks.cluster.kinds.api_objects import read_object


async def read_node(client: ClusterClient, name: str) -> JsonObject:
    """Return one node; `ClusterForbidden` where the identity may not read nodes."""
    return await read_object(client, NODES, None, name)
