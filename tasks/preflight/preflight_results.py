"""The results of a preflight: one per check, and the report of all of them."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from tasks.agent_job.needed_permissions import Permission
from tasks.preflight.preflight_facts import Unread


class Level(StrEnum):
    """Severity: `error` fails or endangers runs; `warning` has a drawback or is unknown."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Check(StrEnum):
    """What is checked; these ids are a public interface."""

    REQUEST = "request"
    CLUSTER = "cluster"
    KUBERNETES_VERSION = "kubernetes-version"
    CLOCK = "clock"
    NAMESPACE = "namespace"
    PERMISSIONS = "permissions"
    SECRETS = "secrets"
    HOME_CLAIM = "home-claim"
    QUOTA = "quota"
    JOB = "job"
    POD = "pod"
    RUN_SECRET = "run-secret"
    POD_SECURITY = "pod-security"
    RETENTION = "retention"
    RESULT_STORAGE = "result-storage"
    PUSH = "push"
    PREFECT_API = "prefect-api"
    PREFECT_VERSION = "prefect-version"
    PREFECT_SETTINGS = "prefect-settings"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        finding: What was found, as a sentence.
        advice: What to do; empty if nothing needs to be done.
    """

    check: Check
    level: Level
    finding: str
    advice: str = ""


class PreflightReport(BaseModel):
    """All results, also for machines.

    Attributes:
        results: In the order of the checks.
        pod: The agent's pod as the cluster would store it, or at least as it is sent; `None` if the
            request is not valid or there is no cluster.
    """

    errors: int
    warnings: int
    results: list[CheckResult]
    pod: dict[str, Any] | None = None

    @property
    def summary(self) -> str:
        """The result of the preflight in one line, with the names of failed checks."""
        if not self.errors and not self.warnings:
            return "No problems found."
        bad = Counter(r.check.value for r in self.results if r.level is Level.ERROR)
        named = f": {', '.join(bad)}" if bad else ""
        return f"{_count(self.errors, 'error')}, {_count(self.warnings, 'warning')}{named}."


def ok(check: Check, finding: str) -> CheckResult:
    """Return the result of a check without a problem."""
    return CheckResult(check, Level.OK, finding)


def warning(check: Check, finding: str, advice: str) -> CheckResult:
    """Return the result of a check with a drawback for runs."""
    return CheckResult(check, Level.WARNING, finding, advice)


def error(check: Check, finding: str, advice: str) -> CheckResult:
    """Return the result of a check that fails or endangers runs."""
    return CheckResult(check, Level.ERROR, finding, advice)


def not_checked(check: Check, unread: Unread, advice: str = "") -> CheckResult:
    """Return the result of a check that could not be made."""
    return warning(
        check,
        f"Not checked: {unread.message}",
        advice or "Fix the errors of the other checks, then run the preflight again.",
    )


def build_preflight_report(
    results: Sequence[CheckResult], pod: Mapping[str, Any] | None = None
) -> PreflightReport:
    """Count and sort the results, and add the pod that they are about."""
    checks = list(Check)
    found = Counter(result.level for result in results)
    return PreflightReport(
        errors=found[Level.ERROR],
        warnings=found[Level.WARNING],
        results=sorted(results, key=lambda result: checks.index(result.check)),
        pod=dict(pod) if pod is not None else None,
    )


def build_preflight_table(report: PreflightReport) -> list[dict[str, str]]:
    """Return the results as table rows, the worst first."""
    levels = [Level.ERROR, Level.WARNING, Level.OK]
    return [
        {
            "level": result.level.value,
            "check": result.check.value,
            "finding": result.finding,
            "what to do": result.advice or "-",
        }
        for result in sorted(report.results, key=lambda result: levels.index(result.level))
    ]


def render_pod(pod: Mapping[str, Any]) -> str:
    """Return the agent's pod as YAML."""
    # The command line imports this module at its start, and seldom shows a pod.
    import yaml

    return yaml.safe_dump(json.loads(json.dumps(pod)), sort_keys=False, width=100)


def build_role(name: str, namespace: str, permissions: Iterable[Permission]) -> str:
    """Return the Role that grants exactly these permissions, as YAML."""
    rules: dict[tuple[str, str], list[str]] = {}
    for permission in permissions:
        rules.setdefault((permission.group, permission.resource), []).append(permission.verb)
    lines = [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        "metadata:",
        f"  name: {name}",
        f"  namespace: {namespace}",
        "rules:",
    ]
    for (group, resource), verbs in rules.items():
        lines += [
            f'  - apiGroups: ["{group}"]',
            f"    resources: [{resource}]",
            f"    verbs: [{', '.join(verbs)}]",
        ]
    return "\n".join(lines) + "\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
