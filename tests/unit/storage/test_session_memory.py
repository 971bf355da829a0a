"""Which session a run goes on in that names none."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.agent_job.prepared_run import PreparedRun
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.storage.session_memory import (
    RememberedSession,
    SessionMemory,
    clear_recurring,
    recall,
    remember,
    remembers_sessions,
)
from tests.unit.agent_job.run_inputs import make_run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEPT = {"home_claim": "homes", "home_path": "/home/agent"}
NOTED = SessionMemory(task_id="T-1", session_id="s-1", cwd="/home/agent", flow_run_id="f")


def a_run(runtime: dict[str, Any] | None = None, **request: Any) -> PreparedRun:
    return make_run({"task_id": "T-1", **request}, runtime=KEPT if runtime is None else runtime)


def ended(**fields: Any) -> AgentRunResult:
    defaults: dict[str, Any] = {
        "agent_id": "agent-abc",
        "flow_run_id": "f",
        "session_id": "s-1",
        "message": "It ended.",
        "timings": Timings(started_at=NOW, ended_at=NOW),
        "kubernetes": KubernetesNames(namespace="n"),
    }
    return AgentRunResult(**{**defaults, **fields})


@pytest.mark.parametrize(
    ("run", "remembered"),
    [
        pytest.param(a_run(), True, id="HOME and cwd on the claim"),
        pytest.param(a_run(workspace={"cwd": "/home/agent/work"}), True, id="cwd below HOME"),
        pytest.param(a_run({}), False, id="no claim"),
        pytest.param(a_run(workspace={"cwd": "/work"}), False, id="cwd goes with the pod"),
        pytest.param(
            a_run({**KEPT, "working_directory": "/home/agents"}),
            False,
            id="cwd that only begins like HOME",
        ),
        pytest.param(
            a_run(workspace={"cwd": "/home/agent/../../work"}), False, id="cwd that leaves HOME"
        ),
        pytest.param(a_run(task_id=None), False, id="no task"),
    ],
)
def test_session_is_remembered_where_home_and_cwd_outlive_the_pod(
    run: PreparedRun, remembered: bool
) -> None:
    assert remembers_sessions(run) is remembered
    assert (remember(run, ended()) is not None) is remembered


@pytest.mark.parametrize(
    ("result", "noted"),
    [
        pytest.param(ended(), NOTED, id="session"),
        pytest.param(ended(error_code="claude_failed"), NOTED, id="session of a failure"),
        pytest.param(
            ended(error_code="claude_max_turns", clear_session=True),
            NOTED.model_copy(update={"session_id": None}),
            id="cleared",
        ),
        pytest.param(
            ended(error_code="session_unavailable", session_id="s-0", resumed=True),
            None,
            id="not resumed, which a wrong flag may do as well",
        ),
        pytest.param(
            ended(error_code="llm_api_error", recurs_in_session=True),
            NOTED.model_copy(update={"recurring": "llm_api_error"}),
            id="may recur",
        ),
        pytest.param(
            ended(error_code="k8s_job_create_failed", session_id=None), None, id="none was begun"
        ),
    ],
)
def test_note_follows_the_result(result: AgentRunResult, noted: SessionMemory | None) -> None:
    assert remember(a_run(), result) == noted


def test_noted_session_is_resumed() -> None:
    recalled = recall(a_run(), SessionMemory.model_validate_json(NOTED.model_dump_json()))

    assert recalled.session_id == "s-1"
    assert recalled.note == (
        "The task's last session, s-1 of flow run f, is resumed by a new attempt."
    )


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(None, id="nothing noted"),
        pytest.param(NOTED.model_copy(update={"session_id": None}), id="cleared"),
        pytest.param(NOTED.model_copy(update={"task_id": "T-2"}), id="of another task"),
    ],
)
def test_session_is_fresh_without_a_word_where_there_is_none(memory: SessionMemory | None) -> None:
    assert recall(a_run(), memory) == RememberedSession()


def test_session_held_elsewhere_is_not_resumed_and_the_run_says_so() -> None:
    recalled = recall(a_run(workspace={"cwd": "/home/agent/work"}), NOTED)

    assert recalled.session_id is None
    assert recalled.note is not None
    assert "held in /home/agent, this run works in /home/agent/work" in recalled.note


MAY_RECUR = ended(error_code="llm_api_error", recurs_in_session=True, advice="Mend it.")


@pytest.mark.parametrize(
    ("result", "memory", "cleared"),
    [
        (MAY_RECUR, NOTED.model_copy(update={"recurring": "llm_api_error"}), True),
        (MAY_RECUR, NOTED, False),
        (MAY_RECUR, None, False),
        (MAY_RECUR, NOTED.model_copy(update={"recurring": "claude_prompt_too_long"}), False),
        (
            MAY_RECUR,
            NOTED.model_copy(update={"recurring": "llm_api_error", "session_id": "s-0"}),
            False,
        ),
        (
            ended(error_code="llm_api_error"),
            NOTED.model_copy(update={"recurring": "llm_api_error"}),
            False,
        ),
    ],
    ids=["again", "first time", "nothing noted", "another ending", "another session", "passing"],
)
def test_ending_that_comes_again_in_a_session_clears_it(
    result: AgentRunResult, memory: SessionMemory | None, cleared: bool
) -> None:
    judged = clear_recurring(a_run(), result, memory)

    assert judged.clear_session is cleared
    assert ("has been cleared" in (judged.advice or "")) is cleared
