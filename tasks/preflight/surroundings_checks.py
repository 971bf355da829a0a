"""What lies around the cluster: result storage, retention, Prefect. Pure."""

import re

from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.preflight.preflight_facts import Mount, PrefectFacts, StorageFacts, Unread, WhyUnread
from tasks.preflight.preflight_results import Check, CheckResult, error, not_checked, ok, warning
from tasks.text.safe_text import duration_text

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_EMPTY_DIR = "kubernetes.io~empty-dir"
_OF_CONTAINERS = frozenset({"overlay", "overlayfs", "aufs"})
_OLDEST_PREFECT = (3, 8)  # the oldest that the tests have met
# A sweep takes a flow run for silent after ten minutes, three of these.
_HEARTBEAT_LIMIT_SECONDS = 200
_OCTAL = re.compile(r"\\([0-7]{3})")


def find_mount(mountinfo: str, path: str) -> Mount | None:
    """Return where an absolute path lies; `None` if the table does not say.

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
        # Of two on the same point the later one lies on top.
        if covers and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), text)


def judge_storage(facts: StorageFacts) -> CheckResult:
    """Tell whether results can be stored, and outlive the process that stores them."""
    if facts.problem is not None:
        return error(
            Check.RESULT_STORAGE,
            f"Nothing can be stored in {facts.description}: {facts.problem}",
            "Correct the runtime's `result_storage`, or the rights on it.",
        )
    reason = _mortal(facts)
    if reason is not None:
        return error(
            Check.RESULT_STORAGE,
            f"Results in {facts.description} are lost with the pod or machine: {reason}.",
            "Mount a PersistentVolumeClaim there, or name another place in the runtime's "
            "`result_storage`: a folder of a volume, or a Prefect block of an object store.",
        )
    return ok(Check.RESULT_STORAGE, f"{facts.description} was written and read again.")


def _mortal(facts: StorageFacts) -> str | None:
    mount = facts.mount
    if mount is None:
        return None
    if mount.file_system in _IN_MEMORY:
        return f"{mount.point} is memory ({mount.file_system})"
    if _EMPTY_DIR in mount.root:
        return f"{mount.point} is an emptyDir"
    if facts.in_pod and mount.file_system in _OF_CONTAINERS:
        return "it is the container's own file system"
    return None


def judge_retention(runtime: RuntimeSpec, longest_outage_seconds: int) -> CheckResult:
    """Tell whether an ended agent waits for its result to be stored as long as it may have to."""
    ttl = runtime.retention.unharvested_seconds
    if ttl <= longest_outage_seconds:
        return error(
            Check.RETENTION,
            f"An ended agent's Job is deleted after {duration_text(ttl)}, but an outage may last "
            f"{duration_text(longest_outage_seconds)}: what it did would be lost.",
            "Raise the runtime's `retention.unharvested_seconds` above the longest outage.",
        )
    return ok(
        Check.RETENTION,
        f"An ended agent's Job waits {duration_text(ttl)} for its result to be stored.",
    )


def judge_prefect(facts: PrefectFacts) -> list[CheckResult]:
    """Return what was found of the Prefect API in use."""
    if facts.api_url is None:
        unread = Unread(WhyUnread.NOT_ASKED, "no Prefect API is configured.")
        advice = "Set PREFECT_API_URL; without it a temporary server forgets runs and blocks."
        checks = (Check.PREFECT_API, Check.PREFECT_VERSION, Check.PREFECT_SETTINGS)
        return [not_checked(check, unread, advice) for check in checks]
    version = facts.server_version
    if isinstance(version, Unread):
        away = error(
            Check.PREFECT_API,
            f"The Prefect API at {facts.api_url} does not answer: {version.message}",
            "Correct PREFECT_API_URL (and its credentials), or look why the server is away.",
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
            f"The Prefect server is {version}, older than {oldest}.",
            f"Upgrade it to {facts.client_version}, the version that flow runs use.",
        )
    if server < client:
        return warning(
            Check.PREFECT_VERSION,
            f"The Prefect server is {version}, older than the {facts.client_version} of flow runs.",
            "Upgrade the server first, then the flow runs' image.",
        )
    return ok(Check.PREFECT_VERSION, f"The Prefect server is {version}.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _judge_settings(facts: PrefectFacts) -> list[CheckResult]:
    found: list[CheckResult] = []
    if not facts.logs_to_api:
        found.append(
            warning(
                Check.PREFECT_SETTINGS,
                "Logs are not sent to Prefect, so that nobody sees agents at work there.",
                "Unset PREFECT_LOGGING_TO_API_ENABLED, or set it to true.",
            )
        )
    beat = facts.heartbeat_seconds
    if beat is None or beat > _HEARTBEAT_LIMIT_SECONDS:
        seldom = "never" if beat is None else f"only every {beat} s"
        found.append(
            warning(
                Check.PREFECT_SETTINGS,
                f"Flow runs say {seldom} that they are alive, so that a sweep takes live ones for "
                "dead, or dead ones for live.",
                "Set PREFECT_FLOWS_HEARTBEAT_FREQUENCY to 180 or less.",
            )
        )
    limited = ", ".join(facts.limited_deployments)
    if limited and (facts.lease_storage or "").endswith(".memory"):
        found.append(
            warning(
                Check.PREFECT_SETTINGS,
                "Deployments with a concurrency limit, while the server keeps its Leases in "
                f"memory: a restart of it crashes their runs ({limited}).",
                "Take the limit away (agents have one run at a time without it), or set "
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE to one that lasts.",
            )
        )
    return found or [ok(Check.PREFECT_SETTINGS, "Prefect's settings suit runs.")]
