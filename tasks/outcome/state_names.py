"""The name of each ending in Prefect's run list."""

from tasks.vocabulary.error_codes import Cause, ErrorCode

# A successful flow run keeps Prefect's own state name; reports use this plainer word.
SUCCEEDED = "Succeeded"

STATE_NAMES: dict[ErrorCode, str] = {
    ErrorCode.INPUT_INVALID: "Invalid input",
    ErrorCode.PROMPT_TOO_LARGE: "Prompt too large",
    ErrorCode.AGENT_ID_INVALID: "Invalid agent id",
    ErrorCode.CONCURRENCY_GUARD_UNREACHABLE: "Guard unreachable",
    ErrorCode.CONCURRENT_RUN_BLOCKED: "Blocked",
    ErrorCode.ORPHAN_TASK_UNKNOWN: "Blocked",
    ErrorCode.ORPHAN_SESSION_MISMATCH: "Blocked",
    ErrorCode.PROMPT_SECRET_CREATE_FAILED: "Secret not created",
    ErrorCode.JOB_CREATE_FAILED: "Job not created",
    ErrorCode.POD_SCHEDULE_FAILED: "Pod not started",
    ErrorCode.POD_REATTACH_FAILED: "Pod not found again",
    ErrorCode.JOB_STATE_MISMATCH: "Job state unclear",
    ErrorCode.JOB_DELETED_EXTERNALLY: "Job deleted",
    ErrorCode.CLAUDE_START_FAILED: "Claude did not start",
    ErrorCode.CLAUDE_INIT_FAILED: "Claude did not answer",
    ErrorCode.CLAUDE_TRUNCATED: "Truncated",
    ErrorCode.CLAUDE_FAILED: "Claude failed",
    ErrorCode.CLAUDE_NO_OUTPUT: "No output",
    ErrorCode.CLAUDE_OUTPUT_INVALID: "Invalid output",
    ErrorCode.CLAUDE_MAX_TURNS: "Max turns reached",
    ErrorCode.CLAUDE_MAX_BUDGET: "Budget used up",
    ErrorCode.CLAUDE_AUTH_REQUIRED: "Login required",
    ErrorCode.CLAUDE_RATE_LIMITED: "Rate limited",
    ErrorCode.CLAUDE_REFUSED: "Refused",
    ErrorCode.CLAUDE_PROMPT_TOO_LONG: "Prompt too long",
    ErrorCode.LLM_API_ERROR: "Model API error",
    ErrorCode.SESSION_UNAVAILABLE: "Session unavailable",
    ErrorCode.CHECK_FAILED: "Check failed",
    ErrorCode.NO_CHANGES: "No changes",
    ErrorCode.WORK_NOT_DELIVERED: "Work not delivered",
    # Prefect's own name, so that filters and automations for timeouts find it.
    ErrorCode.TIMEOUT: "TimedOut",
    ErrorCode.CANCELLED: "Cancelled",
    ErrorCode.STALLED: "Stalled",
}

_CAUSE_NAMES: dict[Cause, str] = {
    Cause.OOM_KILLED: "OOM killed",
    Cause.HEAP_EXHAUSTED: "Out of heap",
    Cause.EVICTED: "Evicted",
    Cause.POD_REPLACED: "Pod deleted",
    Cause.PREEMPTED: "Preempted",
    Cause.NODE_LOST: "Node lost",
}

# For these codes the cause explains more than the code does.
_NAMED_BY_CAUSE = frozenset(
    {
        ErrorCode.CLAUDE_FAILED,
        ErrorCode.CLAUDE_INIT_FAILED,
        ErrorCode.CLAUDE_START_FAILED,
        ErrorCode.CLAUDE_TRUNCATED,
    }
)


def state_name(code: ErrorCode, cause: Cause | None) -> str:
    """Return the name of the Prefect state for an ending; never empty."""
    named = _CAUSE_NAMES.get(cause) if cause is not None else None
    return named if named is not None and code in _NAMED_BY_CAUSE else STATE_NAMES[code]
