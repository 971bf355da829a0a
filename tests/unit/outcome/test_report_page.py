import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tasks.outcome.report_page import Link, describe_proof, render_report, summarize_result
from tasks.outcome.run_result import (
    AgentRunResult,
    CheckResult,
    KubernetesNames,
    LineRange,
    PermissionDenial,
    Timings,
    TokenUsage,
    TranscriptProof,
    WorkResult,
)
from tasks.vocabulary.error_codes import CAUSE_MEANINGS, Cause, ErrorCode

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
        job_created_at=START - timedelta(seconds=0.7),
        agent_started_at=START + timedelta(seconds=5),
        agent_ended_at=START + timedelta(seconds=115),
        ended_at=START + timedelta(minutes=2),
    ),
    kubernetes=KubernetesNames(namespace="agents", job_name="job|1"),
)


def changed(**fields: object) -> AgentRunResult:
    return SUCCESS.model_copy(update=fields)


@pytest.mark.parametrize(
    "expected",
    [
        "## ✔ Succeeded – agent reviewer\n\nThe agent finished.\n\n**Cost:** $0.0123 · 3 turns",
        "tokens 1,200 in, 34 out · 1 min 50 s of work, 2 min 00 s in total",
        "**Transcript:** complete – 12 lines, 3,456 bytes",
        "### Answer\n\n> First line  \n> second \\| line",
        "| 2026-11-20 17:59:59 | 0 s | Job created |",
        "| 2026-11-20 18:01:55 | 1 min 55 s | Agent ended |",
        "| Input tokens | 1,200 |",
        "| Cache read tokens | – |",
        "| Cost | $0.0123 |",
        "| Job | `job\\|1` |",
        "| Session | `s1` (new) |",
    ],
)
def test_report_of_success_holds_the_fact(expected: str) -> None:
    assert expected in render_report(SUCCESS)


def test_report_of_failure_leads_with_what_happened_what_to_do_and_why() -> None:
    report = render_report(
        changed(
            error_code=ErrorCode.CLAUDE_TRUNCATED,
            cause=Cause.OOM_KILLED,
            message="Claude was killed.",
            advice="Raise the memory limit.",
            reattached_from="f0",
            clear_session=True,
            cost_usd=None,
            permission_denials=(PermissionDenial(tool_name="Edit"),) * 2,
            unknown_events=(("brand_new", 3),),
        ),
        [Link("Forensics", "/artifacts/1", is_address=True), Link("Stored in /r", "a|b")],
    )

    assert report.startswith(
        "## ✘ OOM killed – agent reviewer (`claude_truncated`)\n\nClaude was killed.\n\n"
        "**What to do:** Raise the memory limit.\n\n**Cause:** OOMKilled – the container used "
    )
    assert "**Takeover:** this run took over the Job of flow run `f0`" in report
    assert "**Cost:** – · 3 turns" in report
    assert "Denied tool uses: 2 (`Edit`)" in report
    assert "cleared: the next run starts a new one" in report
    assert "event types that this version does not know: `brand_new` × 3." in report
    assert "### The agent's last words" in report
    assert report.endswith("- [Forensics](/artifacts/1)\n- Stored in /r: `a|b`")


def test_report_of_a_run_without_a_job_says_that_it_cost_nothing() -> None:
    report = render_report(
        changed(
            error_code=ErrorCode.CONCURRENT_RUN_BLOCKED,
            session_id=None,
            summary=None,
            timings=Timings(started_at=START, ended_at=START),
            kubernetes=KubernetesNames(namespace="agents"),
        )
    )

    assert "**Cost:** none; this run started no agent." in report
    assert "**Cause:**" not in report
    assert "**Transcript:**" not in report
    assert "### Answer" not in report
    assert "| – | – | Agent started |" in report
    assert "| Session | – |" in report


def test_report_of_an_agent_whose_end_was_not_seen_tells_the_whole_time() -> None:
    timings = Timings(started_at=START, ended_at=START + timedelta(hours=2, seconds=70))

    assert "· 2 h 01 min in total" in render_report(changed(timings=timings))


HOSTILE = "<img src=x>\n## ✔ Succeeded\n```\n![x](http://tracker/)\x1b[2J\n| a |\n|---|\n<!--"


