"""How each recorded run of Claude Code has to be judged: written by hand, before the judge was.

The recordings show stdout, stderr and exit code; the run is taken for an attempt that nobody
cancelled, in a pod whose container ended with that exit code.
"""

from typing import NamedTuple

from tasks.vocabulary.error_codes import Cause, ErrorCode


class Expected(NamedTuple):
    """The judgement of one recording; `code` is `None` for success."""

    code: ErrorCode | None
    exit_code: int
    cause: Cause | None = Cause.APP_EXIT
    clear_session: bool = False


SUCCESS = Expected(None, 0, None)
NOT_STARTED = Expected(ErrorCode.CLAUDE_START_FAILED, 1)
API_ERROR = Expected(ErrorCode.LLM_API_ERROR, 1)
LOGIN_REQUIRED = Expected(ErrorCode.CLAUDE_AUTH_REQUIRED, 1)
RATE_LIMITED = Expected(ErrorCode.CLAUDE_RATE_LIMITED, 1)
NO_OUTPUT = Expected(ErrorCode.CLAUDE_NO_OUTPUT, 0)
MAX_TURNS = Expected(ErrorCode.CLAUDE_MAX_TURNS, 1, clear_session=True)
SESSION_UNKNOWN = Expected(ErrorCode.SESSION_UNAVAILABLE, 1)
KILLED_MIDWAY = Expected(ErrorCode.CLAUDE_TRUNCATED, 137, Cause.SIGKILL)
TERMINATED_MIDWAY = Expected(ErrorCode.CLAUDE_TRUNCATED, 143, Cause.SIGTERM)
# Exit code 0, and yet the closing result was never read.
CUT_AT_EXIT_ZERO = Expected(ErrorCode.CLAUDE_TRUNCATED, 0)

RECORDED_OUTCOMES: dict[str, Expected] = {
    "api_error_500": API_ERROR,
    "append_system_prompt_file_missing": NOT_STARTED,
    "auth_401": LOGIN_REQUIRED,
    "auth_401_plain": LOGIN_REQUIRED,
    "bad_flag": NOT_STARTED,
    "bad_tool_input": SUCCESS,
    "bg_bash": SUCCESS,
    "big": SUCCESS,
    "big_sigkill_blocked_writer": KILLED_MIDWAY,
    "big_sigterm_blocked_writer": CUT_AT_EXIT_ZERO,
    "block_then_no_stop": API_ERROR,
    "connection_refused": API_ERROR,
    # No code is about billing, and logging in does not help: the API refused with a 400.
    "credit_400": API_ERROR,
    "cut_after_block": API_ERROR,
    "cut_after_block_retries_0": API_ERROR,
    "cut_eof": API_ERROR,
    "cut_midrun": API_ERROR,
    "cut_once_after_block": SUCCESS,
    "cut_rst": API_ERROR,
    "empty_text": NO_OUTPUT,
    "flaky_500_then_ok": SUCCESS,
    "forbidden_403": LOGIN_REQUIRED,
    "hang_timeout": API_ERROR,
    "hooks": SUCCESS,
    # Not stream-json, but its one line is a whole result event.
    "json_format_error": LOGIN_REQUIRED,
    # Exit code 0 with a result that is an error: interrupted.
    "killed_sigint_midstream": Expected(ErrorCode.CLAUDE_FAILED, 0),
    "killed_sigkill_after_init": Expected(ErrorCode.CLAUDE_INIT_FAILED, 137, Cause.SIGKILL),
    "killed_sigkill_after_tools": KILLED_MIDWAY,
    "killed_sigkill_before_init": Expected(ErrorCode.CLAUDE_START_FAILED, 137, Cause.SIGKILL),
    "killed_sigkill_during_tool": KILLED_MIDWAY,
    "killed_sigkill_midstream": KILLED_MIDWAY,
    "killed_sigterm_during_tool": TERMINATED_MIDWAY,
    "killed_sigterm_midstream": TERMINATED_MIDWAY,
    "large_stdin_prompt": SUCCESS,
    "max_budget": Expected(ErrorCode.CLAUDE_MAX_BUDGET, 1),
    "max_retries_0_500": API_ERROR,
    "max_turns": MAX_TURNS,
    "max_turns_3": MAX_TURNS,
    "no_prompt_stdin_null": NOT_STARTED,
    "not_logged_in": LOGIN_REQUIRED,
    "oauth_401": LOGIN_REQUIRED,
    "oauth_rate_limit_event_warning": SUCCESS,
    "oauth_usage_limit_429_plain": RATE_LIMITED,
    "ok": SUCCESS,
    "options": SUCCESS,
    "options_model_full": SUCCESS,
    "overloaded_529": API_ERROR,
    "parallel_tools": SUCCESS,
    "partial_messages": SUCCESS,
    "rate_limit_429_default_retries": RATE_LIMITED,
    "resume_after_api_error": SUCCESS,
    "resume_after_sigkill_init": SESSION_UNKNOWN,
    "resume_after_sigkill_tools": SUCCESS,
    "resume_after_sigterm": SUCCESS,
    "resume_not_persisted": SESSION_UNKNOWN,
    "resume_ok": SUCCESS,
    "resume_other_cwd": SUCCESS,
    "resume_unknown": SESSION_UNKNOWN,
    # Resumed well, then the API failed: the session stays.
    "resume_with_api_error": API_ERROR,
    "root_no_skip_flag": SUCCESS,
    "root_without_is_sandbox": NOT_STARTED,
    "session_id_in_use": NOT_STARTED,
    "session_id_invalid": NOT_STARTED,
    "start_only": API_ERROR,
    "stdout_closed": CUT_AT_EXIT_ZERO,
    "subagent": SUCCESS,
    # Plain text on stdout, so Claude did print; but no event, so nothing more is known.
    "text_format_error": Expected(ErrorCode.CLAUDE_FAILED, 1),
    "tools": SUCCESS,
    "tools_flag_read_only": SUCCESS,
    "unified_warning": SUCCESS,
    "unknown_tool": SUCCESS,
    "usage_limit_429": RATE_LIMITED,
    "usage_limit_429_plain": RATE_LIMITED,
    "variadic_flag_swallows_prompt": NOT_STARTED,
    "zero_tokens": NO_OUTPUT,
}
