"""Objects, their resourceVersions and the history that watches and consistent lists read.

Stored objects are shared, never changed in place; every write replaces one and wakes the watches.
"""

import asyncio
import bisect
import copy
from collections.abc import Callable
from dataclasses import dataclass

from deployments.local.api_errors import ApiError, expired
from deployments.local.objects import name_of, namespace_of
from deployments.local.resources import STORED, JsonObject, Resource

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name; also the order of lists."""

_HISTORY_LIMIT = 5_000
_FIRST_VERSION = 1000


@dataclass(frozen=True)
class Change:
    """One write.

    Attributes:
        version: The resourceVersion that it got.
        type: ADDED, MODIFIED or DELETED.
        obj: The object after the write; a deleted one as it was, with the deletion's version.
        previous: The object before the write; None for a created one.
    """

    version: int
    type: str
    obj: JsonObject
    previous: JsonObject | None

    @property
    def key(self) -> Key:
        """Where the object lives."""
        return namespace_of(self.obj), name_of(self.obj)


Listener = Callable[[Resource, Change], None]


class Store:
    """All objects of the cluster. Not for more than one thread."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Key, JsonObject]] = {r: {} for r in STORED}
        self._history: dict[Resource, list[Change]] = {r: [] for r in STORED}
        self._version = _FIRST_VERSION
        self._compacted = _FIRST_VERSION
        self._waiting: list[asyncio.Future[None]] = []
        self._listeners: list[Listener] = []

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    @property
    def compacted(self) -> int:
        """The oldest resourceVersion that history still covers."""
        return self._compacted

    def listen(self, listener: Listener) -> None:
        """Call `listener` at every write, before the writer gets its answer."""
        self._listeners.append(listener)

    def get(self, resource: Resource, namespace: str, name: str) -> JsonObject | None:
        """Return one object."""
        return self._objects[resource].get((namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> "list[JsonObject]":
        """Return the objects of a namespace (empty: of all), in the order of their keys."""
        found = self._objects[resource]
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def list_at(self, resource: Resource, namespace: str, version: int) -> "list[JsonObject]":
        """Return what `list` would have returned at an earlier resourceVersion.

        Raises:
            ApiError: 410, history does not reach back that far.
        """
        if version < self._compacted:
            raise expired("The resourceVersion for the provided list is too old.")
        found = dict(self._objects[resource])
        for change in reversed(self._history[resource]):
            if change.version <= version:
                break
            if change.previous is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.previous
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def create(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Keep a new object and return it with its resourceVersion; its key must be free."""
        return self._write(resource, "ADDED", obj, None)

    def update(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Replace an object; equal content keeps its resourceVersion and wakes nobody."""
        previous = self._objects[resource][namespace_of(obj), name_of(obj)]
        obj["metadata"]["resourceVersion"] = previous["metadata"]["resourceVersion"]
        if obj == previous:
            return previous
        return self._write(resource, "MODIFIED", obj, previous)

    def remove(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Delete an object and return its last state under the deletion's resourceVersion."""
        last = {**obj, "metadata": dict(obj["metadata"])}
        return self._write(resource, "DELETED", last, obj)

    def change(
        self, resource: Resource, obj: JsonObject, edit: Callable[[JsonObject], None]
    ) -> JsonObject | None:
        """Edit a copy of the newest state of `obj`; None when it has gone or is another one."""
        current = self.get(resource, namespace_of(obj), name_of(obj))
        if current is None or current["metadata"]["uid"] != obj["metadata"]["uid"]:
            return None
        edited = copy.deepcopy(current)
        edit(edited)
        return self.update(resource, edited)

    def changes_since(self, resource: Resource, version: int) -> "list[Change]":
        """Return the writes after a resourceVersion, oldest first.

        Raises:
            ApiError: 410, history does not reach back that far.
        """
        if version < self._compacted:
            raise self.too_old(version)
        history = self._history[resource]
        return history[bisect.bisect_right(history, version, key=lambda change: change.version) :]

    def too_old(self, version: int) -> ApiError:
        """Make the error of a watch from before the history."""
        return expired(f"too old resource version: {version} ({self._compacted})")

    async def wait(self) -> None:
        """Return after the next write."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def compact(self) -> None:
        """Forget the history, so that every older resourceVersion is expired."""
        # Even a client that has seen the newest write must be behind: a restarted server's
        # watch cache starts at the version that it reads first.
        self._version += 1
        self._compacted = self._version
        for history in self._history.values():
            history.clear()

    def _write(
        self, resource: Resource, kind: str, obj: JsonObject, previous: JsonObject | None
    ) -> JsonObject:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        change = Change(self._version, kind, obj, previous)
        if kind == "DELETED":
            del self._objects[resource][change.key]
        else:
            self._objects[resource][change.key] = obj
        history = self._history[resource]
        history.append(change)
        if len(history) > _HISTORY_LIMIT:
            del history[: _HISTORY_LIMIT // 2]
            self._compacted = max(self._compacted, history[0].version)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        for listener in self._listeners:
            listener(resource, change)
        return obj
