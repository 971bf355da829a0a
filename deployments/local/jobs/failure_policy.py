"""`spec.podFailurePolicy`: what a failed pod of a Job means. Pure."""

from dataclasses import dataclass

from deployments.local.objects import listed, mapped, name_of, namespace_of
from deployments.local.resources import JsonObject

IGNORE, FAIL_JOB, COUNT = "Ignore", "FailJob", "Count"


@dataclass(frozen=True)
class PodVerdict:
    """What a failed pod means for its Job.

    Attributes:
        action: `Count`, `Ignore` or `FailJob`.
        message: Why the Job fails; empty unless it does.
    """

    action: str = COUNT
    message: str = ""


def judge_failed_pod(job: JsonObject, pod: JsonObject) -> PodVerdict:
    """Return what the first rule that matches says; a pod that no rule matches is counted."""
    for index, rule in enumerate(listed(mapped(job["spec"], "podFailurePolicy"), "rules")):
        finding = _finding(rule, pod)
        if finding:
            action: str = rule["action"]
            message = f"{finding} matching {action} rule at index {index}"
            return PodVerdict(action, message if action == FAIL_JOB else "")
    return PodVerdict()


def _finding(rule: JsonObject, pod: JsonObject) -> str:
    where = f"{namespace_of(pod)}/{name_of(pod)}"
    codes = mapped(rule, "onExitCodes")
    if codes:
        for name, code in _failed_containers(pod):
            wanted = codes.get("containerName") in (None, name)
            if wanted and (code in codes["values"]) is (codes["operator"] == "In"):
                return f"Container {name} for pod {where} failed with exit code {code}"
        return ""
    for pattern in listed(rule, "onPodConditions"):
        for condition in listed(mapped(pod, "status"), "conditions"):
            wanted = (pattern["type"], pattern.get("status", "True"))
            if (condition["type"], condition["status"]) == wanted:
                return f"Pod {where} has condition {condition['type']}"
    return ""


def _failed_containers(pod: JsonObject) -> list[tuple[str, int]]:
    status = mapped(pod, "status")
    statuses = [*listed(status, "containerStatuses"), *listed(status, "initContainerStatuses")]
    ended = [
        (each["name"], mapped(each["state"], "terminated").get("exitCode")) for each in statuses
    ]
    return [(name, code) for name, code in ended if code]
