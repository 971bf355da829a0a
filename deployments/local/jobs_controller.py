"""The Job controller of 1.20: pods, conditions, deadline, and deletion after the TTL."""

import copy
import math
from datetime import datetime

from deployments.local.api_errors import ApiError
from deployments.local.deletion import BACKGROUND, FOREGROUND, DeleteOptions
from deployments.local.event_recorder import EventRecorder
from deployments.local.objects import (
    format_time,
    is_deleting,
    is_owned_by,
    listed,
    mapped,
    name_of,
    namespace_of,
    now,
    owners_of,
    parse_time,
    uid_of,
)
from deployments.local.registry import Registry, Target
from deployments.local.resources import JOBS, PODS, JsonObject, Resource
from deployments.local.store import Change, Key
from deployments.local.work_queue import WorkQueue

_COMPONENT = "job-controller"
_RETRY_SECONDS = (10.0, 360.0)
_CREATE_RETRY_SECONDS = 1.0


class JobsController:
    """Keeps Jobs and their pods in step.

    Attributes:
        late_condition_seconds: How long after the end of its pod a Job is left as it is.
    """

    def __init__(self, registry: Registry, events: EventRecorder) -> None:
        self._registry = registry
        self._store = registry.store
        self._events = events
        self._queue = WorkQueue[Key](self._sync)
        self._retries: dict[str, int] = {}
        self.late_condition_seconds = 0.0
        registry.store.listen(self._on_change)

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource == JOBS:
            self._queue.add(change.key)
        elif resource == PODS:
            for owner in owners_of(change.obj):
                if owner["kind"] == "Job":
                    self._queue.add((namespace_of(change.obj), owner["name"]))

    def _sync(self, key: Key) -> None:
        job = self._store.get(JOBS, *key)
        if job is None:
            return
        if finished_at(job) is not None:
            self._expire(key, job)
            return
        pods = [pod for pod in self._store.list(PODS, key[0]) if is_owned_by(pod, uid_of(job))]
        late = self.late_condition_seconds - _seconds_since_end(pods)
        if late > 0:
            self._queue.add_after(key, late)
            return
        status = copy.deepcopy(mapped(job, "status"))
        status.setdefault("startTime", format_time(now()))
        self._advance(key, job, pods, status)

        def edit(fresh: JsonObject) -> None:
            fresh["status"] = status

        updated = self._store.change(JOBS, job, edit)
        if updated is not None and finished_at(updated) is not None:
            self._retries.pop(uid_of(job), None)

    def _advance(
        self, key: Key, job: JsonObject, pods: list[JsonObject], status: JsonObject
    ) -> None:
        active = [pod for pod in pods if _is_active(pod)]
        failed = sum(_phase(pod) == "Failed" for pod in pods)
        succeeded = sum(_phase(pod) == "Succeeded" for pod in pods)
        has_new_failure = failed > status.get("failed", 0)
        reason = self._failure(job, status, len(active), has_new_failure=has_new_failure)
        if reason:
            self._conclude(job, status, "Failed", *reason)
            for pod in active:
                self._delete_pod(job, pod)
            failed += len(active)
            count, complete = 0, False
        else:
            count = len(active)
            if not is_deleting(job):
                count = self._manage(key, job, active, succeeded, has_new_failure=has_new_failure)
            wanted = job["spec"].get("completions")
            enough = succeeded >= wanted if wanted is not None else succeeded > 0 and count == 0
            complete = enough and not count
            deadline = job["spec"].get("activeDeadlineSeconds")
            if deadline is not None:
                begun = parse_time(status["startTime"])
                self._queue.add_after(key, deadline - (now() - begun).total_seconds() + 0.05)
        if complete:
            self._conclude(job, status, "Complete", "", "")
        for field, number in (("active", count), ("succeeded", succeeded), ("failed", failed)):
            status.pop(field, None)
            if number:
                status[field] = number

    def _failure(
        self, job: JsonObject, status: JsonObject, active: int, *, has_new_failure: bool
    ) -> tuple[str, str] | None:
        spec = job["spec"]
        deadline = spec.get("activeDeadlineSeconds")
        begun = parse_time(status["startTime"])
        retries = self._retries.get(uid_of(job), 0)
        if has_new_failure and active != spec["parallelism"] and retries + 1 > spec["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if deadline is not None and (now() - begun).total_seconds() >= deadline:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _manage(
        self,
        key: Key,
        job: JsonObject,
        active: list[JsonObject],
        succeeded: int,
        *,
        has_new_failure: bool,
    ) -> int:
        """Create or delete pods; return how many are active then."""
        spec = job["spec"]
        if spec.get("completions") is None:
            wanted = len(active) if succeeded else spec["parallelism"]
        else:
            wanted = min(spec["completions"] - succeeded, spec["parallelism"])
        if has_new_failure and len(active) < wanted:
            retries = self._retries.get(uid_of(job), 0)
            self._retries[uid_of(job)] = retries + 1
            first, longest = _RETRY_SECONDS
            self._queue.add_after(key, min(first * 2**retries, longest))
            return len(active)
        for pod in active[wanted:]:
            self._delete_pod(job, pod)
        count = min(len(active), wanted)
        while count < wanted and self._create_pod(key, job):
            count += 1
        return count

    def _create_pod(self, key: Key, job: JsonObject) -> bool:
        template = copy.deepcopy(job["spec"]["template"])
        metadata = {k: v for k, v in template["metadata"].items() if v is not None}
        owner = {
            "apiVersion": job["apiVersion"],
            "kind": "Job",
            "name": name_of(job),
            "uid": uid_of(job),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        body: JsonObject = {
            "metadata": {
                **metadata,
                "generateName": f"{name_of(job)}-",
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        try:
            pod = self._registry.create(Target(PODS, key[0]), body)
        except ApiError as error:
            text = f"Error creating: {error.message}"
            self._event(job, "Warning", "FailedCreate", text)
            self._queue.add_after(key, _CREATE_RETRY_SECONDS)
            return False
        self._event(job, "Normal", "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        return True

    def _delete_pod(self, job: JsonObject, pod: JsonObject) -> None:
        target = Target(PODS, namespace_of(pod), name_of(pod))
        self._registry.delete(target, DeleteOptions(policy=BACKGROUND, uid=uid_of(pod)))
        self._event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _conclude(
        self, job: JsonObject, status: JsonObject, kind: str, reason: str, message: str
    ) -> None:
        moment = format_time(now())
        condition = {
            "type": kind,
            "status": "True",
            "lastProbeTime": moment,
            "lastTransitionTime": moment,
        }
        if reason:
            condition |= {"reason": reason, "message": message}
            self._event(job, "Warning", reason, message)
        else:
            status["completionTime"] = moment
            self._event(job, "Normal", "Completed", "Job completed")
        status["conditions"] = [*listed(status, "conditions"), condition]

    def _expire(self, key: Key, job: JsonObject) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        ended = finished_at(job)
        if ttl is None or ended is None or is_deleting(job):
            return
        left = ttl - (now() - ended).total_seconds()
        if left > 0:
            self._queue.add_after(key, left)
            return
        target = Target(JOBS, *key)
        self._registry.delete(target, DeleteOptions(policy=FOREGROUND, uid=uid_of(job)))

    def _event(self, job: JsonObject, kind: str, reason: str, message: str) -> None:
        self._events.record(job, kind, reason, message, component=_COMPONENT)


def finished_at(job: JsonObject) -> datetime | None:
    """Return when a Job got its final condition."""
    for condition in listed(mapped(job, "status"), "conditions"):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return parse_time(condition["lastTransitionTime"])
    return None


def _seconds_since_end(pods: list[JsonObject]) -> float:
    """Return how long ago a pod's container has ended, the last one's; infinite before."""
    states = [
        mapped(each, "state")
        for pod in pods
        for each in listed(mapped(pod, "status"), "containerStatuses")
    ]
    ends = [
        parse_time(state["terminated"]["finishedAt"]) for state in states if "terminated" in state
    ]
    return (now() - max(ends)).total_seconds() if ends else math.inf


def _phase(pod: JsonObject) -> str:
    return mapped(pod, "status").get("phase", "Pending")


def _is_active(pod: JsonObject) -> bool:
    return _phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)
