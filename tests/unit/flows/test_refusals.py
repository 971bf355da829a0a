from datetime import UTC, datetime

import pytest

from flows.run.refusals import unexpected_failure, where_it_failed
from tasks.outcome.report_page import render_report
from tasks.outcome.result_building import build_refusal
from tasks.outcome.run_result import AgentRunResult
from tasks.text.redaction import Redactor
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.names import JobName, JobUid

AT = datetime(2026, 11, 1, tzinfo=UTC)
SECRET = "what-a-server-echoed"


def _raised() -> Exception:
    try:
        try:
            raise RuntimeError(SECRET)
        except RuntimeError as error:
            raise OSError("no space left") from error
    except OSError as error:
        return ExceptionGroup("unhandled errors in a TaskGroup", [error])


@pytest.mark.parametrize(
    ("job", "words"),
    [("agents/job-1", "Job agents/job-1 was not changed"), (None, "no Job was created")],
)
def test_unexpected_error_has_a_code_and_says_what_became_of_the_job(
    job: str | None, words: str
) -> None:
    failure = unexpected_failure(_raised(), job)

    assert (failure.code, failure.cause) == (ErrorCode.CLAUDE_FAILED, Cause.UNKNOWN)
    assert "OSError" in failure.message
    assert words in failure.message
    assert failure.advice


def test_place_of_an_unexpected_error_is_told_without_any_text_of_errors() -> None:
    told = where_it_failed(_raised())

    assert "OSError" in told
    assert "test_refusals.py" in told
    assert SECRET not in told
    assert "no space left" not in told


def _refused(job: tuple[JobName, JobUid] | None) -> AgentRunResult:
    return build_refusal(
        unexpected_failure(_raised(), f"agents/{job[0]}" if job else None),
        agent_id="ada",
        flow_run_id="f",
        task_id=None,
        namespace="agents",
        job=job,
        started_at=AT,
        ended_at=AT,
        redactor=Redactor([SECRET]),
    )


def test_report_of_an_unexpected_error_says_no_agent_was_started_only_without_a_job() -> None:
    with_job = render_report(_refused((JobName("agent-ada-1"), JobUid("u-1"))))
    without_job = render_report(_refused(None))

    assert "this run started no agent" in without_job
    assert "this run started no agent" not in with_job
    assert "agent-ada-1" in with_job
    assert "was not changed" in with_job
