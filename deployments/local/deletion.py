"""What a DELETE asks for, whether it may, and what it writes before the object goes. Pure."""

import copy
from dataclasses import dataclass
from typing import Any

from deployments.local import api_errors
from deployments.local.objects import (
    after,
    format_time,
    is_deleting,
    listed,
    mapped,
    now,
    parse_time,
    uid_of,
)
from deployments.local.resources import JOBS, NAMESPACES, PODS, JsonObject, Resource

FOREGROUND, BACKGROUND, ORPHAN = "Foreground", "Background", "Orphan"
FINALIZERS = {FOREGROUND: "foregroundDeletion", ORPHAN: "orphan"}
_POLICIES = (FOREGROUND, BACKGROUND, ORPHAN)
_OPTIONS_DETAILS: JsonObject = {"group": "meta.k8s.io", "kind": "DeleteOptions"}


@dataclass(frozen=True)
class DeleteOptions:
    """The body of a DELETE.

    Attributes:
        policy: Propagation policy; empty for the kind's default.
        grace_seconds: Overrides the pod's own grace.
        uid: Precondition.
        resource_version: Precondition.
        dry_run: Checks only.
    """

    policy: str = ""
    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def parse_delete_options(
    body: JsonObject, query: dict[str, str], *, dry_run: bool
) -> DeleteOptions:
    """Read the options of a DELETE; the body wins over the query.

    Raises:
        ApiError: 422, an unknown policy.
    """
    policy = str(body.get("propagationPolicy") or query.get("propagationPolicy") or "")
    if policy and policy not in _POLICIES:
        supported = ", ".join(f'"{name}"' for name in (*_POLICIES, "nil"))
        message = f'Unsupported value: "{policy}": supported values: {supported}'
        raise api_errors.invalid_kind(
            "DeleteOptions.meta.k8s.io",
            _OPTIONS_DETAILS,
            "",
            [("FieldValueNotSupported", message, "propagationPolicy")],
        )
    orphan: Any = body.get("orphanDependents", query.get("orphanDependents"))
    if orphan is not None:
        policy = ORPHAN if str(orphan).lower() == "true" else BACKGROUND
    grace: Any = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    preconditions = mapped(body, "preconditions")
    return DeleteOptions(
        policy=policy,
        grace_seconds=None if grace is None else int(grace),
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=dry_run or bool(body.get("dryRun")),
    )


def check_preconditions(resource: Resource, obj: JsonObject, options: DeleteOptions) -> None:
    """Compare UID and resourceVersion.

    Raises:
        ApiError: 409.
    """
    name = obj["metadata"]["name"]
    if options.uid and options.uid != uid_of(obj):
        raise api_errors.conflict(
            resource,
            name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({uid_of(obj)}). The object might have been deleted and then recreated",
            by_kind=True,
        )
    version = obj["metadata"]["resourceVersion"]
    if options.resource_version and options.resource_version != version:
        raise api_errors.conflict(
            resource,
            name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
            f"the ResourceVersion in record ({version}). The object might have been modified",
            by_kind=True,
        )


def prepare_deletion(
    resource: Resource, obj: JsonObject, options: DeleteOptions
) -> JsonObject | None:
    """Return the object marked as being deleted, or None when it can go at once.

    Pods pass through the marked state even when they go at once, as on a real server: the
    watch shows it.
    """
    finalizers = _finalizers(resource, obj, options)
    if resource == PODS:
        return _mark(obj, finalizers, _pod_grace(obj, options))
    if not finalizers and resource != NAMESPACES:
        return None
    marked = _mark(obj, finalizers, 0)
    if resource == NAMESPACES:
        marked["metadata"].pop("deletionGracePeriodSeconds", None)
        marked["status"] = {**mapped(obj, "status"), "phase": "Terminating"}
    return marked


def _finalizers(resource: Resource, obj: JsonObject, options: DeleteOptions) -> list[str]:
    finalizers = listed(obj["metadata"], "finalizers")
    policy = options.policy
    if not policy:
        if any(name in finalizers for name in FINALIZERS.values()):
            return finalizers
        # batch/v1 keeps the default that its first clients relied on.
        policy = ORPHAN if resource == JOBS else BACKGROUND
    kept = [name for name in finalizers if name not in FINALIZERS.values()]
    return [*kept, FINALIZERS[policy]] if policy in FINALIZERS else kept


def _pod_grace(pod: JsonObject, options: DeleteOptions) -> int:
    ended = mapped(pod, "status").get("phase") in ("Succeeded", "Failed")
    if not pod["spec"].get("nodeName") or ended:
        return 0
    if options.grace_seconds is not None:
        return options.grace_seconds
    return pod["spec"].get("terminationGracePeriodSeconds", 30)


def _mark(obj: JsonObject, finalizers: list[str], grace_seconds: int) -> JsonObject:
    marked = copy.deepcopy(obj)
    metadata = marked["metadata"]
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if is_deleting(obj):
        earlier = metadata.get("deletionGracePeriodSeconds", 0)
        if grace_seconds >= earlier:
            return marked
        begun = after(parse_time(metadata["deletionTimestamp"]), -earlier)
    else:
        begun = now()
        if "generation" in metadata:
            metadata["generation"] += 1
    metadata["deletionTimestamp"] = format_time(after(begun, grace_seconds))
    metadata["deletionGracePeriodSeconds"] = grace_seconds
    return marked
