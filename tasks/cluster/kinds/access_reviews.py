"""What we may do: the API server's own answer, for which everybody has the permission."""

from dataclasses import dataclass

from tasks.cluster.api_answers import expect_review
from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import ACCESS_REVIEWS, RULES_REVIEWS
from tasks.observation.api_fields import RawObject, object_at, objects_at


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
        check=expect_review(ACCESS_REVIEWS),
    )
    status = object_at(answer.json, "status")
    return AccessReview(status.get("allowed") is True, str(status.get("reason") or ""))


async def list_own_rules(client: ClusterClient, namespace: str) -> tuple[RawObject, ...]:
    """Return the rules by which we may do something in a namespace; nothing is stored by asking.

    Servers whose permissions come from elsewhere than Roles may not tell all: before something is
    called missing, `create_access_review` has to say so too. A rule for objects of certain names
    counts like one for all of them.
    """
    answer = await client.request(
        "POST",
        RULES_REVIEWS.path(None),
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        },
        retry=RETRY_SAFE,
        check=expect_review(RULES_REVIEWS),
    )
    return tuple(objects_at(object_at(answer.json, "status"), "resourceRules"))
