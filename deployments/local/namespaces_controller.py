"""Namespaces: what every new one holds, and what goes with them when they go."""

from deployments.local.defaults import ROOT_CERTIFICATE_MAP
from deployments.local.deletion import BACKGROUND, DeleteOptions
from deployments.local.objects import is_deleting, name_of, namespace_of, uid_of
from deployments.local.registry import Registry, Target
from deployments.local.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    STORED,
    JsonObject,
    Resource,
)
from deployments.local.store import Change, Key
from deployments.local.work_queue import WorkQueue


class NamespacesController:
    """Fills new namespaces and empties deleted ones."""

    def __init__(self, registry: Registry, authority: bytes) -> None:
        self._registry = registry
        self._store = registry.store
        self._authority = authority
        self._queue = WorkQueue[str](self._empty)
        registry.store.listen(self._on_change)

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource == NAMESPACES and change.type == "ADDED":
            self._fill(name_of(change.obj))
        elif resource == NAMESPACES and is_deleting(change.obj):
            self._queue.add(name_of(change.obj))
        elif change.type == "DELETED" and resource.namespaced:
            self._queue.add(namespace_of(change.obj))

    def _fill(self, namespace: str) -> None:
        account = {"metadata": {"name": "default"}}
        self._registry.create(Target(SERVICE_ACCOUNTS, namespace), account)
        certificate = {
            "metadata": {"name": ROOT_CERTIFICATE_MAP},
            "data": {"ca.crt": self._authority.decode()},
        }
        self._registry.create(Target(CONFIG_MAPS, namespace), certificate)

    def _empty(self, name: str) -> None:
        namespace = self._store.get(NAMESPACES, "", name)
        if namespace is None or not is_deleting(namespace):
            return
        remaining = 0
        for resource in STORED:
            if not resource.namespaced:
                continue
            for obj in self._store.list(resource, name):
                self._delete(resource, (name, name_of(obj)), obj)
            remaining += len(self._store.list(resource, name))
        if remaining == 0:
            self._registry.finish(NAMESPACES, namespace, _drop_finalizers)

    def _delete(self, resource: Resource, key: Key, obj: JsonObject) -> None:
        if is_deleting(obj) or self._store.get(resource, *key) is None:
            return
        options = DeleteOptions(policy=BACKGROUND, uid=uid_of(obj))
        self._registry.delete(Target(resource, *key), options)


def _drop_finalizers(namespace: JsonObject) -> None:
    namespace["spec"]["finalizers"] = []
