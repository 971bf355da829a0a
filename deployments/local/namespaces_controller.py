"""Namespaces: their default ServiceAccount, tokens, and what goes with them when they go."""

import base64

from deployments.local.api_errors import ApiError
from deployments.local.deletion import BACKGROUND, DeleteOptions
from deployments.local.objects import (
    is_deleting,
    listed,
    name_of,
    namespace_of,
    random_suffix,
    uid_of,
)
from deployments.local.registry import Registry, Target
from deployments.local.resources import (
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    STORED,
    JsonObject,
    Resource,
)
from deployments.local.store import Change, Key
from deployments.local.tokens import Tokens
from deployments.local.work_queue import WorkQueue

_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_ACCOUNT_UID = "kubernetes.io/service-account.uid"
_TOKEN_TYPE = "kubernetes.io/service-account-token"


class NamespacesController:
    """Fills new namespaces and empties deleted ones."""

    def __init__(self, registry: Registry, tokens: Tokens, authority: bytes) -> None:
        self._registry = registry
        self._store = registry.store
        self._tokens = tokens
        self._authority = authority
        self._queue = WorkQueue[str](self._empty)
        registry.store.listen(self._on_change)

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource == NAMESPACES and change.type == "ADDED":
            self._add_default_account(name_of(change.obj))
        elif resource == NAMESPACES and is_deleting(change.obj):
            self._queue.add(name_of(change.obj))
        elif resource == SERVICE_ACCOUNTS and change.type != "DELETED":
            self._add_token(change.obj)
        elif resource == SERVICE_ACCOUNTS:
            self._remove_tokens(change.obj)
        elif change.type == "DELETED" and resource.namespaced:
            self._queue.add(namespace_of(change.obj))

    def _add_default_account(self, namespace: str) -> None:
        target = Target(SERVICE_ACCOUNTS, namespace)
        self._registry.create(target, {"metadata": {"name": "default"}})

    def _add_token(self, account: JsonObject) -> None:
        if listed(account, "secrets") or is_deleting(account):
            return
        name = f"{name_of(account)}-token-{random_suffix()}"
        token, _ = self._tokens.issue(account)
        values = {
            "ca.crt": self._authority,
            "namespace": namespace_of(account).encode(),
            "token": token.encode(),
        }
        annotations = {_ACCOUNT_NAME: name_of(account), _ACCOUNT_UID: uid_of(account)}
        body: JsonObject = {
            "metadata": {"name": name, "annotations": annotations},
            "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
            "type": _TOKEN_TYPE,
        }
        try:
            self._registry.create(Target(SECRETS, namespace_of(account)), body)
        except ApiError:
            return  # the namespace is going away

        def edit(fresh: JsonObject) -> None:
            fresh["secrets"] = [{"name": name}]

        self._store.change(SERVICE_ACCOUNTS, account, edit)

    def _remove_tokens(self, account: JsonObject) -> None:
        for reference in listed(account, "secrets"):
            target = Target(SECRETS, namespace_of(account), reference["name"])
            if self._store.get(SECRETS, target.namespace, target.name) is not None:
                self._registry.delete(target)

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
