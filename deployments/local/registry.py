"""Create, update, patch and delete, with everything that the API promises about them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployments.local import api_errors, defaults, validation
from deployments.local.admission.admission import Admission
from deployments.local.api_errors import ApiError
from deployments.local.call_notes import CallNotes
from deployments.local.deletion import DeleteOptions, check_preconditions, prepare_deletion
from deployments.local.objects import (
    generated_name,
    is_deleting,
    listed,
    mapped,
    name_of,
    namespace_of,
    new_uid,
    uid_of,
)
from deployments.local.patching import (
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_patch,
)
from deployments.local.resources import (
    LEASES,
    NAMESPACES,
    JsonObject,
    Resource,
)
from deployments.local.schema import Schema, decode
from deployments.local.store import Store

_KEPT_METADATA = (
    "uid",
    "creationTimestamp",
    "namespace",
    "name",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


@dataclass(frozen=True)
class Target:
    """What a request is about.

    Attributes:
        resource: The kind.
        namespace: Empty for cluster-scoped kinds.
        name: Empty for collections.
        subresource: `status`, or empty.
    """

    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""


class Registry:
    """The only way by which clients and controllers create and delete objects."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._admission = Admission(store)

    def read(self, target: Target) -> JsonObject:
        """Return one object.

        Raises:
            ApiError: 404.
        """
        obj = self.store.get(target.resource, target.namespace, target.name)
        if obj is None:
            raise api_errors.not_found(target.resource, target.name)
        return obj

    def create(self, target: Target, body: Any) -> JsonObject:
        """Create an object for a controller of the cluster, which no webhook reviews.

        Raises:
            ApiError: The API's refusal.
        """
        notes = CallNotes()
        return self.keep(target, self.prepare(target, body, notes), notes)

    def prepare(self, target: Target, body: Any, notes: CallNotes) -> JsonObject:
        """Return a new object as it would be stored if no webhook minded, not yet checked.

        Raises:
            ApiError: The API's refusal.
        """
        resource = target.resource
        obj = self._admit_body(target, body, notes)
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = generated_name(metadata["generateName"])
        self._check_namespace(target, metadata.get("name", ""))
        defaults.stamp(resource, obj, target.namespace, new_uid())
        if resource.has_status:
            obj.pop("status", None)
        defaults.apply_defaults(resource, obj)
        self._admission.complete(resource, obj)
        return obj

    def keep(self, target: Target, obj: JsonObject, notes: CallNotes) -> JsonObject:
        """Check a prepared object and store it, unless it is a dry run.

        Raises:
            ApiError: The API's refusal.
        """
        resource = target.resource
        name = obj["metadata"].get("name", "")
        defaults.apply_defaults(resource, obj)
        causes = validation.find_faults(resource, obj)
        if causes:
            raise api_errors.invalid(resource, name, causes)
        self._admission.check(resource, obj, notes)
        if self.store.get(resource, target.namespace, name) is not None:
            raise api_errors.already_exists(resource, name)
        return obj if notes.dry_run else self.store.create(resource, obj)

    def replace(self, target: Target, body: Any, notes: CallNotes) -> JsonObject:
        """Carry out a PUT.

        Raises:
            ApiError: The API's refusal.
        """
        new = self._admit_body(target, body, notes)
        name = new["metadata"].setdefault("name", target.name)
        if name != target.name:
            raise api_errors.bad_request(
                f"the name of the object ({name}) does not match the name on the URL "
                f"({target.name})"
            )
        current = self.read(target)
        uid = new["metadata"].get("uid", uid_of(current))
        if uid != uid_of(current):
            raise api_errors.conflict(
                target.resource,
                target.name,
                "StorageError: invalid object, Code: 4, Key: "
                f"/registry/{target.resource.plural}/{target.namespace}/{target.name}, "
                "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: "
                f"UID in precondition: {uid}, UID in object meta: {uid_of(current)}",
            )
        if target.resource == LEASES and not new["metadata"].get("resourceVersion"):
            rule = "must be specified for an update"
            cause = ("FieldValueInvalid", f"Invalid value: 0x0: {rule}", "metadata.resourceVersion")
            details = {"name": target.name, "group": LEASES.group, "kind": LEASES.plural}
            raise api_errors.invalid_kind(LEASES.qualified, details, target.name, [cause])
        return self._update(target, current, new, dry_run=notes.dry_run)

    def patch(self, target: Target, content_type: str, patch: Any, notes: CallNotes) -> JsonObject:
        """Carry out a PATCH of one of the three forms.

        Raises:
            ApiError: The API's refusal; 422 for a JSON patch that does not apply.
        """
        current = self.read(target)
        match content_type:
            case "application/json-patch+json":
                patched = apply_json_patch(current, patch)
            case "application/merge-patch+json":
                patched = apply_merge_patch(current, _object(patch))
            case "application/strategic-merge-patch+json":
                schema = Schema.of(target.resource)
                patched = apply_strategic_patch(current, _object(patch), schema)
            case _:
                raise ApiError(
                    415, "UnsupportedMediaType", "415: Unsupported Media Type", details={}
                )
        new = self._admit_body(target, patched, notes)
        causes = [
            ("FieldValueInvalid", f'Invalid value: "{value}": field is immutable', path)
            for path, value, kept in (
                ("metadata.uid", new["metadata"].get("uid"), uid_of(current)),
                ("metadata.name", new["metadata"].get("name"), name_of(current)),
            )
            if value != kept
        ]
        if causes:
            raise api_errors.invalid(target.resource, target.name, causes)
        return self._update(target, current, new, dry_run=notes.dry_run)

    def delete(
        self, target: Target, options: DeleteOptions | None = None
    ) -> tuple[JsonObject, bool]:
        """Delete an object or begin to.

        Returns:
            The object as it is now or was last, and whether it has gone.

        Raises:
            ApiError: 404, or 409 for a precondition.
        """
        options = options or DeleteOptions()
        current = self.read(target)
        check_preconditions(target.resource, current, options)
        deleting = prepare_deletion(target.resource, current, options)
        if options.dry_run:
            return current, deleting is None
        if deleting is not None:
            current = self.store.update(target.resource, deleting)
        return self._remove_when_due(target.resource, current, plain=deleting is None)

    def finish(
        self, resource: Resource, obj: JsonObject, edit: Callable[[JsonObject], None]
    ) -> None:
        """Edit an object, and remove it if it is being deleted and nothing holds it any more.

        As on a real server, the last event of one that goes still shows what held it.
        """
        current = self.store.get(resource, namespace_of(obj), name_of(obj))
        if current is None or uid_of(current) != uid_of(obj):
            return
        edited = copy.deepcopy(current)
        edit(edited)
        if is_deleting(edited) and not self._is_held(resource, edited, plain=False):
            self.store.remove(resource, current)
        else:
            self.store.update(resource, edited)

    def _remove_when_due(
        self, resource: Resource, obj: JsonObject, *, plain: bool
    ) -> tuple[JsonObject, bool]:
        if self._is_held(resource, obj, plain=plain):
            return obj, False
        return self.store.remove(resource, obj), True

    def _is_held(self, resource: Resource, obj: JsonObject, *, plain: bool) -> bool:
        held = bool(listed(obj["metadata"], "finalizers"))
        if resource == NAMESPACES:
            held = held or bool(listed(mapped(obj, "spec"), "finalizers"))
        grace = obj["metadata"].get("deletionGracePeriodSeconds", 0)
        return held or (grace > 0 and not plain)

    def _update(
        self, target: Target, current: JsonObject, new: JsonObject, *, dry_run: bool
    ) -> JsonObject:
        resource = target.resource
        version = new["metadata"].get("resourceVersion")
        if version and version != current["metadata"]["resourceVersion"]:
            raise api_errors.modified(resource, target.name)
        for field in _KEPT_METADATA:
            new["metadata"].pop(field, None)
            if field in current["metadata"]:
                new["metadata"][field] = current["metadata"][field]
        if target.subresource == "status":
            new = {**copy.deepcopy(current), "metadata": new["metadata"], **_status(new)}
        elif resource.has_status:
            new = {**{k: v for k, v in new.items() if k != "status"}, **_status(current)}
        defaults.apply_defaults(resource, new)
        if "generation" in current["metadata"] and new.get("spec") != current.get("spec"):
            new["metadata"]["generation"] = current["metadata"]["generation"] + 1
        causes = validation.find_changes(resource, current, new)
        causes = causes or validation.find_faults(resource, new)
        if causes:
            raise api_errors.invalid(resource, target.name, causes)
        if dry_run:
            new["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
            return new
        updated = self.store.update(resource, new)
        if is_deleting(updated) and listed(current["metadata"], "finalizers"):
            return self._remove_when_due(resource, updated, plain=False)[0]
        return updated

    def _admit_body(self, target: Target, body: Any, notes: CallNotes) -> JsonObject:
        resource = target.resource
        obj = _object(body)
        kind = obj.get("kind", resource.kind)
        version = obj.get("apiVersion", resource.api_version)
        if (version, kind) != (resource.api_version, resource.kind):
            raise api_errors.bad_request(
                f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
                f"converting ({version.rpartition('/')[2]}.{kind}) to (core.{resource.kind}): "
                "unknown conversion"
            )
        # The body may be part of a stored object, which is never changed in place.
        unknown: list[str] = []
        obj = copy.deepcopy(decode(resource, obj, unknown))
        notes.meet_unknown(resource.version, resource.kind, unknown)
        metadata = obj.setdefault("metadata", {})
        for field in ("managedFields", "selfLink"):
            metadata.pop(field, None)
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            if not metadata.get(field, True):
                del metadata[field]
        if metadata.get("namespace", target.namespace) != target.namespace:
            raise api_errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        return {"kind": resource.kind, "apiVersion": resource.api_version, **obj}

    def _check_namespace(self, target: Target, name: str) -> None:
        if not target.namespace:
            return
        namespace = self.store.get(NAMESPACES, "", target.namespace)
        if namespace is None:
            raise api_errors.not_found(NAMESPACES, target.namespace)
        if is_deleting(namespace):
            error = api_errors.forbidden(
                target.resource,
                name,
                f"unable to create new content in namespace {target.namespace} "
                "because it is being terminated",
            )
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error


def _object(body: Any) -> JsonObject:
    if not isinstance(body, dict):
        raise api_errors.bad_request("the request body is not a JSON object")
    return body  # pyright: ignore[reportUnknownVariableType] # JSON


def _status(obj: JsonObject) -> JsonObject:
    return {"status": obj["status"]} if "status" in obj else {}
