"""How the cells of `ending_matrix.txt` are spelt, and why some pairs cannot happen."""

from tasks.outcome.reasons import Reason
from tasks.vocabulary.error_codes import Cause, ErrorCode

REASONS = {
    "AE": Reason.API_UNAVAILABLE,
    "AL": Reason.API_LOST,
    "CL": Reason.CLOSING_RESULT_LOST,
    "ER": Reason.ENDED_AFTER_RESULT,
    "JD": Reason.JOB_DELETED,
    "LL": Reason.LINES_LOST,
    "MT": Reason.MAX_TURNS,
    "NA": Reason.NO_ANSWER,
    "NO": Reason.NO_STDOUT,
    "NR": Reason.NEVER_RAN,
    "OK": Reason.SUCCESS,
    "SU": Reason.START_UP_ONLY,
    "SX": Reason.SESSION_UNKNOWN,
    "TO": Reason.TIMEOUT,
    "TR": Reason.NO_RESULT,
    "XR": Reason.EXIT_AFTER_RESULT,
    "XU": Reason.EXIT_UNREADABLE,
}
CODES = {
    Reason.API_UNAVAILABLE: ErrorCode.LLM_API_ERROR,
    Reason.API_LOST: ErrorCode.JOB_STATE_MISMATCH,
    Reason.CLOSING_RESULT_LOST: ErrorCode.CLAUDE_TRUNCATED,
    Reason.ENDED_AFTER_RESULT: ErrorCode.CLAUDE_TRUNCATED,
    Reason.EXIT_AFTER_RESULT: ErrorCode.CLAUDE_FAILED,
    Reason.EXIT_UNREADABLE: ErrorCode.CLAUDE_FAILED,
    Reason.JOB_DELETED: ErrorCode.JOB_DELETED_EXTERNALLY,
    Reason.LINES_LOST: ErrorCode.CLAUDE_TRUNCATED,
    Reason.MAX_TURNS: ErrorCode.CLAUDE_MAX_TURNS,
    Reason.NEVER_RAN: ErrorCode.POD_SCHEDULE_FAILED,
    Reason.NO_ANSWER: ErrorCode.CLAUDE_NO_OUTPUT,
    Reason.NO_RESULT: ErrorCode.CLAUDE_TRUNCATED,
    Reason.NO_STDOUT: ErrorCode.CLAUDE_START_FAILED,
    Reason.SESSION_UNKNOWN: ErrorCode.SESSION_UNAVAILABLE,
    Reason.START_UP_ONLY: ErrorCode.CLAUDE_INIT_FAILED,
    Reason.SUCCESS: None,
    Reason.TIMEOUT: ErrorCode.TIMEOUT,
}
CAUSES = {
    "": None,
    "app": Cause.APP_EXIT,
    "ddl": Cause.DEADLINE_EXCEEDED,
    "del": Cause.JOB_DELETED,
    "evi": Cause.EVICTED,
    "kil": Cause.SIGKILL,
    "nod": Cause.NODE_LOST,
    "oom": Cause.OOM_KILLED,
    "pre": Cause.PREEMPTED,
    "rep": Cause.POD_REPLACED,
    "trm": Cause.SIGTERM,
    "unk": Cause.UNKNOWN,
}

ANY = None
_NEVER_RAN = "a container that never ran has printed nothing"
_TRAILER = "the trailer that tells of the lost line tells the exit code too"
_WAITED_FOR = "of a pod that is there, the container's end is waited for"
# Ending, stream, what the API shows; and why they never meet.
IMPOSSIBLE: list[tuple[str, str | None, str | None, str]] = [
    *(
        ("never ran", stream, ANY, _NEVER_RAN)
        for stream in (
            "start-up",
            "working",
            "answer",
            "went on",
            "empty",
            "API error",
            "max turns",
            "no session",
            "lost",
        )
    ),
    ("unseen", "lost", ANY, _TRAILER),
    ("made up", "lost", ANY, _TRAILER),
    ("unseen", ANY, "Job and pod", _WAITED_FOR),
]
