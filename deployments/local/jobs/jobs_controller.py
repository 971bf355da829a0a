"""The Job controller: counts pods, makes and deletes them, and ends Jobs by pairs of conditions."""

import asyncio
import copy
import math
from dataclasses import dataclass, field
from datetime import datetime

from deployments.local.admission.webhooks import Webhooks
from deployments.local.deletion import FOREGROUND, DeleteOptions
from deployments.local.event_recorder import EventRecorder
from deployments.local.jobs.failure_policy import IGNORE, judge_failed_pod
from deployments.local.jobs.job_pods import JobPods
from deployments.local.jobs.job_state import (
    Verdict,
    backoff_seconds,
    ended_at,
    find_failure,
    find_success,
    finished_at,
    is_active,
    is_ready,
    is_terminating,
    is_tracked,
    make_condition,
    phase_of,
    seconds_since_end,
    seconds_to_deadline,
    verdict_of,
    waits_for_ended_pods,
    wanted_pods,
)
from deployments.local.objects import (
    format_time,
    is_deleting,
    listed,
    mapped,
    name_of,
    namespace_of,
    now,
    owners_of,
    uid_of,
)
from deployments.local.registry import Registry, Target
from deployments.local.resources import JOBS, PODS, JsonObject, Resource
from deployments.local.store import Change, Key
from deployments.local.work_queue import WorkQueue

# How long the first condition of a pair stands alone at least.
_PAIR_SECONDS = 0.02
# A pod that ends with 0 within this time of its deletion still counts as succeeded. A real
# controller looks after a second.
_DELETED_POD_SECONDS = 0.5


@dataclass
class _Look:
    """One look at a Job: what is known, and what is written at its end.

    Attributes:
        key: Namespace and name.
        job: The Job as it is stored.
        status: Its new status.
        pods: Its pods.
        wakes: In how many seconds it must be looked at again; the soonest counts.
        counted: Pods whose end has been counted, so that their finalizers may go.
    """

    key: Key
    job: JsonObject
    status: JsonObject
    pods: list[JsonObject]
    wakes: list[float] = field(default_factory=list[float])
    counted: list[JsonObject] = field(default_factory=list[JsonObject])


