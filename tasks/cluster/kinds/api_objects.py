"""The calls that all kinds of objects have in common; the modules per kind choose among them.

Every write is conditional: a replacement carries a resourceVersion, a patch tests something, a
delete names the UID. What is not conditional is refused here as a mistake of ours.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from tasks.cluster.api_answers import expect_deletion, expect_list, expect_object
from tasks.cluster.call_retry import RETRY_SAFE, RetryPolicy
from tasks.cluster.cluster_client import JSON, JSON_PATCH, ApiAnswer, ClusterClient
from tasks.cluster.cluster_errors import ResourceExpired
from tasks.cluster.json_objects import ApiResource, JsonObject
from tasks.observation.api_fields import object_at

METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_PAGE_SIZE = 500
# The position of a list is good for about five minutes; a list that meets its end starts anew.
_LIST_STARTS = 3
JsonPatch = Sequence[JsonObject]


def expect(path: str, value: Any) -> JsonObject:
    """Refuse the whole patch unless `path` holds `value`."""
    return {"op": "test", "path": path, "value": value}


def put(path: str, value: Any) -> JsonObject:
    """Set a member, whether it exists or not; its parent must exist."""
    return {"op": "add", "path": path, "value": value}


def annotation_path(key: str) -> str:
    """Return the pointer to one annotation."""
    return f"/metadata/annotations/{_escaped(key)}"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


class Propagation(StrEnum):
    """What a delete does with the objects that the deleted one owns."""

    FOREGROUND = "Foreground"
    BACKGROUND = "Background"


@dataclass(frozen=True)
class ObjectList:
    """A whole list, of all pages.

    Attributes:
        items: The objects; without `kind` and `apiVersion`, as the API lists them.
        resource_version: Where a watch goes on from.
    """

    items: tuple[JsonObject, ...]
    resource_version: str


async def read_object(
    client: ClusterClient,
    resource: ApiResource,
    namespace: str | None,
    name: str,
    *,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Return one object.

    Raises:
        ObjectNotFound: There is none of that name.
    """
    path = resource.path(namespace, name)
    return (await client.request("GET", path, retry=retry, check=expect_object(resource))).json


async def list_objects(
    client: ClusterClient,
    resource: ApiResource,
    namespace: str | None,
    *,
    label_selector: str = "",
    field_selector: str = "",
    page_size: int = _PAGE_SIZE,
    accept: str = JSON,
    retry: RetryPolicy | None = None,
) -> ObjectList:
    """Return all objects that match, page by page, as of one instant.

    A list in a namespace that does not exist is empty, not an error.

    Raises:
        ResourceExpired: The list's position ran out before its end, three times over.
    """
    query = {"limit": str(page_size)}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    request = partial(
        client.request,
        "GET",
        resource.path(namespace),
        accept=accept,
        retry=retry,
        check=expect_list(resource, accept),
    )
    for _ in range(_LIST_STARTS - 1):
        try:
            return await _list_pages(request, query)
        except ResourceExpired:
            continue
    return await _list_pages(request, query)


async def _list_pages(
    request: Callable[..., Awaitable[ApiAnswer]], query: dict[str, str]
) -> ObjectList:
    items: list[JsonObject] = []
    page_query = query
    while True:
        page = (await request(query=page_query)).json
        items.extend(page.get("items") or [])
        metadata = object_at(page, "metadata")
        position = metadata.get("continue")
        if not position:
            return ObjectList(tuple(items), str(metadata.get("resourceVersion") or ""))
        page_query = {**query, "continue": str(position)}


async def create_object(
    client: ClusterClient,
    resource: ApiResource,
    namespace: str | None,
    manifest: JsonObject,
    *,
    retry: RetryPolicy | None = None,
    dry_run: bool = False,
) -> JsonObject:
    """Create an object and return it as stored.

    Args:
        client: The connection.
        resource: Its kind.
        namespace: Where.
        manifest: The whole object.
        retry: `RETRY_SAFE` only where the caller recognises its own object behind a conflict.
        dry_run: Have the server check and default everything, and store nothing.

    Raises:
        ObjectAlreadyExists: The name is taken; after a repeated try, perhaps by the first try.
        NamespaceNotFound: The namespace does not exist.
        ObjectInvalid: The manifest breaks a rule.
        RequestRefused: It has a field that the server does not know, which would else be dropped.
    """
    query = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    answer = await client.request(
        "POST",
        resource.path(namespace),
        query=query,
        body=manifest,
        retry=retry,
        check=expect_object(resource),
    )
    return answer.json


async def replace_object(
    client: ClusterClient,
    resource: ApiResource,
    namespace: str,
    manifest: JsonObject,
    *,
    timeout_seconds: float,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Replace an object if it still has the manifest's resourceVersion; return it as stored.

    Raises:
        ObjectConflict: Somebody changed it meanwhile, or deleted it. The change may have been a
            try of our own whose answer was lost (the HTTP library repeats a PUT by itself when an
            idle connection turns out to be closed): read it again before giving up.
        ObjectNotFound: It was deleted; by kind and version either of the two is answered.
    """
    metadata: dict[str, Any] = manifest["metadata"]
    # A PUT of a Lease that is gone makes it anew, unless the UID forbids.
    if not (metadata.get("resourceVersion") and metadata.get("uid")):
        raise ValueError("a replacement must carry UID and resourceVersion of what it replaces")
    answer = await client.request(
        "PUT",
        resource.path(namespace, metadata["name"]),
        body=manifest,
        timeout_seconds=timeout_seconds,
        retry=retry,
        check=expect_object(resource),
    )
    return answer.json


async def patch_object(
    client: ClusterClient,
    resource: ApiResource,
    namespace: str,
    name: str,
    patch: JsonPatch,
    *,
    retry: RetryPolicy | None = None,
) -> JsonObject:
    """Apply a JSON patch if all its tests hold; return the object as stored.

    Raises:
        PatchRefused: A test did not hold, so the race is lost and nothing was changed.
        ObjectNotFound: It is gone.
    """
    if not any(operation["op"] == "test" for operation in patch):
        raise ValueError("a patch must test what it relies on")
    answer = await client.request(
        "PATCH",
        resource.path(namespace, name),
        body=list(patch),
        content_type=JSON_PATCH,
        retry=retry,
        check=expect_object(resource),
    )
    return answer.json


async def delete_object(
    client: ClusterClient,
    resource: ApiResource,
    namespace: str,
    name: str,
    *,
    uid: str,
    propagation: Propagation,
    resource_version: str | None = None,
    retry: RetryPolicy = RETRY_SAFE,
) -> None:
    """Ask for the deletion of exactly this object; it may take its time afterwards.

    By default repeated also after ambiguous failures: a second try cannot meet another object.

    Args:
        client: The connection.
        resource: Its kind.
        namespace: Where.
        name: Its name.
        uid: It is deleted only if this is its UID.
        propagation: What becomes of what it owns.
        resource_version: It is deleted only if nobody has changed it since.
        retry: `RETRY_NEVER` where the right to delete may run out meanwhile.

    Raises:
        ObjectNotFound: There is none of that name; after a repeated try, deleted by the first.
        ObjectConflict: Another object has the name, or it was changed since `resource_version`.
    """
    if not uid:
        raise ValueError("a delete must name the UID of what it deletes")
    preconditions = {"uid": uid}
    if resource_version is not None:
        preconditions["resourceVersion"] = resource_version
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": preconditions,
        "propagationPolicy": propagation.value,
    }
    await client.request(
        "DELETE",
        resource.path(namespace, name),
        body=options,
        retry=retry,
        check=expect_deletion(resource),
    )
