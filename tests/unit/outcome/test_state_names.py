from pathlib import Path

import pytest

from tasks.outcome.state_names import STATE_NAMES, state_name
from tasks.vocabulary.error_codes import Cause, ErrorCode


def test_every_code_has_a_state_name() -> None:
    assert set(STATE_NAMES) == set(ErrorCode)


@pytest.mark.parametrize(
    ("code", "cause", "expected"),
    [
        (ErrorCode.TIMEOUT, Cause.DEADLINE_EXCEEDED, "TimedOut"),
        (ErrorCode.CLAUDE_TRUNCATED, Cause.OOM_KILLED, "OOM killed"),
        (ErrorCode.CLAUDE_TRUNCATED, Cause.SIGKILL, "Truncated"),
        (ErrorCode.CLAUDE_TRUNCATED, None, "Truncated"),
        (ErrorCode.CLAUDE_MAX_TURNS, Cause.OOM_KILLED, "Max turns reached"),
        (ErrorCode.CONCURRENT_RUN_BLOCKED, None, "Blocked"),
    ],
)
def test_state_is_named_after_cause_only_where_that_says_more(
    code: ErrorCode, cause: Cause | None, expected: str
) -> None:
    assert state_name(code, cause) == expected


def test_every_code_is_in_the_reference() -> None:
    reference = Path(__file__).parents[3] / "deployments" / "reference.md"
    text = reference.read_text(encoding="utf-8")

    assert [code for code in ErrorCode if f"`{code}`" not in text] == []
