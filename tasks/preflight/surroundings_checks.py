"""Judges the namespace, result storage, retention and Prefect. Pure."""

import re

from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.preflight.preflight_facts import (
    ClusterFacts,
    Mount,
    PrefectFacts,
    StorageFacts,
    Unread,
    WhyUnread,
)
from tasks.preflight.preflight_results import Check, CheckResult, error, not_checked, ok, warning
from tasks.text.safe_text import duration_text

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_EMPTY_DIR = "kubernetes.io~empty-dir"
_OF_CONTAINERS = frozenset({"overlay", "overlayfs", "aufs"})
_OLDEST_PREFECT = (3, 8)  # the oldest version that the tests have run with
# A sweep calls a flow run silent after ten minutes, which is three of these intervals.
_HEARTBEAT_LIMIT_SECONDS = 200
_OCTAL = re.compile(r"\\([0-7]{3})")


def find_mount(mountinfo: str, path: str) -> Mount | None:
    """Return the mount that contains an absolute path; `None` if the table has none.

    Args:
        mountinfo: Content of `/proc/self/mountinfo`.
        path: Without symbolic links.

    Source:
        proc(5), /proc/pid/mountinfo.
    """
    best: Mount | None = None
    for line in mountinfo.splitlines():
        before, found, after = line.partition(" - ")
        fields = before.split()
        if not found or len(fields) < 5:
            continue
        mount = Mount(_unescaped(fields[4]), _unescaped(fields[3]), after.split(" ")[0])
        covers = f"{path}/".startswith(f"{mount.point.rstrip('/')}/")
        # Of two mounts on the same point, the later one is on top.
        if covers and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), text)


def judge_storage(facts: StorageFacts) -> CheckResult:
    """Judge whether results can be stored, and outlive the process that stores them."""
    if facts.problem is not None:
        return error(
            Check.RESULT_STORAGE,
            f"Results cannot be kept in {facts.description}: {facts.problem}",
            "Correct the runtime's `result_storage` or its access rights, or name a folder or "
            "another kind of block.",
        )
    reason = _mortal(facts)
    if reason is not None:
        return error(
            Check.RESULT_STORAGE,
            f"Results in {facts.description} are lost with the pod or machine: {reason}.",
            "Mount a PersistentVolumeClaim there, or set another location in the runtime's "
            "`result_storage`: a folder on a volume, or a Prefect block for an object store.",
        )
    return ok(Check.RESULT_STORAGE, f"{facts.description} can be written and read.")


def _mortal(facts: StorageFacts) -> str | None:
    mount = facts.mount
    if mount is None:
        return None
    if mount.file_system in _IN_MEMORY:
        return f"{mount.point} is in memory ({mount.file_system})"
    if _EMPTY_DIR in mount.root:
        return f"{mount.point} is an emptyDir"
    if facts.in_pod and mount.file_system in _OF_CONTAINERS:
        return "it is the container's own file system"
    return None


def judge_retention(runtime: RuntimeSpec, longest_outage_seconds: int) -> CheckResult:
    """Judge whether finished Jobs are kept long enough for their results to be stored."""
    ttl = runtime.retention.unharvested_seconds
    if ttl <= longest_outage_seconds:
        return error(
            Check.RETENTION,
            f"A finished Job is deleted after {duration_text(ttl)}, but an outage may last "
            f"{duration_text(longest_outage_seconds)}: its result would be lost.",
            "Raise the runtime's `retention.unharvested_seconds` above the longest outage.",
        )
    return ok(
        Check.RETENTION,
        f"A finished Job is kept for {duration_text(ttl)} until its result is stored.",
    )


def judge_prefect(facts: PrefectFacts) -> list[CheckResult]:
    """Return the results of the checks of the Prefect API in use."""
    if facts.api_url is None:
        unread = Unread(WhyUnread.NOT_ASKED, "no Prefect API is configured.")
        advice = "Set PREFECT_API_URL; a temporary server does not keep runs and blocks."
        checks = (Check.PREFECT_API, Check.PREFECT_VERSION, Check.PREFECT_SETTINGS)
        return [not_checked(check, unread, advice) for check in checks]
    version = facts.server_version
    if isinstance(version, Unread):
        away = error(
            Check.PREFECT_API,
            f"Prefect does not answer as it should: {version.message}",
            "Correct PREFECT_API_URL (and its credentials), or check whether the server runs.",
        )
        return [
            away,
            not_checked(Check.PREFECT_VERSION, version),
            *_judge_settings(facts),
        ]
    return [
        ok(Check.PREFECT_API, f"The Prefect API at {facts.api_url} answers."),
        _judge_prefect_version(version, facts),
        *_judge_settings(facts),
    ]


