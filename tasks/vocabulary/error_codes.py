"""The closed list of how a run can end, and of what ended it.

A code says *which* ending it was and is what callers match; a cause says what did it and is named
only where a fact supports it.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Every way a run can end without success."""

    INPUT_INVALID = "input_invalid"
    PROMPT_TOO_LARGE = "prompt_too_large"
    AGENT_ID_INVALID = "k8s_agent_id_invalid"

    CONCURRENCY_GUARD_UNREACHABLE = "k8s_concurrency_guard_unreachable"
    CONCURRENT_RUN_BLOCKED = "k8s_concurrent_run_blocked"
    ORPHAN_TASK_UNKNOWN = "k8s_orphan_task_unknown"
    ORPHAN_SESSION_MISMATCH = "k8s_orphan_session_mismatch"

    PROMPT_SECRET_CREATE_FAILED = "k8s_prompt_secret_create_failed"
    JOB_CREATE_FAILED = "k8s_job_create_failed"

    POD_SCHEDULE_FAILED = "k8s_pod_schedule_failed"
    POD_REATTACH_FAILED = "k8s_pod_reattach_failed"

    JOB_STATE_MISMATCH = "k8s_job_state_mismatch"
    JOB_DELETED_EXTERNALLY = "k8s_job_deleted_externally"

    CLAUDE_START_FAILED = "claude_start_failed"
    CLAUDE_INIT_FAILED = "claude_init_failed"
    CLAUDE_TRUNCATED = "claude_truncated"
    CLAUDE_FAILED = "claude_failed"
    CLAUDE_NO_OUTPUT = "claude_no_output"
    CLAUDE_MAX_TURNS = "claude_max_turns"
    CLAUDE_MAX_BUDGET = "claude_max_budget"
    CLAUDE_AUTH_REQUIRED = "claude_auth_required"
    CLAUDE_RATE_LIMITED = "claude_rate_limited"
    CLAUDE_REFUSED = "claude_refused"
    CLAUDE_PROMPT_TOO_LONG = "claude_prompt_too_long"
    LLM_API_ERROR = "llm_api_error"
    SESSION_UNAVAILABLE = "session_unavailable"

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    STALLED = "stalled"


class Cause(StrEnum):
    """What ended the agent's container, in the cluster's own words where it has them."""

    OOM_KILLED = "OOMKilled"
    SIGKILL = "SIGKILL"
    SIGTERM = "SIGTERM"
    EVICTED = "Evicted"
    POD_REPLACED = "PodReplaced"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    CONFIG_ERROR = "ConfigError"
    APP_EXIT = "AppExit"
    JOB_DELETED = "JobDeleted"
    UNKNOWN = "Unknown"


CAUSE_MEANINGS: dict[Cause, str] = {
    Cause.OOM_KILLED: "the container used more memory than it may, and the kernel killed it",
    Cause.SIGKILL: "the agent's process was killed (signal 9)",
    Cause.SIGTERM: "the agent's process was asked to end (signal 15)",
    Cause.EVICTED: "the node put the pod out to save its own memory or disk",
    Cause.POD_REPLACED: "the pod went away while it worked, and the Job made another one",
    Cause.PREEMPTED: "the pod had to make room for one of higher priority",
    Cause.NODE_LOST: "the node went away, or does not answer any more",
    Cause.DEADLINE_EXCEEDED: "the time that the Job may take was up",
    Cause.IMAGE_PULL: "the container image could not be pulled",
    Cause.UNSCHEDULABLE: "no node had room for the pod or was allowed to take it",
    Cause.CONFIG_ERROR: "the pod refers to something that is wrong or does not exist",
    Cause.APP_EXIT: "the agent's process ended by itself; the cluster did as it should",
    Cause.JOB_DELETED: "somebody or something deleted the Job",
    Cause.UNKNOWN: "nothing that could be read says what ended it",
}
