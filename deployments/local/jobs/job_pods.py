"""What the Job controller does to pods: makes them, deletes them, lets go of them."""

import asyncio
import copy
import math
from collections import Counter
from collections.abc import Callable

from deployments.local.admission.webhooks import Webhooks
from deployments.local.api_errors import ApiError
from deployments.local.call_notes import CallNotes
from deployments.local.deletion import BACKGROUND, DeleteOptions
from deployments.local.event_recorder import EventRecorder
from deployments.local.jobs.job_state import TRACKING_FINALIZER, is_tracked
from deployments.local.objects import (
    is_owned_by,
    listed,
    mapped,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)
from deployments.local.registry import Registry, Target
from deployments.local.resources import JOBS, PODS, JsonObject

_COMPONENT = "job-controller"
_CREATE_RETRY_SECONDS = (1.0, 60.0)


class JobPods:
    """The pods of Jobs."""

    def __init__(
        self,
        registry: Registry,
        webhooks: Webhooks,
        events: EventRecorder,
        retry: Callable[[JsonObject, float], None],
    ) -> None:
        """Look after pods; `retry` has a Job looked at again after so many seconds."""
        self._registry = registry
        self._store = registry.store
        self._webhooks = webhooks
        self._events = events
        self._retry = retry
        self._refusals: dict[str, int] = {}
        self._reviewed: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, job: JsonObject) -> list[JsonObject]:
        """Return the Job's pods."""
        pods = self._store.list(PODS, namespace_of(job))
        return [pod for pod in pods if is_owned_by(pod, uid_of(job))]

    def create(self, job: JsonObject, count: int) -> tuple[int, float]:
        """Make pods.

        Returns:
            How many were made or are being made, and after how many seconds to try again; infinite
            for not at all.
        """
        target = Target(PODS, namespace_of(job))
        for made in range(count):
            notes = CallNotes()
            try:
                pod = self._registry.prepare(target, _pod_body(job), notes)
                if self._webhooks.concern(target, pod):
                    self._create_reviewed(job, target, pod, notes)
                    continue
                self._registry.keep(target, pod, notes)
            except ApiError as error:
                return made, self._tell_refusal(job, error)
            self._tell_creation(job, pod)
        return count, math.inf

    def being_made(self, job: JsonObject) -> int:
        """Return how many pods of a Job webhooks are looking at."""
        return self._reviewed[uid_of(job)]

    def _create_reviewed(
        self, job: JsonObject, target: Target, pod: JsonObject, notes: CallNotes
    ) -> None:
        uid = uid_of(job)
        self._reviewed[uid] += 1

        async def review() -> None:
            try:
                reviewed = await self._webhooks.review(target, pod, notes)
                self._registry.keep(target, reviewed, notes)
            except ApiError as error:
                self._retry(job, self._tell_refusal(job, error))
            else:
                self._tell_creation(job, pod)
                self._retry(job, 0.0)
            finally:
                self._reviewed[uid] -= 1

        task = asyncio.create_task(review())
        # The event loop holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_creation(self, job: JsonObject, pod: JsonObject) -> None:
        self._refusals.pop(uid_of(job), None)
        self.event(job, "Normal", "SuccessfulCreate", f"Created pod: {name_of(pod)}")

    def _tell_refusal(self, job: JsonObject, error: ApiError) -> float:
        """Write an Event; return after how many seconds to try again."""
        self.event(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
        refusals = self._refusals.get(uid_of(job), 0)
        self._refusals[uid_of(job)] = refusals + 1
        first, longest = _CREATE_RETRY_SECONDS
        return min(first * 2**refusals, longest)

    def delete(self, job: JsonObject, pod: JsonObject) -> None:
        """Ask a pod to go."""
        target = Target(PODS, namespace_of(pod), name_of(pod))
        self._registry.delete(target, DeleteOptions(policy=BACKGROUND, uid=uid_of(pod)))
        self.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def release(self, pod: JsonObject) -> None:
        """Take the finalizer away that holds a pod until its end has been counted."""
        if is_tracked(pod):
            self._registry.finish(PODS, pod, _drop_finalizer)

    def release_orphans(self, namespace: str) -> None:
        """Let go of the pods that have no Job any more."""
        for pod in self._store.list(PODS, namespace):
            jobs = [owner for owner in owners_of(pod) if owner["kind"] == "Job"]
            if not any(self._exists(namespace, owner) for owner in jobs):
                self.release(pod)

    def _exists(self, namespace: str, owner: JsonObject) -> bool:
        job = self._store.get(JOBS, namespace, owner["name"])
        return job is not None and uid_of(job) == owner["uid"]

    def event(self, job: JsonObject, kind: str, reason: str, message: str) -> None:
        """Write an Event about a Job."""
        self._events.record(job, kind, reason, message, component=_COMPONENT)


def _pod_body(job: JsonObject) -> JsonObject:
    template = copy.deepcopy(job["spec"]["template"])
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": "Job",
        "name": name_of(job),
        "uid": uid_of(job),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = mapped(template, "metadata")
    return {
        "metadata": {
            **{key: value for key, value in metadata.items() if value is not None},
            "generateName": f"{name_of(job)}-",
            "ownerReferences": [owner],
            "finalizers": [*listed(metadata, "finalizers"), TRACKING_FINALIZER],
        },
        "spec": template["spec"],
    }


def _drop_finalizer(pod: JsonObject) -> None:
    left = [f for f in listed(pod["metadata"], "finalizers") if f != TRACKING_FINALIZER]
    pod["metadata"].pop("finalizers", None)
    if left:
        pod["metadata"]["finalizers"] = left
