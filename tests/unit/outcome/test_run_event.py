from datetime import UTC, datetime

import pytest

from tasks.outcome.run_event import build_run_event
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings, WorkResult
from tasks.vocabulary.error_codes import Cause, ErrorCode

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
RESULT = AgentRunResult(
    agent_id="reviewer",
    flow_run_id="f1",
    message="It ended.",
    cost_usd=0.5,
    timings=Timings(started_at=NOW, ended_at=NOW),
    kubernetes=KubernetesNames(namespace="agents"),
)


@pytest.mark.parametrize(
    ("code", "name", "outcome"),
    [
        (None, "claude-jobs.run.succeeded", "Succeeded"),
        (ErrorCode.CANCELLED, "claude-jobs.run.cancelled", "Cancelled"),
        (ErrorCode.CLAUDE_AUTH_REQUIRED, "claude-jobs.run.failed", "Login required"),
    ],
)
def test_event_is_named_after_the_ending(code: ErrorCode | None, name: str, outcome: str) -> None:
    event = build_run_event(RESULT.model_copy(update={"error_code": code}))

    assert (event.name, event.resource["claude-jobs.outcome"]) == (name, outcome)


def test_event_is_about_the_agent_and_carries_code_and_cause_to_match() -> None:
    event = build_run_event(
        RESULT.model_copy(
            update={
                "error_code": ErrorCode.CLAUDE_TRUNCATED,
                "cause": Cause.OOM_KILLED,
                "advice": "Raise the limit.",
                "check_first": "the limit",
                "observed": (("Exit code", "137"), ("Pod", "agent-x")),
            }
        )
    )

    assert event.resource == {
        "prefect.resource.id": "claude-jobs.agent.reviewer",
        "prefect.resource.name": "reviewer",
        "claude-jobs.outcome": "OOM killed",
        "claude-jobs.code": "claude_truncated",
        "claude-jobs.cause": "OOMKilled",
        "claude-jobs.namespace": "agents",
    }
    assert event.payload["message"] == "It ended."
    assert event.payload["advice"] == "Raise the limit."
    assert event.payload["check_first"] == "the limit"
    assert event.payload["observed"] == {"Exit code": "137", "Pod": "agent-x"}
    assert event.payload["cost_usd"] == 0.5
    assert event.payload["work"] is None


def test_event_carries_how_much_was_changed_and_no_name_that_the_agent_chose() -> None:
    work = WorkResult(
        collected=True, branch="fix", commits=1, files_changed=2, insertions=3, deletions=4
    )

    event = build_run_event(RESULT.model_copy(update={"work": work}))

    assert event.payload["work"] == {
        "collected": True,
        "work_commit": None,
        "commits": 1,
        "files_changed": 2,
        "insertions": 3,
        "deletions": 4,
    }
