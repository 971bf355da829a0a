"""What we may do: the API server's own answer, for which everybody has the permission."""

from dataclasses import dataclass
from typing import Any

from tasks.cluster.client import ClusterClient
from tasks.cluster.resources import ACCESS_REVIEWS
from tasks.cluster.retry import RETRY_SAFE


@dataclass(frozen=True)
class AccessReview:
    """Whether one verb on one resource is allowed to us, and the server's reason."""

    allowed: bool
    reason: str


async def create_access_review(
    client: ClusterClient,
    *,
    verb: str,
    group: str,
    resource: str,
    namespace: str | None,
    subresource: str = "",
) -> AccessReview:
    """Ask whether we may; nothing is stored by asking.

    Args:
        client: The connection.
        verb: As in a Role.
        group: API group; empty for the core API.
        resource: Plural, without the subresource.
        namespace: None means in all namespaces.
        subresource: Such as `log`.
    """
    attributes = {
        "namespace": namespace or "",
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
    }
    answer = await client.request(
        "POST",
        ACCESS_REVIEWS.path(None),
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
        retry=RETRY_SAFE,
    )
    status: dict[str, Any] = answer.json.get("status") or {}
    return AccessReview(bool(status.get("allowed")), str(status.get("reason") or ""))
