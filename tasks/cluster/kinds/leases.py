"""Leases: one API call each. Whether one is fresh is judged by `client.server_clock`, elsewhere."""

from tasks.cluster.call_retry import RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import LEASES, JsonObject
from tasks.cluster.kinds.api_objects import (
    ObjectList,
    Propagation,
    create_object,
    delete_object,
    list_objects,
    read_object,
    replace_object,
)

_CALL_SECONDS = 5.0  # a third of the renewal's interval, so that a slow call costs no renewal


async def read_lease(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    """Return one Lease, or raise `ObjectNotFound`."""
    return await read_object(client, LEASES, namespace, name)


async def list_leases(
    client: ClusterClient, namespace: str | None, *, label_selector: str
) -> ObjectList:
    """Return the Leases with these labels; `namespace` None means all namespaces."""
    return await list_objects(client, LEASES, namespace, label_selector=label_selector)


async def create_lease(
    client: ClusterClient,
    namespace: str,
    manifest: JsonObject,
    *,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Create a Lease; errors as in `create_object`."""
    return await create_object(client, LEASES, namespace, manifest, retry=retry)


async def replace_lease(
    client: ClusterClient,
    namespace: str,
    manifest: JsonObject,
    *,
    timeout_seconds: float = _CALL_SECONDS,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Replace a Lease under its resourceVersion; errors as in `replace_object`."""
    return await replace_object(
        client, LEASES, namespace, manifest, timeout_seconds=timeout_seconds, retry=retry
    )


async def delete_lease(
    client: ClusterClient, namespace: str, name: str, *, uid: str, resource_version: str
) -> None:
    """Delete exactly this Lease, if nobody has taken it since."""
    await delete_object(
        client,
        LEASES,
        namespace,
        name,
        uid=uid,
        propagation=Propagation.BACKGROUND,
        resource_version=resource_version,
    )
