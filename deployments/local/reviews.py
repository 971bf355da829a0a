"""Objects that are answered and never stored: access reviews and token requests."""

from typing import Any

from deployments.local.access import Access, Wish
from deployments.local.objects import after, format_time, mapped, now
from deployments.local.resources import ACCESS_REVIEWS, TOKEN_REQUESTS, JsonObject, Resource
from deployments.local.schema import decode
from deployments.local.tokens import Tokens, User

_TOKEN_SECONDS = 3600


def answer_review(access: Access, user: User, resource: Resource, body: Any) -> JsonObject:
    """Answer a SelfSubjectAccessReview or a SelfSubjectRulesReview.

    Raises:
        ApiError: 400, the body cannot be read.
    """
    spec = mapped(decode(resource, body), "spec")
    if resource == ACCESS_REVIEWS:
        status = _access_status(access, user, spec)
    else:
        rules, paths = access.rules_of(user, spec.get("namespace", ""))
        status = {"resourceRules": rules, "nonResourceRules": paths, "incomplete": False}
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"creationTimestamp": None},
        "spec": spec,
        "status": status,
    }


def _access_status(access: Access, user: User, spec: JsonObject) -> JsonObject:
    attributes = mapped(spec, "resourceAttributes")
    path = mapped(spec, "nonResourceAttributes").get("path")
    if path:
        return {"allowed": access.may_read_path(user, path)}
    resource, subresource = attributes.get("resource", ""), attributes.get("subresource")
    wish = Wish(
        verb=attributes.get("verb", ""),
        group=attributes.get("group", ""),
        resource=f"{resource}/{subresource}" if subresource else resource,
        namespace=attributes.get("namespace", ""),
        name=attributes.get("name", ""),
    )
    allowed, reason = access.may(user, wish)
    return {"allowed": allowed, "reason": reason} if reason else {"allowed": allowed}


def answer_token_request(tokens: Tokens, account: JsonObject, body: Any) -> JsonObject:
    """Answer a TokenRequest for a ServiceAccount.

    Raises:
        ApiError: 400, the body cannot be read.
    """
    spec = mapped(decode(TOKEN_REQUESTS, body), "spec")
    seconds = spec.get("expirationSeconds", _TOKEN_SECONDS)
    token, _ = tokens.issue(account, lifetime_seconds=seconds)
    return {
        "kind": TOKEN_REQUESTS.kind,
        "apiVersion": TOKEN_REQUESTS.api_version,
        "metadata": {"creationTimestamp": None},
        "spec": {
            "audiences": ["https://kubernetes.default.svc"],
            "boundObjectRef": None,
            **spec,
            "expirationSeconds": seconds,
        },
        "status": {
            "token": token,
            "expirationTimestamp": format_time(after(now(), seconds)),
        },
    }
