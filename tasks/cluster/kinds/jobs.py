"""Jobs: one API call each."""

from tasks.cluster.call_retry import RETRY_NEVER, RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import JOBS, JsonObject
from tasks.cluster.kinds.api_objects import (
    JsonPatch,
    ObjectList,
    Propagation,
    create_object,
    delete_object,
    list_objects,
    patch_object,
    read_object,
)


async def read_job(
    client: ClusterClient, namespace: str, name: str, *, retry: RetryPolicy | None = None
) -> JsonObject:
    """Return one Job, or raise `ObjectNotFound`; compare its UID before believing it."""
    return await read_object(client, JOBS, namespace, name, retry=retry)


async def list_jobs(
    client: ClusterClient, namespace: str | None, *, label_selector: str
) -> ObjectList:
    """Return the Jobs with these labels; `namespace` None means all namespaces."""
    return await list_objects(client, JOBS, namespace, label_selector=label_selector)


async def create_job(
    client: ClusterClient,
    namespace: str,
    manifest: JsonObject,
    *,
    retry: RetryPolicy | None = None,
    dry_run: bool = False,
) -> JsonObject:
    """Create a Job and return it as stored; errors as in `create_object`."""
    return await create_object(client, JOBS, namespace, manifest, retry=retry, dry_run=dry_run)


async def patch_job(
    client: ClusterClient,
    namespace: str,
    name: str,
    patch: JsonPatch,
    *,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Change a Job if all tests of the patch hold; `PatchRefused` is a lost race."""
    return await patch_object(client, JOBS, namespace, name, patch, retry=retry)


async def delete_job(
    client: ClusterClient,
    namespace: str,
    name: str,
    *,
    uid: str,
    propagation: Propagation,
    resource_version: str | None = None,
) -> None:
    """Delete exactly this Job; with FOREGROUND its pods get SIGTERM and go first.

    Tried once: an owner's right to delete ends with its Lease, which a repetition could outlive.

    Never without a propagation policy: the default of batch/v1 leaves the pods running.
    """
    await delete_object(
        client,
        JOBS,
        namespace,
        name,
        uid=uid,
        propagation=propagation,
        resource_version=resource_version,
        retry=RETRY_NEVER,
    )
