"""ResourceQuotas: one API call each."""

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import RESOURCE_QUOTAS, JsonObject
from tasks.cluster.kinds.api_objects import list_objects


async def list_resource_quotas(client: ClusterClient, namespace: str) -> tuple[JsonObject, ...]:
    """Return the quotas of a namespace, in no promised order."""
    return (await list_objects(client, RESOURCE_QUOTAS, namespace)).items
