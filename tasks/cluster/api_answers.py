"""Whether a success is the Kubernetes API's own: proxies and portals answer 200 as well. Pure."""

import json
from collections.abc import Callable
from typing import Any, cast

from tasks.cluster.cluster_errors import ClusterUnavailable
from tasks.cluster.json_objects import ApiResource, JsonObject, RequestTarget
from tasks.observation.api_fields import object_at, text_at

_PARTIAL = "as=PartialObjectMetadataList"
_VOWELS = ("A", "E", "I", "O")  # that a kind may begin with

AnswerCheck = Callable[[JsonObject], str | None]
"""Tells what an answer should have been and is not, such as `Job`; None if it is."""


def parse_answer(
    target: RequestTarget, status: int, body: bytes, check: AnswerCheck | None
) -> JsonObject:
    """Return the object that answered a request.

    Args:
        target: What was asked for.
        status: HTTP status, 2xx.
        body: The whole body.
        check: What else is wanted than any object.

    Raises:
        ClusterUnavailable: It is no answer of the Kubernetes API, so it says nothing.
    """
    found = parse_json_object(body)
    missing = "JSON object" if found is None else check(found) if check is not None else None
    if found is None or missing is not None:
        article = "an" if str(missing).startswith(_VOWELS) else "a"
        raise ClusterUnavailable(
            f"What answered {target} is not the Kubernetes API: its answer is not {article} "
            f"{missing}.",
            target=target,
            status=status,
        )
    return found


def parse_json_object(text: bytes) -> JsonObject | None:
    """Return an object in JSON; None for everything else."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):  # brackets in thousands of brackets
        return None
    return cast("JsonObject", found) if isinstance(found, dict) else None


def is_stored_object(found: object) -> bool:
    """Tell whether this can be an object as the API stores them: they have a UID."""
    if not isinstance(found, dict):
        return False
    return text_at(object_at(cast("JsonObject", found), "metadata"), "uid") is not None


def expect_object(resource: ApiResource) -> AnswerCheck:
    """Want one stored object."""

    def check(found: JsonObject) -> str | None:
        is_one = found.get("kind") == resource.kind and is_stored_object(found)
        return None if is_one else resource.kind

    return check


def expect_list(resource: ApiResource, accept: str) -> AnswerCheck:
    """Want a page of a list, in the form that was asked for; its items have no kind."""
    kind = "PartialObjectMetadataList" if _PARTIAL in accept else f"{resource.kind}List"

    def check(found: JsonObject) -> str | None:
        # Null stands for none, as everywhere in the API.
        items: Any = found.get("items") or []
        if found.get("kind") != kind or not isinstance(items, list):
            return kind
        return None if all(map(is_stored_object, cast("list[Any]", items))) else kind

    return check


def expect_deletion(resource: ApiResource) -> AnswerCheck:
    """Want what a delete is answered with: a Status, or the object that goes."""

    def check(found: JsonObject) -> str | None:
        return None if found.get("kind") in ("Status", resource.kind) else "Status"

    return check


def expect_review(resource: ApiResource) -> AnswerCheck:
    """Want a review, which is answered and never stored."""

    def check(found: JsonObject) -> str | None:
        is_one = found.get("kind") == resource.kind and isinstance(found.get("status"), dict)
        return None if is_one else resource.kind

    return check
