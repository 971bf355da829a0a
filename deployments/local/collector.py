"""The garbage collector: what belongs to nobody any more goes; finalizers of deletions are kept."""

from deployments.local.api_errors import ApiError
from deployments.local.deletion import BACKGROUND, FINALIZERS, FOREGROUND, ORPHAN, DeleteOptions
from deployments.local.objects import (
    is_deleting,
    is_owned_by,
    listed,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)
from deployments.local.registry import Registry, Target
from deployments.local.resources import STORED, JsonObject, Resource, find_kind
from deployments.local.store import Change
from deployments.local.work_queue import WorkQueue

_Item = tuple[Resource, str, str]


class Collector:
    """Follows ownerReferences."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._queue = WorkQueue[_Item](self._look_at)
        registry.store.listen(self._on_change)

    def _on_change(self, resource: Resource, change: Change) -> None:
        obj = change.obj
        if change.type == "DELETED":
            self._queue_dependents(uid_of(obj))
            self._queue_owners(obj)
            return
        if owners_of(obj) or is_deleting(obj):
            self._queue.add((resource, *change.key))
        if is_deleting(obj):
            self._queue_dependents(uid_of(obj))

    def _queue_dependents(self, uid: str) -> None:
        for resource, obj in self._dependents(uid):
            self._queue.add((resource, namespace_of(obj), name_of(obj)))

    def _queue_owners(self, obj: JsonObject) -> None:
        for owner in owners_of(obj):
            resource = find_kind(owner["apiVersion"], owner["kind"])
            if resource:
                space = namespace_of(obj) if resource.namespaced else ""
                self._queue.add((resource, space, owner["name"]))

    def _dependents(self, uid: str) -> list[tuple[Resource, JsonObject]]:
        return [
            (resource, obj)
            for resource in STORED
            for obj in self._store.list(resource)
            if is_owned_by(obj, uid)
        ]

    def _look_at(self, item: _Item) -> None:
        resource, namespace, name = item
        obj = self._store.get(resource, namespace, name)
        if obj is None:
            return
        try:
            if is_deleting(obj):
                self._go_on_deleting(resource, obj)
            else:
                self._collect(resource, obj)
        except ApiError:
            # Somebody else was faster; the change that they made brings the object here again.
            return

    def _go_on_deleting(self, resource: Resource, obj: JsonObject) -> None:
        finalizers = listed(obj["metadata"], "finalizers")
        dependents = self._dependents(uid_of(obj))
        if FINALIZERS[ORPHAN] in finalizers:
            for kind, dependent in dependents:
                self._disown(kind, dependent, {uid_of(obj)})
            self._release(resource, obj, FINALIZERS[ORPHAN])
        elif FINALIZERS[FOREGROUND] in finalizers:
            for kind, dependent in dependents:
                self._collect(kind, dependent)
            if not any(_blocks(dependent, uid_of(obj)) for _, dependent in dependents):
                self._release(resource, obj, FINALIZERS[FOREGROUND])

    def _release(self, resource: Resource, obj: JsonObject, finalizer: str) -> None:
        def edit(fresh: JsonObject) -> None:
            left = [f for f in listed(fresh["metadata"], "finalizers") if f != finalizer]
            fresh["metadata"].pop("finalizers", None)
            if left:
                fresh["metadata"]["finalizers"] = left

        self._registry.finish(resource, obj, edit)

    def _collect(self, resource: Resource, obj: JsonObject) -> None:
        """Delete an object all of whose owners have gone or are waiting for it."""
        owners = owners_of(obj)
        if not owners or is_deleting(obj):
            return
        states = [self._owner_state(obj, owner) for owner in owners]
        if "solid" in states:
            gone = {o["uid"] for o, state in zip(owners, states, strict=True) if state != "solid"}
            if gone:
                self._disown(resource, obj, gone)
            return
        target = Target(resource, namespace_of(obj), name_of(obj))
        has_dependents = bool(self._dependents(uid_of(obj)))
        waits = "waiting" in states and has_dependents
        self._registry.delete(
            target, DeleteOptions(policy=FOREGROUND if waits else BACKGROUND, uid=uid_of(obj))
        )

    def _owner_state(self, obj: JsonObject, owner: JsonObject) -> str:
        resource = find_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return "solid"  # a kind that this server does not know is never judged
        space = namespace_of(obj) if resource.namespaced else ""
        found = self._store.get(resource, space, owner["name"])
        if found is None or uid_of(found) != owner["uid"]:
            return "absent"
        finalizers = listed(found["metadata"], "finalizers")
        if is_deleting(found) and FINALIZERS[FOREGROUND] in finalizers:
            return "waiting"
        return "solid"

    def _disown(self, resource: Resource, obj: JsonObject, uids: set[str]) -> None:
        def edit(fresh: JsonObject) -> None:
            left = [o for o in owners_of(fresh) if o["uid"] not in uids]
            fresh["metadata"].pop("ownerReferences", None)
            if left:
                fresh["metadata"]["ownerReferences"] = left

        self._store.change(resource, obj, edit)


def _blocks(obj: JsonObject, uid: str) -> bool:
    return any(o["uid"] == uid and o.get("blockOwnerDeletion") for o in owners_of(obj))
