"""What is only ever read: pods, nodes, events, quotas, claims, and the server's version.

Pods are never created or deleted from here, only tried: they are their Jobs'. Nodes are for those
who may: a Role of one namespace cannot allow it. Kubernetes Events are gone after an hour by
default.
"""

import re
from dataclasses import dataclass

from tasks.cluster.call_retry import RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import (
    KUBERNETES_EVENTS,
    NODES,
    PODS,
    RESOURCE_QUOTAS,
    VOLUME_CLAIMS,
    JsonObject,
)
from tasks.cluster.kinds.api_objects import ObjectList, create_object, list_objects, read_object
from tasks.observation.api_fields import text_at


async def list_pods(
    client: ClusterClient,
    namespace: str | None,
    *,
    label_selector: str,
    retry: RetryPolicy | None = None,
) -> ObjectList:
    """Return the pods with these labels; `namespace` None means all namespaces."""
    return await list_objects(client, PODS, namespace, label_selector=label_selector, retry=retry)


async def try_pod(
    client: ClusterClient,
    namespace: str,
    manifest: JsonObject,
    *,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Return a pod as it would be stored; nothing is. Errors as in `create_object`."""
    return await create_object(client, PODS, namespace, manifest, retry=retry, dry_run=True)


async def read_node(client: ClusterClient, name: str) -> JsonObject:
    """Return one node; `ClusterForbidden` where the identity may not read nodes."""
    return await read_object(client, NODES, None, name)


async def list_kubernetes_events(
    client: ClusterClient, namespace: str, *, involved_uid: str
) -> tuple[JsonObject, ...]:
    """Return the Events about the object with this UID, in no promised order."""
    found = await list_objects(
        client,
        KUBERNETES_EVENTS,
        namespace,
        field_selector=f"involvedObject.uid={involved_uid}",
    )
    return found.items


async def list_resource_quotas(client: ClusterClient, namespace: str) -> tuple[JsonObject, ...]:
    """Return the quotas of a namespace, in no promised order."""
    return (await list_objects(client, RESOURCE_QUOTAS, namespace)).items


async def read_volume_claim(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    """Return one claim, or raise `ObjectNotFound`."""
    return await read_object(client, VOLUME_CLAIMS, namespace, name)


@dataclass(frozen=True, order=True)
class ServerVersion:
    """Compares like `(major, minor)`, then by the whole text.

    Attributes:
        major: Such as 1.
        minor: Such as 27; managed clusters' `27+` is 27.
        git_version: Such as `v1.27.3-eks-a5565ad`.
    """

    major: int
    minor: int
    git_version: str


async def read_server_version(
    client: ClusterClient, *, retry: RetryPolicy | None = None
) -> ServerVersion:
    """Return the API server's version; needs no permission."""
    raw = (await client.request("GET", "/version", retry=retry, check=_expect_version)).json
    return ServerVersion(
        _leading_number(raw.get("major")),
        _leading_number(raw.get("minor")),
        str(raw.get("gitVersion") or ""),
    )


def _expect_version(found: JsonObject) -> str | None:
    return None if text_at(found, "gitVersion") is not None else "version"


def _leading_number(text: object) -> int:
    found = re.match(r"[0-9]{1,9}", str(text or ""))
    return int(found.group()) if found else 0
