"""Watches on the Jobs and pods of a namespace, for the observer of one Job or for many."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager
from typing import Self

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import JOBS, PODS, ApiResource, JsonObject
from tasks.cluster.watching.watch import (
    Changed,
    Deleted,
    Listed,
    Selection,
    StillWatching,
    WatchEvent,
    WatchLost,
    watch_objects,
)
from tasks.observation.api_fields import object_at, objects_at, text_at
from tasks.vocabulary.names import job_pods_selector

OnEvent = Callable[[ApiResource, WatchEvent], None]


class JobFeed:
    """Two shared watches; each subscriber gets the changes of its Job.

    A run on its own makes one for its Job; a fleet makes one per namespace and shares it.

    Attributes:
        holds: Whether both watches are open, as far as one can know.
    """

    def __init__(
        self,
        client: ClusterClient,
        jobs: Selection,
        pods: Selection,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._selections = (jobs, pods)
        self._sleep = sleep
        self._open: set[ApiResource] = set()
        self._subscribers: dict[object, tuple[str, OnEvent]] = {}

    @classmethod
    def of_job(cls, client: ClusterClient, namespace: str, job_name: str) -> Self:
        """Watch one Job and its pods."""
        return cls(
            client,
            Selection(JOBS, namespace, field_selector=f"metadata.name={job_name}"),
            Selection(PODS, namespace, label_selector=job_pods_selector(job_name)),
        )

    @classmethod
    def of_namespace(cls, client: ClusterClient, namespace: str, label_selector: str) -> Self:
        """Watch all Jobs and pods with these labels, which both must carry."""
        return cls(
            client,
            Selection(JOBS, namespace, label_selector=label_selector),
            Selection(PODS, namespace, label_selector=label_selector),
        )

    @property
    def holds(self) -> bool:
        """Whether both watches are open."""
        return len(self._open) == len(self._selections)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for selection in self._selections:
                group.create_task(self._watch(selection))

    @contextmanager
    def subscribe(self, job_uid: str, on_event: OnEvent) -> Generator[None, None, None]:
        """Have `on_event` called with what concerns this Job, from now on.

        What happened before is not repeated: read once after subscribing.
        """
        key = object()
        self._subscribers[key] = (job_uid, on_event)
        try:
            yield
        finally:
            del self._subscribers[key]

    async def _watch(self, selection: Selection) -> None:
        try:
            async with aclosing(
                watch_objects(self._client, selection, sleep=self._sleep)
            ) as events:
                async for event in events:
                    self._deliver(selection.resource, event)
        finally:
            self._open.discard(selection.resource)

    def _deliver(self, resource: ApiResource, event: WatchEvent) -> None:
        if isinstance(event, WatchLost):
            self._open.discard(resource)
        else:
            self._open.add(resource)
        for job_uid, on_event in list(self._subscribers.values()):
            if isinstance(event, Listed):
                ours = tuple(o for o in event.objects if job_uid_of(resource, o) == job_uid)
                on_event(resource, Listed(ours, event.resource_version))
            elif isinstance(event, (StillWatching, WatchLost)) or _concerns(
                event, resource, job_uid
            ):
                on_event(resource, event)


def _concerns(event: Changed | Deleted, resource: ApiResource, job_uid: str) -> bool:
    return job_uid_of(resource, event.object) == job_uid


def job_uid_of(resource: ApiResource, found: JsonObject) -> str | None:
    """Return the UID of the Job that an object is or is controlled by."""
    metadata = object_at(found, "metadata")
    if resource is JOBS:
        return text_at(metadata, "uid")
    owners = objects_at(metadata, "ownerReferences")
    return next((text_at(o, "uid") for o in owners if o.get("kind") == "Job"), None)
