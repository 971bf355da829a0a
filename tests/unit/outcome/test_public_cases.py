"""Inputs from public reports, each with the value that was written down before it was tried."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import render_event
from tasks.outcome.run_facts import RunFacts
from tasks.outcome.verdict import Outcome, judge_run
from tasks.text.quoting import telling_line
from tasks.vocabulary.error_codes import ErrorCode
from tests.unit.outcome.recordings import split_lines, summarise

FOLDER = Path(__file__).parents[2] / "data" / "public_cases"


class Right(NamedTuple):
    """`said` must stand in the message, a warning or the advice; `not_said` in none of them."""

    code: ErrorCode | None
    said: str = ""
    not_said: str = "usually temporary"
    summary: str | None = None


RIGHT: dict[str, Right] = {
    "api403_exit0": Right(ErrorCode.CLAUDE_AUTH_REQUIRED, "has disabled this kind of access"),
    "bg_stopped": Right(
        None,
        "Background work was stopped before it was done: analyse A",
        summary="Both analyses are under way.",
    ),
    "blocking_limit": Right(ErrorCode.CLAUDE_PROMPT_TOO_LONG, "Prompt is too long"),
    "compaction": Right(None, summary="It is done."),
    "config_banner": Right(None, summary="Hi."),
    "error_subtype_alone": Right(ErrorCode.CLAUDE_FAILED, "Cannot read properties of undefined"),
    "escape_before_result": Right(None, summary="Done, all tests pass."),
    "good_result_exit1": Right(
        ErrorCode.CLAUDE_FAILED, "printed a successful result", summary="hello"
    ),
    "hook_stopped": Right(
        ErrorCode.CLAUDE_FAILED, "A hook ended the run before the work was done: PreToolUse:Bash"
    ),
    "node_eacces": Right(
        ErrorCode.CLAUDE_START_FAILED,
        "Error: EACCES: permission denied, open '/home/agent/.claude.json'",
    ),
    "ok": Right(None, summary="Hello."),
    "rate_limit_mid_line": Right(
        None, summary="The first half of the answer and the second half of it."
    ),
    "refusal_exit0": Right(
        ErrorCode.CLAUDE_REFUSED, "declined", summary="I can't help with this request."
    ),
    "second_result_missing": Right(
        ErrorCode.CLAUDE_TRUNCATED,
        "after its last result",
        summary="The build runs in the background; I will report.",
    ),
    "stop_tool_use": Right(ErrorCode.CLAUDE_TRUNCATED, "resume the session"),
    "structured_output": Right(
        None, summary='{"verdict": "go", "reasons": ["tests pass", "no open points"]}'
    ),
    "truncated_64k": Right(ErrorCode.CLAUDE_TRUNCATED),
    "zero_turn_results": Right(None, summary="Two files."),
}


def read_case(name: str) -> RunFacts:
    stderr = FOLDER / f"{name}.stderr"
    return RunFacts(
        session=summarise((FOLDER / f"{name}.jsonl").read_bytes()),
        container_started=True,
        container_exit_code=int((FOLDER / f"{name}.exit").read_text()),
        stderr_line=telling_line(stderr.read_text().splitlines()) if stderr.exists() else None,
    )


def _texts(outcome: Outcome) -> str:
    return " ".join([outcome.message, outcome.advice or "", *outcome.warnings])


def test_every_case_with_an_output_has_its_right_value() -> None:
    names = {path.name.removesuffix(".exit") for path in FOLDER.glob("*.exit")}

    assert set(RIGHT) == names


@pytest.mark.parametrize("name", RIGHT)
def test_case_has_its_right_value(name: str) -> None:
    right, facts = RIGHT[name], read_case(name)

    outcome = judge_run(facts)

    assert outcome.code is right.code
    assert right.said in _texts(outcome)
    assert right.not_said not in _texts(outcome).lower()
    if right.summary is not None:
        assert facts.session.summary == right.summary


@pytest.mark.parametrize("name", RIGHT)
def test_case_shows_no_raw_stream_json(name: str) -> None:
    lines = split_lines((FOLDER / f"{name}.jsonl").read_bytes())
    shown = [line.text for raw in lines for line in render_event(parse_event_leniently(raw))]

    texts = "\n".join([*shown, _texts(judge_run(read_case(name)))])
    assert '"uuid"' not in texts
    assert '"session_id"' not in texts


@pytest.mark.parametrize("exit_code", [0, 1])
def test_refused_run_keeps_its_session_and_cost(exit_code: int) -> None:
    facts = read_case("refusal_exit0")

    assert not judge_run(facts).clear_session
    assert facts.session.cost_usd == 0.0421
