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
    CLAUDE_OUTPUT_INVALID = "claude_output_invalid"
    CLAUDE_MAX_TURNS = "claude_max_turns"
    CLAUDE_MAX_BUDGET = "claude_max_budget"
    CLAUDE_AUTH_REQUIRED = "claude_auth_required"
    CLAUDE_RATE_LIMITED = "claude_rate_limited"
    CLAUDE_REFUSED = "claude_refused"
    CLAUDE_PROMPT_TOO_LONG = "claude_prompt_too_long"
    LLM_API_ERROR = "llm_api_error"
    SESSION_UNAVAILABLE = "session_unavailable"

    CHECK_FAILED = "check_failed"
    NO_CHANGES = "no_changes"
    WORK_NOT_DELIVERED = "work_not_delivered"

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    STALLED = "stalled"


class Cause(StrEnum):
    """What ended the agent's container, in the cluster's own words where it has them."""

    OOM_KILLED = "OOMKilled"
    HEAP_EXHAUSTED = "HeapExhausted"
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
    Cause.OOM_KILLED: "the container used too much memory, and the kernel killed it",
    Cause.HEAP_EXHAUSTED: "Claude Code used up the memory that Node.js gives it, and aborted",
    Cause.SIGKILL: "the agent's process was killed (signal 9)",
    Cause.SIGTERM: "the agent's process was asked to stop (signal 15)",
    Cause.EVICTED: "the cluster evicted the pod from its node",
    Cause.POD_REPLACED: "the pod was deleted while its agent worked, and another one never gets "
    "the prompt",
    Cause.PREEMPTED: "the pod was removed to make room for work with a higher priority",
    Cause.NODE_LOST: "the node was removed or no longer answers",
    Cause.DEADLINE_EXCEEDED: "a time limit was reached",
    Cause.IMAGE_PULL: "the container image could not be pulled",
    Cause.UNSCHEDULABLE: "no node or queue had room for the pod, or no node matched its rules",
    Cause.CONFIG_ERROR: "something that the pod needs is invalid or missing",
    Cause.APP_EXIT: "the process exited by itself; the cluster did nothing to it",
    Cause.JOB_DELETED: "somebody or something deleted the Job",
    Cause.UNKNOWN: "nothing that could be read shows what ended it",
}
