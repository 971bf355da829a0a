from datetime import UTC, datetime, timedelta

import pytest

from tasks.agent_job.error_codes import Cause, ErrorCode
from tasks.agent_job.report import Link, describe_proof, render_report
from tasks.agent_job.run_result import (
    AgentRunResult,
    KubernetesNames,
    LineRange,
    PermissionDenial,
    Timings,
    TokenUsage,
    TranscriptProof,
)

START = datetime(2026, 11, 20, 18, 0, 0, tzinfo=UTC)
SUCCESS = AgentRunResult(
    agent_id="reviewer",
    flow_run_id="f1",
    message="The agent finished.",
    exit_code=0,
    session_id="s1",
    model="claude-opus-5-5",
    usage=TokenUsage(input_tokens=1200, output_tokens=34),
    cost_usd=0.0123,
    num_turns=3,
    summary="First line\nsecond | line",
    transcript=TranscriptProof(complete=True, lines=12, stdout_bytes=3456),
    timings=Timings(
        started_at=START,
        job_created_at=START + timedelta(seconds=1.5),
        ended_at=START + timedelta(minutes=2),
    ),
    kubernetes=KubernetesNames(namespace="agents", job_name="job|1"),
)


def changed(**fields: object) -> AgentRunResult:
    return SUCCESS.model_copy(update=fields)


@pytest.mark.parametrize(
    "expected",
    [
        "## ✅ Agent reviewer succeeded\n\nThe agent finished.",
        "> First line\n> second | line",
        "| Job created | 2026-11-20 18:00:01 UTC (+1.5 s) |",
        "| Agent ended | – |",
        "| Input tokens | 1,200 |",
        "| Cache read tokens | – |",
        "| Cost | $0.0123 |",
        "| Job | job\\|1 |",
        "| Session | s1 (fresh) |",
        "**Transcript:** complete – 12 lines, 3,456 bytes",
    ],
)
def test_report_of_success_holds_the_fact(expected: str) -> None:
    assert expected in render_report(SUCCESS)


def test_report_of_failure_leads_with_code_cause_and_advice() -> None:
    report = render_report(
        changed(
            error_code=ErrorCode.CLAUDE_TRUNCATED,
            cause=Cause.OOM_KILLED,
            message="Claude was killed.",
            advice="Raise the memory limit.",
            reattached_from="f0",
            clear_session=True,
            cost_usd=None,
            summary=None,
            permission_denials=(PermissionDenial(tool_name="Edit"),) * 2,
        ),
        [Link("Flow run", "http://prefect/runs/f1")],
    )

    assert report.startswith(
        "## ❌ Agent reviewer: `claude_truncated`\n\nClaude was killed.\n\n"
        "**Cause:** OOMKilled\n\n**What to do:** Raise the memory limit.\n\n"
        "This run took over the Job of flow run `f0`"
    )
    assert "| Cost | – |" in report
    assert "2 tool use(s) were denied (Edit)" in report
    assert "cleared: the next run starts a fresh one" in report
    assert report.endswith("- [Flow run](http://prefect/runs/f1)")
    assert "### Answer" not in report


def test_report_without_session_and_cause_names_neither() -> None:
    report = render_report(changed(error_code=ErrorCode.CLAUDE_FAILED, session_id=None))

    assert "**Cause:**" not in report
    assert "| Session | – |" in report


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        pytest.param(TranscriptProof(complete=True), "complete –", id="agreed"),
        pytest.param(
            TranscriptProof(
                complete=False, missing=(LineRange(first=3, last=3), LineRange(first=5, last=9))
            ),
            "missing line numbers: 3, 5–9.",
            id="named-gaps",
        ),
        pytest.param(TranscriptProof(complete=False), "counted something else", id="disagreed"),
        pytest.param(TranscriptProof(), "unproven –", id="no-trailer"),
    ],
)
def test_proof_is_described_no_better_than_it_is(proof: TranscriptProof, expected: str) -> None:
    assert expected in describe_proof(proof)


def test_result_read_back_from_json_is_equal() -> None:
    assert AgentRunResult.model_validate_json(SUCCESS.model_dump_json()) == SUCCESS
