"""ResourceQuotas: one API call each."""

from tasks.cluster.client import ClusterClient
from tasks.cluster.objects import list_objects
from tasks.cluster.resources import RESOURCE_QUOTAS, JsonObject


async def list_resource_quotas(client: ClusterClient, namespace: str) -> tuple[JsonObject, ...]:
    """Return the quotas of a namespace, in no promised order."""
    return (await list_objects(client, RESOURCE_QUOTAS, namespace)).items
