"""What a Job and its pods say of themselves. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime

from deployments.local.jobs.failure_policy import FAIL_JOB, judge_failed_pod
from deployments.local.objects import (
    after,
    format_time,
    is_deleting,
    listed,
    mapped,
    now,
    parse_time,
)
from deployments.local.resources import JsonObject

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
_FINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 10.0, 600.0


@dataclass(frozen=True)
class Verdict:
    """How a Job ends, before all of its pods have.

    Attributes:
        kind: The type of the first condition of the pair.
        reason: Of both conditions.
        message: Of both.
    """

    kind: str
    reason: str
    message: str

    @property
    def final_kind(self) -> str:
        """The type of the second condition."""
        return _FINAL[self.kind]


def verdict_of(status: JsonObject) -> Verdict | None:
    """Return the verdict that the conditions tell already."""
    for condition in listed(status, "conditions"):
        if condition["type"] in _FINAL and condition["status"] == "True":
            return Verdict(condition["type"], condition["reason"], condition["message"])
    return None


def finished_at(job: JsonObject) -> datetime | None:
    """Return when a Job got its final condition."""
    for condition in listed(mapped(job, "status"), "conditions"):
        if condition["type"] in _FINAL.values() and condition["status"] == "True":
            return parse_time(condition["lastTransitionTime"])
    return None


def find_failure(
    job: JsonObject, status: JsonObject, pods: list[JsonObject], failed: int
) -> Verdict | None:
    """Return why a Job fails now; None while it does not."""
    spec = job["spec"]
    for pod in pods:
        if phase_of(pod) == "Failed":
            judged = judge_failed_pod(job, pod)
            if judged.action == FAIL_JOB:
                return Verdict("FailureTarget", "PodFailurePolicy", judged.message)
    if failed > spec["backoffLimit"]:
        text = "Job has reached the specified backoff limit"
        return Verdict("FailureTarget", "BackoffLimitExceeded", text)
    if seconds_to_deadline(job, status) <= 0:
        text = "Job was active longer than specified deadline"
        return Verdict("FailureTarget", "DeadlineExceeded", text)
    return None


def find_success(job: JsonObject, succeeded: int, active: int) -> Verdict | None:
    """Return that a Job has succeeded; None while it has not."""
    wanted = job["spec"].get("completions")
    is_enough = succeeded >= wanted if wanted is not None else succeeded > 0 and active == 0
    if not is_enough:
        return None
    text = "Reached expected number of succeeded pods"
    return Verdict("SuccessCriteriaMet", "CompletionsReached", text)


def seconds_to_deadline(job: JsonObject, status: JsonObject) -> float:
    """Return how long the Job may still be active; infinite without a deadline or suspended."""
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is None or job["spec"].get("suspend") or "startTime" not in status:
        return math.inf
    return deadline - (now() - parse_time(status["startTime"])).total_seconds()


def wanted_pods(job: JsonObject, succeeded: int, active: int) -> int:
    """Return how many pods should be active."""
    spec = job["spec"]
    if spec.get("suspend"):
        return 0
    if spec.get("completions") is None:
        return active if succeeded else spec["parallelism"]
    return max(0, min(spec["completions"] - succeeded, spec["parallelism"]))


def waits_for_ended_pods(job: JsonObject) -> bool:
    """Tell whether a pod is replaced, and counted, only when it has ended."""
    return job["spec"].get("podReplacementPolicy") == "Failed" or "podFailurePolicy" in job["spec"]


def backoff_seconds(failures: int) -> float:
    """Return how long after the last of so many failures in a row the next pod comes."""
    return min(_FIRST_BACKOFF_SECONDS * 2 ** max(0, failures - 1), _LONGEST_BACKOFF_SECONDS)


def make_condition(kind: str, status: str, reason: str, message: str) -> JsonObject:
    """Return a condition of a Job that changed just now."""
    moment = format_time(now())
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def phase_of(pod: JsonObject) -> str:
    """Return the pod's phase."""
    return mapped(pod, "status").get("phase", "Pending")


def has_ended(pod: JsonObject) -> bool:
    """Tell whether a pod's phase is final."""
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: JsonObject) -> bool:
    """Tell whether a pod works for its Job."""
    return not has_ended(pod) and not is_deleting(pod)


def is_terminating(pod: JsonObject) -> bool:
    """Tell whether a pod has been asked to go and has not ended."""
    return is_deleting(pod) and not has_ended(pod)


def is_ready(pod: JsonObject) -> bool:
    """Tell whether a pod has the condition Ready."""
    conditions = listed(mapped(pod, "status"), "conditions")
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def is_tracked(pod: JsonObject) -> bool:
    """Tell whether a pod's end still has to be counted."""
    return TRACKING_FINALIZER in listed(pod["metadata"], "finalizers")


def ended_at(pod: JsonObject) -> datetime:
    """Return when a pod's last container ended, or the pod was asked to go, or now."""
    ends = _container_ends(pod)
    if ends:
        return max(ends)
    metadata = pod["metadata"]
    if is_deleting(pod):
        grace = metadata.get("deletionGracePeriodSeconds", 0)
        return after(parse_time(metadata["deletionTimestamp"]), -grace)
    return now()


def seconds_since_end(pods: list[JsonObject]) -> float:
    """Return how long ago a pod's container has ended, the last one's; infinite before."""
    ends = [moment for pod in pods for moment in _container_ends(pod)]
    return (now() - max(ends)).total_seconds() if ends else math.inf


def _container_ends(pod: JsonObject) -> list[datetime]:
    states = [mapped(each, "state") for each in listed(mapped(pod, "status"), "containerStatuses")]
    return [parse_time(s["terminated"]["finishedAt"]) for s in states if "terminated" in s]
