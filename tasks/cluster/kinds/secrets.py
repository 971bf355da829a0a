"""Secrets: one API call each. What they hold never shows up in an error (see `errors`)."""

from tasks.cluster.call_retry import RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import SECRETS, JsonObject
from tasks.cluster.kinds.api_objects import (
    METADATA_ONLY_LIST,
    ObjectList,
    Propagation,
    create_object,
    delete_object,
    list_objects,
    read_object,
)


async def read_secret(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    """Return one Secret with its content, or raise `ObjectNotFound`."""
    return await read_object(client, SECRETS, namespace, name)


async def list_secrets_metadata(
    client: ClusterClient, namespace: str | None, *, label_selector: str
) -> ObjectList:
    """Return the metadata of the Secrets with these labels; their contents stay there."""
    return await list_objects(
        client, SECRETS, namespace, label_selector=label_selector, accept=METADATA_ONLY_LIST
    )


async def create_secret(
    client: ClusterClient,
    namespace: str,
    manifest: JsonObject,
    *,
    retry: RetryPolicy | None = None,
    dry_run: bool = False,
) -> JsonObject:
    """Create a Secret and return it as stored; errors as in `create_object`.

    One whose owner does not exist is collected within about a second.
    """
    return await create_object(client, SECRETS, namespace, manifest, retry=retry, dry_run=dry_run)


async def delete_secret(
    client: ClusterClient,
    namespace: str,
    name: str,
    *,
    uid: str,
    resource_version: str | None = None,
) -> None:
    """Delete exactly this Secret; it owns nothing."""
    await delete_object(
        client,
        SECRETS,
        namespace,
        name,
        uid=uid,
        propagation=Propagation.BACKGROUND,
        resource_version=resource_version,
    )