class JobsController:
    """Keeps Jobs and their pods in step.

    Attributes:
        late_condition_seconds: How long after the end of its pod a Job is left as it is.
    """

    def __init__(self, registry: Registry, webhooks: Webhooks, events: EventRecorder) -> None:
        self._registry = registry
        self._store = registry.store
        self._queue = WorkQueue[Key](self._sync)
        self._pods = JobPods(
            registry,
            webhooks,
            events,
            lambda job, seconds: self._queue.add_after((namespace_of(job), name_of(job)), seconds),
        )
        self._failures: dict[str, tuple[int, datetime]] = {}
        self._going_since: dict[str, float] = {}
        self._not_before: dict[Key, float] = {}
        self.late_condition_seconds = 0.0
        registry.store.listen(self._on_change)

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource == JOBS:
            self._queue.add(change.key)
        elif resource == PODS:
            if change.type == "DELETED":
                self._going_since.pop(uid_of(change.obj), None)
            jobs = [owner["name"] for owner in owners_of(change.obj) if owner["kind"] == "Job"]
            for name in jobs:
                self._queue.add((namespace_of(change.obj), name))
            if not jobs and is_tracked(change.obj):
                self._queue.add((namespace_of(change.obj), ""))

    def _sync(self, key: Key) -> None:
        moment = asyncio.get_running_loop().time()
        if (left := self._not_before.get(key, 0.0) - moment) > 0:
            self._queue.add_after(key, left)
            return
        self._not_before.pop(key, None)
        job = self._store.get(JOBS, *key)
        if job is None:
            self._pods.release_orphans(key[0])
            return
        pods = self._pods.of(job)
        if finished_at(job) is not None or is_deleting(job):
            self._wind_up(key, job, pods)
            return
        late = self.late_condition_seconds - seconds_since_end(pods)
        late = max(late, *(self._undecided_seconds(job, pod, moment) for pod in pods), 0.0)
        if late > 0:
            self._queue.add_after(key, late)
            return
        look = _Look(key, job, copy.deepcopy(mapped(job, "status")), pods)
        is_half = self._advance(look)
        status = look.status
        if is_half:
            self._not_before[key] = moment + _PAIR_SECONDS

        def edit(fresh: JsonObject) -> None:
            fresh["status"] = status

        self._store.change(JOBS, job, edit)
        for pod in look.counted:
            self._pods.release(pod)
        if not math.isinf(soonest := min(look.wakes, default=math.inf)):
            self._queue.add_after(key, soonest)

    def _wind_up(self, key: Key, job: JsonObject, pods: list[JsonObject]) -> None:
        """Let go of the pods of a Job that has ended or goes; what they do then counts no more."""
        self._failures.pop(uid_of(job), None)
        for pod in pods:
            self._pods.release(pod)
        if not is_deleting(job):
            self._expire(key, job)
            return

        def edit(fresh: JsonObject) -> None:
            _count_live(fresh.setdefault("status", {}), self._pods.of(job))

        self._store.change(JOBS, job, edit)

    def _advance(self, look: _Look) -> bool:
        """Write the new status; return whether the other half of it must come a little later."""
        job, status = look.job, look.status
        if not job["spec"].get("suspend"):
            status.setdefault("startTime", format_time(now()))
        _add_counted(status, look.pods)
        succeeded, failed = self._count_ended(look)
        known = verdict_of(status)
        active = [pod for pod in look.pods if is_active(pod)]
        verdict = known or find_failure(job, status, look.pods, failed)
        count = len(active)
        if verdict is None:
            count = self._manage(look, active, succeeded)
            verdict = find_success(job, succeeded, count)
        if verdict is None:
            look.wakes.append(seconds_to_deadline(job, status))
        else:
            for pod in active:
                self._pods.delete(job, pod)
            if known is None:
                _add_condition(status, verdict.kind, verdict)
        look.pods = self._pods.of(job)
        _count_live(status, look.pods)
        if known and not status["terminating"] and not look.counted:
            self._finish(look, known)
        return bool(look.counted) or verdict is not known

    def _count_ended(self, look: _Look) -> tuple[int, int]:
        """Return how many pods have succeeded and failed, those included that are counted now."""
        status = look.status
        uncounted: JsonObject = {}
        failures: list[JsonObject] = []
        for pod in look.pods:
            if not is_tracked(pod):
                continue
            if phase_of(pod) == "Succeeded":
                uncounted.setdefault("succeeded", []).append(uid_of(pod))
                self._failures.pop(uid_of(look.job), None)
            elif _has_failed(look.job, pod):
                if judge_failed_pod(look.job, pod).action == IGNORE:
                    look.counted.append(pod)
                    continue
                uncounted.setdefault("failed", []).append(uid_of(pod))
                failures.append(pod)
            else:
                continue
            look.counted.append(pod)
        if failures:
            earlier, _ = self._failures.get(uid_of(look.job), (0, now()))
            last = max(map(ended_at, failures))
            self._failures[uid_of(look.job)] = earlier + len(failures), last
        status["uncountedTerminatedPods"] = uncounted
        succeeded, failed = (
            status.get(field, 0) + len(listed(uncounted, field))
            for field in ("succeeded", "failed")
        )
        return succeeded, failed

    def _undecided_seconds(self, job: JsonObject, pod: JsonObject, moment: float) -> float:
        """Return how long a pod that was asked to go may still end well; 0 when that is settled."""
        if not (is_tracked(pod) and is_terminating(pod)) or waits_for_ended_pods(job):
            return 0.0
        if verdict_of(mapped(job, "status")):
            return 0.0
        since = self._going_since.setdefault(uid_of(pod), moment)
        return max(0.0, since + _DELETED_POD_SECONDS - moment)

    def _manage(self, look: _Look, active: list[JsonObject], succeeded: int) -> int:
        """Create or delete pods; return how many are active then."""
        job = look.job
        self._tell_suspension(look)
        wanted = wanted_pods(job, succeeded, len(active))
        for pod in active[wanted:]:
            # Not counted: it did not fail, nobody needs it.
            self._pods.release(pod)
            self._pods.delete(job, pod)
        count = min(len(active), wanted)
        missing = wanted - count - self._pods.being_made(job)
        if waits_for_ended_pods(job):
            missing -= sum(map(is_terminating, look.pods))
        if missing <= 0:
            return count
        failures, last = self._failures.get(uid_of(job), (0, now()))
        if failures:
            left = backoff_seconds(failures) - (now() - last).total_seconds()
            if left > 0:
                look.wakes.append(left)
                return count
        made, retry_seconds = self._pods.create(job, missing)
        look.wakes.append(retry_seconds)
        return count + made

    def _tell_suspension(self, look: _Look) -> None:
        status = look.status
        is_suspended = bool(look.job["spec"].get("suspend"))
        told = [c for c in listed(status, "conditions") if c["type"] == "Suspended"]
        was_suspended = bool(told) and told[0]["status"] == "True"
        if is_suspended == was_suspended:
            return
        if is_suspended:
            new = make_condition("Suspended", "True", "JobSuspended", "Job suspended")
            status.pop("startTime", None)
            self._pods.event(look.job, "Normal", "Suspended", "Job suspended")
        else:
            new = make_condition("Suspended", "False", "JobResumed", "Job resumed")
            status["startTime"] = format_time(now())
            self._pods.event(look.job, "Normal", "Resumed", "Job resumed")
        old = listed(status, "conditions")
        status["conditions"] = (
            [new if c["type"] == "Suspended" else c for c in old] if told else [*old, new]
        )

    def _finish(self, look: _Look, verdict: Verdict) -> None:
        _add_condition(look.status, verdict.final_kind, verdict)
        if verdict.final_kind == "Complete":
            look.status["completionTime"] = format_time(now())
            self._pods.event(look.job, "Normal", "Completed", "Job completed")
        else:
            self._pods.event(look.job, "Warning", verdict.reason, verdict.message)

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


def _has_failed(job: JsonObject, pod: JsonObject) -> bool:
    return phase_of(pod) == "Failed" or (is_deleting(pod) and not waits_for_ended_pods(job))


def _add_counted(status: JsonObject, pods: list[JsonObject]) -> None:
    """Add the pods that were counted at the look before and have let go of their finalizers."""
    held = {uid_of(pod) for pod in pods if is_tracked(pod)}
    for field_name, uids in mapped(status, "uncountedTerminatedPods").items():
        gone = len(set(uids) - held)
        if gone:
            status[field_name] = status.get(field_name, 0) + gone


def _count_live(status: JsonObject, pods: list[JsonObject]) -> None:
    """Write how many pods are active, ready and terminating."""
    active = [pod for pod in pods if is_active(pod)]
    status.pop("active", None)
    if active:
        status["active"] = len(active)
    status["terminating"] = sum(map(is_terminating, pods))
    status["ready"] = sum(map(is_ready, active))


def _add_condition(status: JsonObject, kind: str, verdict: Verdict) -> None:
    condition = make_condition(kind, "True", verdict.reason, verdict.message)
    status["conditions"] = [*listed(status, "conditions"), condition]
