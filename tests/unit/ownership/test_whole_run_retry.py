from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.agent_job.runtime_spec import WholeRunRetry
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.ownership.whole_run_retry import NextAttempt, NoMoreAttempts, plan_next_attempt
from tasks.vocabulary.error_codes import ErrorCode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = WholeRunRetry(
    codes=(ErrorCode.LLM_API_ERROR, ErrorCode.CANCELLED), max_attempts=3, delay_seconds=5
)


def ended(code: ErrorCode | None = ErrorCode.LLM_API_ERROR, **fields: Any) -> AgentRunResult:
    defaults: dict[str, Any] = {
        "agent_id": "a",
        "flow_run_id": "f",
        "attempt": 1,
        "session_id": "s-1",
        "cost_usd": 0.25,
        "message": "It ended.",
        "timings": Timings(started_at=NOW, ended_at=NOW),
        "kubernetes": KubernetesNames(namespace="n"),
    }
    return AgentRunResult(error_code=code, **{**defaults, **fields})


def test_named_code_is_answered_in_the_same_session_with_what_is_left() -> None:
    planned = plan_next_attempt(RULES, [ended(), ended(attempt=2)], 2.0)

    assert isinstance(planned, NextAttempt)
    assert (planned.delay_seconds, planned.session_id, planned.budget_usd) == (5, "s-1", 1.5)
    assert "Attempt 2 of 3 ended with llm_api_error" in planned.reason


def test_cleared_session_is_not_resumed() -> None:
    planned = plan_next_attempt(RULES, [ended(clear_session=True, cost_usd=None)], None)

    assert isinstance(planned, NextAttempt)
    assert (planned.session_id, planned.budget_usd) == (None, None)
    assert "new session" in planned.reason


@pytest.mark.parametrize(
    "results",
    [
        pytest.param([ended(None)], id="success"),
        pytest.param([ended(ErrorCode.CLAUDE_MAX_TURNS)], id="code not named"),
        pytest.param([ended(ErrorCode.CANCELLED)], id="cancelled, even if named"),
    ],
)
def test_other_endings_stand_without_a_word(results: list[AgentRunResult]) -> None:
    assert plan_next_attempt(RULES, results, None) == NoMoreAttempts()


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ([ended(), ended(), ended()], "no more attempts are allowed"),
        ([ended(attempt=3)], "no more attempts are allowed"),
        ([ended(cost_usd=None)], "cost is unknown"),
        ([ended(cost_usd=0.6), ended(attempt=2, cost_usd=0.6)], "nothing is left"),
        ([ended(attempt=2)], "cost is unknown"),
    ],
    ids=[
        "three seen",
        "others made by an earlier process",
        "unknown cost",
        "budget used up",
        "one of an earlier process, its result gone",
    ],
)
def test_named_code_without_another_attempt_says_why(
    results: list[AgentRunResult], why: str
) -> None:
    planned = plan_next_attempt(RULES, results, 1.0)

    assert isinstance(planned, NoMoreAttempts)
    assert why in (planned.reason or "")


def test_run_without_a_job_has_cost_nothing() -> None:
    planned = plan_next_attempt(RULES, [ended(attempt=None, cost_usd=None)], 1.0)

    assert isinstance(planned, NextAttempt)
    assert planned.budget_usd == 1.0


def test_unknown_session_is_answered_by_a_fresh_one_without_being_asked_for() -> None:
    unknown = ended(ErrorCode.SESSION_UNAVAILABLE, resumed=True, cost_usd=None)

    planned = plan_next_attempt(WholeRunRetry(), [unknown], 2.0)

    assert isinstance(planned, NextAttempt)
    assert (planned.delay_seconds, planned.session_id, planned.budget_usd) == (0, None, 2.0)
    assert "could not be resumed" in planned.reason
    assert "new session" in planned.reason


def test_unknown_session_is_answered_only_once() -> None:
    unknown = ended(ErrorCode.SESSION_UNAVAILABLE, resumed=True)

    planned = plan_next_attempt(WholeRunRetry(), [unknown, unknown], None)

    assert planned == NoMoreAttempts()


def test_attempt_in_an_unknown_session_does_not_count() -> None:
    unknown = ended(ErrorCode.SESSION_UNAVAILABLE, resumed=True)

    planned = plan_next_attempt(
        RULES, [unknown, ended(attempt=2, resumed=False), ended(attempt=3)], None
    )

    assert isinstance(planned, NextAttempt)
    assert "Attempt 2 of 3" in planned.reason


def test_attempts_of_another_run_cost_this_one_nothing_more() -> None:
    adopted = ended(attempt=3, reattached_from="g", cost_usd=0.5)

    planned = plan_next_attempt(RULES.model_copy(update={"max_attempts": 9}), [adopted], 2.0)

    assert isinstance(planned, NextAttempt)
    assert planned.budget_usd == 1.5


def test_session_that_ended_twice_for_its_own_reasons_is_not_resumed_again() -> None:
    rules = WholeRunRetry(codes=(ErrorCode.LLM_API_ERROR,), max_attempts=5)
    rejected = [ended(recurs_in_session=True, attempt=number) for number in (1, 2)]

    first, second = (plan_next_attempt(rules, rejected[:count], None) for count in (1, 2))

    assert isinstance(first, NextAttempt)
    assert isinstance(second, NextAttempt)
    assert (first.session_id is None, second.session_id) == (False, None)


def test_session_that_could_not_be_resumed_is_not_tried_again() -> None:
    rules = WholeRunRetry(codes=(ErrorCode.SESSION_UNAVAILABLE,), max_attempts=9)
    results = [ended(ErrorCode.SESSION_UNAVAILABLE, resumed=True, attempt=n) for n in (1, 2)]

    planned = plan_next_attempt(rules, results, None)

    assert isinstance(planned, NextAttempt)
    assert planned.session_id is None
