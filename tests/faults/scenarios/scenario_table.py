"""Every recorded scenario as faults of the embedded cluster, and how our run must end in it."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tasks.vocabulary.error_codes import Cause, ErrorCode


class When(Enum):
    """The moment of an act, as the API shows it."""

    POD_THERE = auto()
    AGENT_RUNNING = auto()


@dataclass(frozen=True)
class Act:
    """One call that disturbs a run; `{namespace}`, `{job}` and `{pod}` are filled in.

    Attributes:
        deletes_job: Somebody else deletes the run's Job by it.
    """

    when: When
    method: str
    path: str
    body: dict[str, Any]
    after_seconds: float = 0.0
    deletes_job: bool = False


class Chance(Enum):
    """What depends on who is quicker, and may be either way."""

    EITHER = auto()


@dataclass(frozen=True)
class Scenario:
    """One row: the recorded case of that name, and our ending.

    Attributes:
        because: Why ours is at least as good as the recorded ending.
        lines: How many lines must be delivered; None for all that the recorded container prints.
        complete: Whether that these are all lines is proven.
        runtime: More fields of the runtime.
        timeout_seconds: The agent's limit, where the recorded one would come first.
        rules: Faults that are there before the run begins; their namespace is filled in.
        late_status_seconds: How long ended containers are still reported as running.
        is_never_met: The run makes none of the calls that would fail.
        quick: It is of the slice.
    """

    case: str
    because: str
    code: ErrorCode | None = None
    cause: Cause | None = None
    exit_code: int | Chance | None = 0
    lines: int | None = None
    complete: bool | Chance = True
    runtime: dict[str, Any] = field(default_factory=dict[str, Any])
    timeout_seconds: int | None = None
    rules: tuple[dict[str, Any], ...] = ()
    acts: tuple[Act, ...] = ()
    late_status_seconds: float = 0.0
    is_never_met: bool = False
    quick: bool = False


_SAME = "the same ending"
_RETRIED = "a call that fails once is made again, where the recorded run failed or hung"
_EACH_TIME = None
_POD = "/api/v1/namespaces/{namespace}/pods/{pod}"
_JOB = "/apis/batch/v1/namespaces/{namespace}/jobs/{job}"
# The recorded agents end 1.5 s after their start.
_ENDED_SECONDS = 4.0
_UNREPORTED_SECONDS = 10.0
_LATE = {"image_pull_backoff_seconds": 1, "completion_grace_seconds": 2}


def _refused(
    verb: str, resource: str, status: int, times: int | None = _EACH_TIME
) -> dict[str, Any]:
    return {
        "match": {"verb": verb, "resource": resource},
        "times": times,
        "do": {"status": status, "message": f"{verb} {status}"},
    }


def _action(when: When, do: str, name: str, *, after_seconds: float = 0.0, **fields: Any) -> Act:
    body = {"do": do, "namespace": "{namespace}", "name": name, **fields}
    deletes_job = do == "delete-job"
    return Act(when, "POST", "/_faults/actions", body, after_seconds, deletes_job)


def _after_end(do: str, name: str, **fields: Any) -> Act:
    """Do it when the agent has ended, which its node has not reported yet."""
    return _action(When.AGENT_RUNNING, do, name, after_seconds=_ENDED_SECONDS, **fields)


def _rules(when: When, *rules: dict[str, Any], after_seconds: float = 0.0) -> Act:
    return Act(when, "POST", "/_faults", {"rules": list(rules)}, after_seconds)


def _failed_reads(count: int, effect: dict[str, Any]) -> tuple[Act, ...]:
    """Break the watch of the Job at work, so that it is read again, and let those reads fail."""
    # The agent's work goes on for four seconds from here.
    cut = {"stream": {"afterSeconds": 0.5, "end": "cut"}}
    return (
        _rules(
            When.POD_THERE,
            {"match": {"verb": "watch", "resource": "jobs"}, "do": cut},
            {"match": {"verb": "list", "resource": "jobs"}, "times": count, "do": effect},
            {"match": {"verb": "get", "resource": "jobs"}, "times": count, "do": effect},
        ),
    )


_GUARD = (
    Scenario(
        "concurrency guard: listing Jobs answers 500",
        _SAME,
        ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        exit_code=None,
        lines=0,
        rules=(_refused("list", "jobs", 500),),
    ),
    Scenario(
        "concurrency guard: listing Jobs answers 404",
        _SAME,
        ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        exit_code=None,
        lines=0,
        rules=(_refused("list", "jobs", 404),),
    ),
    Scenario(
        "concurrency guard: listing Jobs answers 403",
        _SAME,
        ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        exit_code=None,
        lines=0,
        rules=(_refused("list", "jobs", 403),),
        quick=True,
    ),
    Scenario(
        "orphan running and reattach disabled",
        _SAME,
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        exit_code=None,
        lines=0,
    ),
    Scenario(
        "orphan without task label",
        _SAME,
        ErrorCode.ORPHAN_TASK_UNKNOWN,
        exit_code=None,
        lines=0,
        quick=True,
    ),
    Scenario(
        "orphan of the same task, other session",
        _SAME,
        ErrorCode.ORPHAN_SESSION_MISMATCH,
        exit_code=None,
        lines=0,
    ),
    Scenario(
        "a Job of this very run is already running",
        "the run goes on with its own Job, where the recorded one blocked itself",
    ),
    Scenario("orphan being deleted is ignored", "it is waited for, so that two agents never live"),
    Scenario(
        "condition with status False does not count as finished",
        _SAME,
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        exit_code=None,
        lines=0,
    ),
    Scenario("reattach: live orphan of the same task finishes well", _SAME, quick=True),
    Scenario("reattach: same session label is rewritten", _SAME),
)

_CREATE = (
    Scenario(
        "creating the Job answers 409",
        _SAME,
        ErrorCode.JOB_CREATE_FAILED,
        exit_code=None,
        lines=0,
        rules=(_refused("create", "jobs", 409),),
    ),
    Scenario(
        "creating the Job answers 500",
        _SAME,
        ErrorCode.JOB_CREATE_FAILED,
        exit_code=None,
        lines=0,
        rules=(_refused("create", "jobs", 500),),
    ),
    Scenario(
        "large prompt: owner reference refused",
        "the run's Secret is born with its owner and never patched",
        rules=(_refused("patch", "secrets", 403),),
        is_never_met=True,
        quick=True,
    ),
)

_POD_WAIT = (
    Scenario(
        "pod unschedulable for 1 s, then runs",
        "it is waited for, where the recorded run gave up and deleted the Job",
        runtime={"node_selector": {"for": "{namespace}"}},
        acts=(
            Act(
                When.POD_THERE,
                "PATCH",
                "/api/v1/nodes/{node}",
                {"metadata": {"labels": {"for": "{namespace}"}}},
                after_seconds=1.0,
            ),
        ),
        quick=True,
    ),
    Scenario(
        "pod in phase Failed at once",
        # The kubelet refuses the log, so that it is not known whether anything was printed.
        "the cause is named, and nothing is deleted that has run",
        ErrorCode.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
        exit_code=137,
        lines=0,
        runtime={"limits": _LATE},
    ),
    Scenario(
        "pod in phase Failed with no container status",
        _SAME,
        ErrorCode.POD_SCHEDULE_FAILED,
        Cause.UNKNOWN,
        exit_code=None,
        lines=0,
        runtime={"limits": _LATE},
    ),
    Scenario(
        "init container image cannot be pulled",
        "the same ending, with its cause",
        ErrorCode.POD_SCHEDULE_FAILED,
        Cause.IMAGE_PULL,
        exit_code=None,
        lines=0,
        runtime={"limits": _LATE},
    ),
    Scenario(
        "main image cannot be pulled",
        "the same ending, with its cause",
        ErrorCode.POD_SCHEDULE_FAILED,
        Cause.IMAGE_PULL,
        exit_code=None,
        lines=0,
        runtime={"limits": _LATE},
        quick=True,
    ),
    Scenario(
        "main container crash loop",
        "no pod of ours is restarted; what is reported all the same ends by the starting limit",
        ErrorCode.POD_SCHEDULE_FAILED,
        Cause.CONFIG_ERROR,
        exit_code=None,
        lines=0,
        runtime={"limits": {"start_seconds": 3}},
    ),
    Scenario("any other waiting reason is waited for", _SAME),
    Scenario("phase Pending but init done and main running", _SAME),
    Scenario(
        "one failed pod listing while waiting for the pod",
        _RETRIED,
        rules=(_refused("list", "pods", 500, 1),),
        quick=True,
    ),
)

_CONTAINER = (
    Scenario(
        "exit 1 although the result says success",
        "the same, under a code",
        ErrorCode.CLAUDE_FAILED,
        Cause.APP_EXIT,
        exit_code=1,
    ),
    Scenario(
        "exit 0 with error result",
        "an error is an error whatever the exit code says",
        ErrorCode.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    Scenario(
        "deadline exceeded by the cluster",
        "the same ending, with its cause",
        ErrorCode.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
        exit_code=143,
        timeout_seconds=600,
        acts=(
            Act(
                When.AGENT_RUNNING,
                "PATCH",
                _JOB,
                {"spec": {"activeDeadlineSeconds": 1}},
                after_seconds=0.5,
            ),
        ),
    ),
    Scenario(
        "Job never ends: own time limit plus grace",
        "the agent is ended in its pod, where the recorded run deleted a live Job",
        ErrorCode.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
        exit_code=124,
        quick=True,
    ),
    Scenario(
        "session unknown to Claude, exit 1",
        "the recorded lines hold an init event, so a session had begun",
        ErrorCode.CLAUDE_FAILED,
        Cause.APP_EXIT,
        exit_code=1,
    ),
    Scenario(
        "turn limit reached, exit 0",
        "an error is an error whatever the exit code says",
        ErrorCode.CLAUDE_MAX_TURNS,
        Cause.APP_EXIT,
    ),
    Scenario(
        "init only, exit 1",
        "the same, under a code",
        ErrorCode.CLAUDE_INIT_FAILED,
        Cause.APP_EXIT,
        exit_code=1,
    ),
    Scenario(
        "plain error text, exit 1",
        "the same, under a code; the line comes once",
        ErrorCode.CLAUDE_FAILED,
        Cause.APP_EXIT,
        exit_code=1,
    ),
    Scenario(
        "no output at all, exit 127",
        "the same, under a code",
        ErrorCode.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
        exit_code=127,
        quick=True,
    ),
    Scenario(
        "cut off by memory limit, pod removed slowly after cleanup",
        "the same ending, with its cause",
        ErrorCode.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
        exit_code=137,
        quick=True,
    ),
    Scenario(
        "cut off by memory limit, pod removed at once after cleanup",
        "the cause is known before anything is cleared away",
        ErrorCode.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
        exit_code=137,
        runtime={"retention": {"keep": "never"}},
    ),
    Scenario(
        "cut off, container state arrives 1 s after the phase",
        "the late state is waited for",
        ErrorCode.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
        exit_code=137,
        late_status_seconds=4.5,
    ),
)

_GONE = (
    Scenario(
        "result printed but pod gone before its exit code is read",
        "the exit code stands in the trailer",
        acts=(_after_end("delete-pod", "{pod}", graceSeconds=0),),
        late_status_seconds=_UNREPORTED_SECONDS,
    ),
    Scenario(
        "no container status in the finished pod",
        "the exit code stands in the trailer",
        acts=(
            Act(
                When.AGENT_RUNNING,
                "PATCH",
                f"{_POD}/status",
                {"status": {"phase": "Succeeded", "containerStatuses": None}},
                after_seconds=_ENDED_SECONDS,
            ),
        ),
        late_status_seconds=_UNREPORTED_SECONDS,
    ),
    Scenario("Job kept for debugging", _SAME, quick=True),
    Scenario(
        "Job removed by its time to live right after the end",
        _SAME,
        acts=(_after_end("delete-job", "{job}", propagationPolicy="Orphan"),),
        late_status_seconds=_UNREPORTED_SECONDS,
    ),
    Scenario(
        "Job removed by its time to live, pod gone as well",
        "what the agent has done is known from its trailer, where the recorded run lost it",
        acts=(
            _after_end("delete-job", "{job}", propagationPolicy="Orphan"),
            _action(When.AGENT_RUNNING, "delete-pod", "{pod}", graceSeconds=0),
        ),
        late_status_seconds=_UNREPORTED_SECONDS,
    ),
    Scenario(
        "Job deleted by someone mid-run, content printed, pod lingers",
        "who ended the agent is named",
        ErrorCode.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
        exit_code=143,
        acts=(_action(When.AGENT_RUNNING, "delete-job", "{job}", after_seconds=1.0),),
        quick=True,
    ),
    Scenario(
        "Job deleted by someone mid-run, content printed, pod gone",
        _SAME,
        ErrorCode.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
        exit_code=Chance.EITHER,
        complete=Chance.EITHER,
        acts=(
            _action(
                When.AGENT_RUNNING,
                "delete-job",
                "{job}",
                propagationPolicy="Orphan",
                after_seconds=1.0,
            ),
            _action(When.AGENT_RUNNING, "delete-pod", "{pod}", graceSeconds=0),
        ),
    ),
)

_READS = (
    Scenario("one failed Job read", _RETRIED, acts=_failed_reads(1, {"status": 500}), quick=True),
    Scenario("two failed Job reads in a row", _RETRIED, acts=_failed_reads(2, {"status": 500})),
    Scenario("one Job read answered 429", _RETRIED, acts=_failed_reads(1, {"status": 429})),
    Scenario("one Job read reset", _RETRIED, acts=_failed_reads(1, {"drop": True})),
    Scenario(
        "last line has no line end",
        "the last line is delivered like any other, where the recorded run lost it",
        quick=True,
    ),
    Scenario("session parameters carry the workspace", _SAME),
)

TABLE = (*_GUARD, *_CREATE, *_POD_WAIT, *_CONTAINER, *_GONE, *_READS)