def _judge_prefect_version(version: str, facts: PrefectFacts) -> CheckResult:
    if facts.is_cloud:
        return ok(Check.PREFECT_VERSION, "Prefect Cloud keeps itself up to date.")
    server, client = _numbers(version), _numbers(facts.client_version)
    if server[:2] < _OLDEST_PREFECT:
        oldest = ".".join(map(str, _OLDEST_PREFECT))
        return error(
            Check.PREFECT_VERSION,
            f"The Prefect server has version {version}, which is older than {oldest}.",
            f"Upgrade it to {facts.client_version}, the version that flow runs use.",
        )
    if server < client:
        return warning(
            Check.PREFECT_VERSION,
            f"The Prefect server has version {version}; flow runs use {facts.client_version}.",
            "Upgrade the server first, then the flow runs' image.",
        )
    return ok(Check.PREFECT_VERSION, f"The Prefect server has version {version}.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _judge_settings(facts: PrefectFacts) -> list[CheckResult]:
    found: list[CheckResult] = []
    if not facts.logs_to_api:
        found.append(
            warning(
                Check.PREFECT_SETTINGS,
                "Logs are not sent to Prefect, so the output of agents cannot be seen there.",
                "Unset PREFECT_LOGGING_TO_API_ENABLED, or set it to true.",
            )
        )
    beat = facts.heartbeat_seconds
    if beat is None or beat > _HEARTBEAT_LIMIT_SECONDS:
        seldom = "no heartbeats" if beat is None else f"a heartbeat only every {beat} s"
        found.append(
            warning(
                Check.PREFECT_SETTINGS,
                f"Flow runs send {seldom}, so a sweep cannot tell live flow runs from dead ones.",
                "Set PREFECT_FLOWS_HEARTBEAT_FREQUENCY to 180 or less.",
            )
        )
    limited = ", ".join(facts.limited_deployments)
    if limited and (facts.lease_storage or "").endswith(".memory"):
        found.append(
            warning(
                Check.PREFECT_SETTINGS,
                "Deployments have a concurrency limit, but the server keeps the leases of slots in "
                f"memory: its restart crashes their runs ({limited}).",
                "Remove the limit (an agent has one run at a time even without it), or set "
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE to a persistent storage.",
            )
        )
    return found or [ok(Check.PREFECT_SETTINGS, "Prefect's settings are suitable for runs.")]


def judge_namespace(facts: ClusterFacts) -> CheckResult:
    """Return what the answers to the offered Job and Secret say about their namespace."""
    named = f"{facts.namespace} ({facts.namespace_source})"
    unread = [f for f in (facts.job, facts.secret_accepted) if isinstance(f, Unread)]
    reasons = {fact.why for fact in unread}
    if WhyUnread.NAMESPACE_NOT_FOUND in reasons:
        return error(
            Check.NAMESPACE,
            f"There is no namespace {named}.",
            "Correct the runtime's `namespace`, or create the namespace with "
            f"`kubectl create namespace {facts.namespace}`.",
        )
    if WhyUnread.NAMESPACE_TERMINATING in reasons:
        return error(
            Check.NAMESPACE,
            f"Namespace {named} is being deleted and takes no new objects.",
            "Correct the runtime's `namespace`, or create the namespace again once it is gone. If "
            f"it stays, `kubectl get namespace {facts.namespace} -o yaml` names in its conditions "
            "what holds it.",
        )
    if len(unread) == 2:
        # Only the answer to an offered object shows that the namespace exists.
        unknown = Unread(WhyUnread.NOT_ASKED, f"no object could be tried in namespace {named}.")
        return not_checked(Check.NAMESPACE, unknown)
    return ok(Check.NAMESPACE, f"Agents run in namespace {named}.")