def _structure(markdown: str) -> Counter[str]:
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    children = [child for token in tokens for child in token.children or ()]
    told = {"heading_open", "tr_open", "html_block", "html_inline", "image", "link_open"}
    return Counter(token.type for token in [*tokens, *children] if token.type in told)


def test_text_of_the_agent_structures_nothing_in_a_report() -> None:
    names = KubernetesNames(namespace=HOSTILE, job_name=HOSTILE, image=HOSTILE)
    report = render_report(
        changed(message=HOSTILE, advice=HOSTILE, summary=HOSTILE, model=HOSTILE, kubernetes=names)
    )

    assert _structure(report) == _structure(render_report(changed(advice="Nothing.")))
    assert "\x1b" not in report


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "Succeeded · $0.0123 · 3 turns"),
        (
            {"error_code": ErrorCode.CLAUDE_FAILED, "cost_usd": None, "num_turns": None},
            "Claude failed",
        ),
    ],
    ids=["success", "nothing-known"],
)
def test_outcome_is_summed_up_in_one_line(fields: dict[str, object], expected: str) -> None:
    assert summarize_result(changed(**fields)) == expected


def test_every_cause_has_a_meaning() -> None:
    assert set(CAUSE_MEANINGS) == set(Cause)


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
        pytest.param(
            TranscriptProof(complete=False), "differ from those of the pod", id="disagreed"
        ),
        pytest.param(TranscriptProof(), "unproven –", id="no-trailer"),
    ],
)
def test_proof_is_described_no_better_than_it_is(proof: TranscriptProof, expected: str) -> None:
    assert expected in describe_proof(proof)


def test_result_read_back_from_json_is_equal() -> None:
    assert AgentRunResult.model_validate_json(SUCCESS.model_dump_json()) == SUCCESS


def test_report_tells_what_the_cluster_said() -> None:
    report = render_report(changed(error_code=ErrorCode.CLAUDE_FAILED, cluster_said="pod *gone*"))

    assert "**Reported by the cluster:** pod \\*gone\\*" in report


def test_report_tells_what_to_check_first_and_what_was_seen_of_the_end() -> None:
    report = render_report(
        changed(
            error_code=ErrorCode.CLAUDE_FAILED,
            check_first="the *last* lines",
            advice="Run again.",
            exit_code=137,
            observed=(("Exit code", "137"), ("Pod", "agent-x, phase Failed, “a|b”")),
        )
    )

    assert "**First check:** the \\*last\\* lines.\n\n**What to do:** Run again." in report
    section = report.partition("### How it ended\n\n")[2].partition("\n\n")[0]
    assert section.splitlines()[2:] == [
        "| Exit code | 137 |",
        "| Pod | agent-x, phase Failed, “a\\|b” |",
    ]
    assert report.count("| Exit code |") == 1


def test_report_names_an_event_in_the_answer_instead_of_repeating_it() -> None:
    report = render_report(changed(summary='Here:\n{"type": "result"}\nDone.'))

    assert "> [a line of JSON, 18 characters]" in report.replace("\\", "")
    assert '"result"' not in report


def test_report_names_the_containers_that_still_ran() -> None:
    names = KubernetesNames(namespace="agents", job_name="job-1", still_running=("mesh", "logs"))

    report = render_report(changed(kubernetes=names))

    assert "| Still running after the agent's end | `mesh`, `logs` |" in report
    assert "Still running" not in render_report(SUCCESS)


@pytest.mark.parametrize("name", ["tools", "max_turns"])
def test_result_stored_before_its_later_fields_is_still_read_and_shown(name: str) -> None:
    path = Path(__file__).parents[2] / "data" / "results" / f"{name}.json"
    stored: dict[str, Any] = json.loads(path.read_text())
    times = dict.fromkeys(stored["timings"]) | {"started_at": START, "ended_at": START}

    result = AgentRunResult.model_validate({**stored, "timings": times})

    later = {"warnings", "output", "recurs_in_session", "observed", "check_first"}
    assert not later & set(stored)
    assert f"| Exit code | {stored['exit_code']} |" in render_report(result)
    assert (result.warnings, result.output, result.recurs_in_session) == ((), None, False)
    assert result.message.split("(")[0].strip() in render_report(result)


