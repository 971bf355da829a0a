"""Keeps the status of ResourceQuotas: what they allow and what is used of it."""

from functools import partial

from deployments.local.admission.quota import quota_status, usage_of
from deployments.local.objects import namespace_of
from deployments.local.registry import Registry
from deployments.local.resources import EVENTS, LEASES, RESOURCE_QUOTAS, JsonObject, Resource
from deployments.local.store import Change
from deployments.local.work_queue import WorkQueue

# Written often, and hardly ever under a quota: counted with the next other change.
_UNWATCHED = (EVENTS, LEASES)


class QuotaController:
    """Counts again after each change in a namespace that has a quota."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store
        self._queue = WorkQueue[str](self._count)
        registry.store.listen(self._on_change)

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource.namespaced and resource not in _UNWATCHED:
            self._queue.add(namespace_of(change.obj))

    def _count(self, namespace: str) -> None:
        quotas = self._store.list(RESOURCE_QUOTAS, namespace)
        if not quotas:
            return
        used = usage_of(self._store, namespace)
        for quota in quotas:
            edit = partial(_set_status, quota_status(quota, used))
            self._store.change(RESOURCE_QUOTAS, quota, edit)


def _set_status(status: JsonObject, quota: JsonObject) -> None:
    quota["status"] = status
