"""The endings of a run, as the rows of the precedence table tell them apart."""

from enum import StrEnum, auto


class Reason(StrEnum):
    """The ending that a row of the precedence table describes; several may share a code."""

    STAGE = auto()
    CANCELLED = auto()
    TIMEOUT = auto()
    STALLED = auto()
    JOB_DELETED = auto()
    PREEMPTED_BY_QUEUE = auto()
    API_REFUSED = auto()
    API_LOST = auto()
    REVOKED = auto()
    # What the result shows.
    CLOSING_RESULT_LOST = auto()
    CLOSING_RESULT_TORN = auto()
    ENDED_AFTER_RESULT = auto()
    SESSION_UNKNOWN = auto()
    MAX_TURNS = auto()
    MAX_BUDGET = auto()
    PROMPT_TOO_LONG = auto()
    REFUSED = auto()
    LOGIN = auto()
    RATE_LIMITED = auto()
    BILLING = auto()
    MODEL_UNKNOWN = auto()
    OUTPUT_LIMIT = auto()
    CONNECTION = auto()
    API_REJECTED = auto()
    API_UNAVAILABLE = auto()
    API_FAILED = auto()
    OUTPUT_INVALID = auto()
    HOOK_STOPPED = auto()
    TOOL_DEFERRED = auto()
    ABORTED = auto()
    ERROR_RESULT = auto()
    UNFINISHED = auto()
    EXIT_UNREADABLE = auto()
    EXIT_AFTER_RESULT = auto()
    ERROR_UNSAID = auto()
    ANSWERED_BY_CLI = auto()
    NO_ANSWER = auto()
    CHECK_UNKNOWN = auto()
    CHECK_TIMED_OUT = auto()
    CHECK_FAILED = auto()
    NO_CHANGES = auto()
    WORK_NOT_DELIVERED = auto()
    WORK_NOT_PUBLISHED = auto()
    SUCCESS = auto()
    # No result.
    NEVER_RAN = auto()
    LINES_LOST = auto()
    EMPTY_MODEL_ANSWER = auto()
    BAD_INPUT = auto()
    NO_STDOUT = auto()
    NO_RESULT = auto()
    START_UP_ONLY = auto()
    UNMATCHED = auto()


# Endings after the agent's own success.
OF_THE_CHECK = frozenset({Reason.CHECK_UNKNOWN, Reason.CHECK_TIMED_OUT, Reason.CHECK_FAILED})
OF_THE_WORK = frozenset({Reason.NO_CHANGES, Reason.WORK_NOT_DELIVERED, Reason.WORK_NOT_PUBLISHED})