CHECK = CheckResult(
    exit_code=1,
    timeout_seconds=600,
    duration_seconds=72,
    last_lines="```\n<b>1 failed</b>",
    lines_skipped=1234,
)


def test_report_shows_the_check_and_its_last_lines_as_they_are() -> None:
    report = render_report(changed(error_code=ErrorCode.CHECK_FAILED, check=CHECK))

    assert report.startswith("## ✘ Check failed – agent reviewer (`check_failed`)")
    assert (
        "### Check\n\n| Item | Value |\n| --- | --- |\n| Exit code | 1 |\n"
        "| Duration | 1 min 12 s |\n| Time limit | 10 min 00 s |\n\n"
        "Its last lines (1,234 lines before them):\n\n````text\n```\n<b>1 failed</b>\n````"
    ) in report


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"timed_out": True, "exit_code": 124}, "| Time limit | 10 min 00 s, reached |"),
        ({"duration_seconds": None, "exit_code": None}, "| Exit code | – |\n| Duration | – |"),
        ({"timeout_seconds": None}, "| Time limit | – |"),
        ({"lines_skipped": 0}, "Its last lines:\n"),
    ],
)
def test_report_of_a_check_tells_what_is_known(fields: dict[str, Any], expected: str) -> None:
    assert expected in render_report(changed(check=CHECK.model_copy(update=fields)))


def test_report_without_a_check_says_nothing_of_one() -> None:
    assert "Check" not in render_report(SUCCESS)
    assert "last lines" not in render_report(changed(check=CheckResult(exit_code=0)))


WORK = WorkResult(
    collected=True,
    base_commit="a" * 40,
    head_commit="b" * 40,
    work_commit="c" * 40,
    branch="fix|it",
    commits=3,
    files_changed=1200,
    insertions=34,
    deletions=5,
    left_out=("a.bin is *too* large.",),
    bundle_key="reviewer/f1/work.bundle",
    patch_key="reviewer/f1/work.patch",
    files_key="reviewer/f1/work.json",
)


def test_report_shows_how_much_was_changed_where_it_lies_and_how_to_get_it() -> None:
    report = render_report(changed(work=WORK))

    assert report.partition("### Work\n\n")[2].partition("\n\n### ")[0].splitlines() == [
        "| Item | Value |",
        "| --- | --- |",
        "| Collected | yes |",
        "| Commits | 3 |",
        "| Changed files | 1,200 |",
        "| Added lines | 34 |",
        "| Deleted lines | 5 |",
        "| Branch | `fix\\|it` |",
        f"| Started from | `{'a' * 40}` |",
        f"| Ended with | `{'c' * 40}` |",
        "| Git bundle | `reviewer/f1/work.bundle` |",
        "| Patch | `reviewer/f1/work.patch` |",
        "| List of all changed files | `reviewer/f1/work.json` |",
        "",
        "Left out:",
        "",
        "- a.bin is \\*too\\* large.",
        "",
        "To get it: `claude-jobs work reviewer`",
    ]


def test_report_of_work_that_was_not_collected_says_why_and_offers_no_command() -> None:
    work = WorkResult(collected=False, problem="The *keeper* |\nhas gone.")

    report = render_report(changed(error_code=ErrorCode.WORK_NOT_DELIVERED, work=work))

    assert report.startswith("## ✘ Work not delivered – agent reviewer (`work_not_delivered`)")
    assert "| Collected | no: The \\*keeper\\* \\| has gone. |" in report
    assert "| Branch | – |" in report
    assert "claude-jobs work" not in report


def test_report_of_an_agent_that_changed_nothing_offers_no_command() -> None:
    work = WorkResult(collected=True, commits=0, files_changed=0)

    report = render_report(changed(error_code=ErrorCode.NO_CHANGES, work=work))

    assert report.startswith("## ✘ No changes – agent reviewer (`no_changes`)")
    assert "claude-jobs work" not in report
    assert "Left out" not in report
    assert "### Work" not in render_report(SUCCESS)


def test_names_of_the_work_structure_nothing_in_a_report() -> None:
    hostile = {"branch": HOSTILE, "left_out": (HOSTILE,) * 60, "bundle_key": HOSTILE}

    report = render_report(changed(work=WORK.model_copy(update=hostile)))

    assert _structure(report) == _structure(render_report(changed(work=WORK)))
    assert "- and 10 more" in report
