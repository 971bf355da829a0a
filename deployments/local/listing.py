"""Lists, paged and selected, and the watches that go on from them."""

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from deployments.local.answer_forms import AnswerForm
from deployments.local.api_errors import ApiError, bad_request, expired, invalid_kind
from deployments.local.objects import name_of, namespace_of
from deployments.local.resources import JsonObject
from deployments.local.routing import Request
from deployments.local.selectors import Predicate, build_predicate
from deployments.local.store import Change, Store

_BOOKMARK_SECONDS = 60
_SHORTEST_WATCH_SECONDS = 1800
_TOO_LARGE_WAIT_SECONDS = 3
_STALE_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


def request_predicate(request: Request) -> Predicate:
    """Return the test that the request's selectors and name make.

    Raises:
        ApiError: 400, a selector cannot be read.
    """
    query = request.query
    predicate = build_predicate(
        query.get("labelSelector", ""), query.get("fieldSelector", ""), request.resource.kind
    )
    wanted = request.target.name
    if not wanted:
        return predicate
    return lambda obj: name_of(obj) == wanted and predicate(obj)


def _parse_version(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ApiError(
            500,
            "",
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            "invalid syntax",
        ) from None


async def list_objects(
    store: Store, request: Request, form: AnswerForm, *, behind: int = 0
) -> JsonObject:
    """Answer a list.

    Args:
        store: The objects.
        request: Verb list.
        form: How the client wants it.
        behind: How many writes old the answer is, as from a stale cache; history must cover it.

    Raises:
        ApiError: 400, 410, or 504 for a resourceVersion from the future.
    """
    query = request.query
    predicate = request_predicate(request)
    namespace = request.target.namespace
    limit = int(query.get("limit") or 0)
    version, start = store.version, ("", "")
    if query.get("continue"):
        version, start = _read_token(store, query["continue"])
    elif query.get("resourceVersionMatch") == "Exact":
        version = _parse_version(query.get("resourceVersion", ""))
    else:
        await _check_future(store, _parse_version(query.get("resourceVersion") or "0"))
        version = max(store.version - behind, store.compacted)
    found = [
        obj
        for obj in store.list_at(request.resource, namespace, version)
        if predicate(obj) and (namespace_of(obj), name_of(obj)) >= start
    ]
    metadata: JsonObject = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        metadata["continue"] = _token(version, found[limit - 1])
        if not (query.get("labelSelector") or query.get("fieldSelector")):
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return form.many(request.resource, found, metadata)


async def _check_future(store: Store, version: int) -> None:
    if version <= store.version:
        return
    await asyncio.sleep(_TOO_LARGE_WAIT_SECONDS)
    if version > store.version:
        message = "Too large resource version"
        raise ApiError(
            504,
            "Timeout",
            f"Timeout: {message}: {version}, current: {store.version}",
            details={"causes": [{"reason": "ResourceVersionTooLarge", "message": message}]},
            retry_after_seconds=1,
        )


def _token(version: int, last: JsonObject) -> str:
    start = f"{namespace_of(last)}/{name_of(last)}\0"
    raw = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(raw.encode()).rstrip(b"=").decode()


def _read_token(store: Store, token: str) -> tuple[int, tuple[str, str]]:
    try:
        raw = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start = int(raw["rv"]), str(raw["start"])
    except (ValueError, KeyError, TypeError):
        raise bad_request(
            "invalid continue token: continue key is not valid: invalid character"
        ) from None
    namespace, _, name = start.partition("/")
    if version == -1:
        return store.version, (namespace, name)
    if version < store.compacted:
        raw["rv"] = -1  # a list that goes on from here is not consistent with its first part
        fresh = base64.urlsafe_b64encode(json.dumps(raw).encode()).rstrip(b"=").decode()
        raise expired(_STALE_TOKEN, continue_token=fresh)
    return version, (namespace, name)


@dataclass(frozen=True)
class WatchPlan:
    """What a watch starts with.

    Attributes:
        initial: Objects to report as ADDED first.
        version: Changes after this one follow.
        marks_end: Whether a bookmark says that the initial objects are complete.
    """

    initial: list[JsonObject]
    version: int
    marks_end: bool = False


def plan_watch(store: Store, request: Request) -> WatchPlan:
    """Decide where a watch begins; a watch from 0 or from nowhere reports what there is.

    Raises:
        ApiError: 500 for a resourceVersion that is no number; 422 for `sendInitialEvents` without
            the match that it needs.
    """
    query = request.query
    text = query.get("resourceVersion", "")
    wants_initial = request.flag("sendInitialEvents")
    if wants_initial and query.get("resourceVersionMatch") != "NotOlderThan":
        rule = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        cause = ("FieldValueForbidden", f"Forbidden: {rule}", "resourceVersionMatch")
        kind = "ListOptions.meta.k8s.io"
        raise invalid_kind(kind, {"group": "meta.k8s.io", "kind": "ListOptions"}, "", [cause])
    if text not in ("", "0") and not wants_initial:
        return WatchPlan([], _parse_version(text))
    predicate = request_predicate(request)
    objects = store.list(request.resource, request.target.namespace)
    found = [obj for obj in objects if predicate(obj)]
    marks_end = request.flag("allowWatchBookmarks") and (wants_initial or not text)
    return WatchPlan(found, store.version, marks_end)


def watch_seconds(request: Request) -> float:
    """Return how long a watch may last."""
    return float(request.query.get("timeoutSeconds") or 0) or random.uniform(
        _SHORTEST_WATCH_SECONDS, 2 * _SHORTEST_WATCH_SECONDS
    )


async def watch_events(
    store: Store, request: Request, plan: WatchPlan, form: AnswerForm
) -> AsyncIterator[JsonObject]:
    """Yield the events of a watch, until its time is over or history has been lost.

    An expired resourceVersion is an ERROR event on a stream that began with 200.
    """
    predicate = request_predicate(request)
    shape = _EventShape(request, form)
    for event in shape.initial(plan):
        yield event
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + watch_seconds(request)
    bookmark_at = loop.time() + _BOOKMARK_SECONDS
    version = plan.version
    while True:
        try:
            changes = store.changes_since(request.resource, version)
        except ApiError as error:
            yield {"type": "ERROR", "object": error.body()}
            return
        # Nothing newer can be missed: there is no await between the look and the wait.
        version = max(version, store.version)
        for change in changes:
            kind = _seen_as(change, request.target.namespace, predicate)
            if kind:
                yield shape.event(kind, change.obj)
        if loop.time() >= bookmark_at:
            bookmark_at += _BOOKMARK_SECONDS
            if request.flag("allowWatchBookmarks"):
                yield shape.bookmark(version)
        if loop.time() >= ends_at:
            return
        if version >= store.version:
            await _wait_until(store, min(ends_at, bookmark_at))


async def _wait_until(store: Store, deadline: float) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await store.wait()
    except TimeoutError:
        pass  # the caller looks at the time


def _seen_as(change: Change, namespace: str, predicate: Predicate) -> str:
    if namespace and namespace_of(change.obj) != namespace:
        return ""
    before = change.previous is not None and predicate(change.previous)
    if change.type == "DELETED":
        return "DELETED" if before else ""
    after = predicate(change.obj)
    if after:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else ""


class _EventShape:
    def __init__(self, request: Request, form: AnswerForm) -> None:
        self._request = request
        self._form = form
        self._is_first = True

    def initial(self, plan: WatchPlan) -> Iterator[JsonObject]:
        for obj in plan.initial:
            yield self.event("ADDED", obj)
        if plan.marks_end:
            yield self.bookmark(plan.version, {"k8s.io/initial-events-end": "true"})

    def event(self, kind: str, obj: JsonObject) -> JsonObject:
        shown = self._form.watched(self._request.resource, obj, is_first=self._is_first)
        self._is_first = False
        return {"type": kind, "object": shown}

    def bookmark(self, version: int, annotations: dict[str, str] | None = None) -> JsonObject:
        resource = self._request.resource
        metadata: JsonObject = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        head = {"kind": resource.kind, "apiVersion": resource.api_version}
        return {"type": "BOOKMARK", "object": {**head, "metadata": metadata}}
