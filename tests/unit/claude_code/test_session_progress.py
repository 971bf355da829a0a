import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.claude_code.event_types import ResultEvent, TokenCounts
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.session_progress import (
    ProgressState,
    RunProgress,
    read_cost,
    render_progress,
)
from tests.unit.outcome.recordings import read_recording, recording_names, summarise

AT = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)


def _progress(*events: dict[str, Any] | bytes) -> RunProgress:
    state = ProgressState()
    for event in events:
        line = event if isinstance(event, bytes) else json.dumps(event).encode()
        state.apply(parse_event_leniently(line))
    return state.progress


def _assistant(message_id: str | None, *blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}
    message = {"id": message_id, "content": list(blocks), "usage": usage}
    return {"type": "assistant", "message": message, **fields}


def _tool(tool_use_id: str, command: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": "Bash", "input": {"command": command}}


def _answer(tool_use_id: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": ""}
    return {"type": "user", "message": {"content": [block]}}


TEXT = {"type": "text", "text": "Hello.\nSecond line."}
RETRY = {"type": "system", "subtype": "api_retry", "attempt": 2, "max_retries": 10}
RESULT = {"type": "result", "total_cost_usd": 0.5, "usage": {"output_tokens": 7}}

ACTIVITIES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "nothing yet": ([], "starting"),
    "init": ([{"type": "system", "subtype": "init"}], "waiting for the model"),
    "text": ([_assistant("m", TEXT)], "the model answers"),
    "tool": ([_assistant("m", _tool("t", "ls"))], "tool call Bash: ls"),
    "tools at once": (
        [_assistant("m", _tool("t", "ls")), _assistant("m", _tool("u", "pwd"))],
        "tool call Bash: ls; tool call Bash: pwd",
    ),
    "one of them answered": (
        [_assistant("m", _tool("t", "ls"), _tool("u", "pwd")), _answer("t")],
        "tool call Bash: pwd",
    ),
    "all answered": ([_assistant("m", _tool("t", "ls")), _answer("t")], "waiting for the model"),
    "tool without an answer": (
        [_assistant("m", _tool("t", "ls")), _assistant("n", TEXT)],
        "the model answers",
    ),
    "retry": ([_assistant("m", TEXT), RETRY], "model API retry 2 of 10: no answer"),
    "subagent": (
        [_assistant("m", _tool("t", "ls")), _assistant("n", TEXT, parent_tool_use_id="t")],
        "tool call Bash: ls",
    ),
    "result": ([_assistant("m", _tool("t", "ls")), RESULT], "turn ended"),
}


@pytest.mark.parametrize("name", ACTIVITIES)
def test_activity_is_what_goes_on(name: str) -> None:
    events, activity = ACTIVITIES[name]

    assert _progress(*events).activity == activity


def test_answers_are_counted_once_each_and_add_up() -> None:
    progress = _progress(
        _assistant("m", TEXT), _assistant("m", TEXT), _assistant("n", TEXT), RESULT, RESULT
    )

    assert progress == RunProgress(
        turns=2,
        activity="turn ended",
        last_text="Hello. Second line.",
        read_tokens=TokenCounts(20, None, 0, 10),
        output_tokens=14,
        cost_usd=0.5,
    )


def test_answers_without_an_id_are_told_apart() -> None:
    assert _progress(_assistant(None, TEXT), _assistant(None, TEXT)).turns == 2


def test_many_tools_at_once_are_not_all_told() -> None:
    tools = [_assistant("m", _tool(str(number), "ls")) for number in range(1000)]

    assert len(_progress(*tools).activity) < 300


def _results(name: str) -> list[ResultEvent]:
    events = map(parse_event_leniently, read_recording(name).lines)
    return [event for event in events if isinstance(event, ResultEvent)]


@pytest.mark.parametrize("name", [name for name in recording_names() if _results(name)])
def test_progress_of_a_recording_agrees_with_its_results(name: str) -> None:
    progress, results = _progress(*read_recording(name).lines), _results(name)

    assert progress.cost_usd == summarise(read_recording(name).stdout).cost_usd
    # Claude Code counts each answer of a tool, we count answers of the model.
    assert progress.turns <= sum(result.num_turns or 0 for result in results)


@pytest.mark.parametrize("name", [name for name in recording_names() if not _results(name)])
def test_recording_without_a_result_has_no_cost_yet(name: str) -> None:
    assert _progress(*read_recording(name).lines).cost_usd is None


def test_progress_is_rendered_as_a_table() -> None:
    progress = RunProgress(
        turns=3,
        activity="tool call Bash: a | b",
        last_text="I <b>look</b>.",
        read_tokens=TokenCounts(1200, None, 0, 30),
    )

    text = render_progress(progress, max_turns=10, running_seconds=70, silent_seconds=4, at=AT)

    assert text == (
        "| Now | `tool call Bash: a \\| b` |\n| --- | --- |\n"
        "| Turns | ▰▰▰▱▱▱▱▱▱▱ 3 of at most 10 |\n"
        "| Tokens | in 1,200, cache read 30, cache write 0 |\n"
        "| Cost so far | told when the turn ends |\n"
        "| Running for | 1 min 10 s |\n"
        "| Last output | 4 s ago |\n"
        "| Said last | I \\<b>look\\</b>. |\n\n"
        "*As of 2026-11-20 18:00:00 UTC.*"
    )


def test_progress_of_which_little_is_known_claims_nothing() -> None:
    unknown = RunProgress(turns=12, read_tokens=TokenCounts(), output_tokens=None, cost_usd=0.25)

    text = render_progress(unknown, max_turns=None, running_seconds=0, silent_seconds=0, at=AT)

    assert "| Turns | 12 |" in text
    assert "| Tokens | told when the turn ends |" in text
    assert "| Cost so far | $0.2500 |" in text
    assert "Said last" not in text


def test_progress_of_an_ended_run_tells_the_outcome_and_claims_no_work() -> None:
    progress = RunProgress(turns=3, activity="turn ended", last_text="Done.", cost_usd=0.5)

    text = render_progress(
        progress,
        max_turns=None,
        running_seconds=70,
        silent_seconds=4,
        at=AT,
        outcome="Out of memory",
    )

    assert text == (
        "| Ended | Out of memory |\n| --- | --- |\n"
        "| Turns | 3 |\n"
        "| Tokens | in 0, cache read 0, cache write 0 |\n"
        "| Cost | $0.5000 |\n"
        "| Ran for | 1 min 10 s |\n"
        "| Said last | Done. |\n\n"
        "*Ended at 2026-11-20 18:00:00 UTC.*"
    )


def test_what_an_ended_run_never_told_is_not_promised() -> None:
    unknown = RunProgress(read_tokens=TokenCounts())

    text = render_progress(
        unknown, max_turns=None, running_seconds=0, silent_seconds=0, at=AT, outcome="Cancelled"
    )

    assert "| Tokens | not told |" in text
    assert "| Cost | not told |" in text


@pytest.mark.parametrize("outcome", [None, "Succeeded"])
@pytest.mark.parametrize("cost_usd", [None, 0.0, 0.1234, 1234.5])
def test_cost_is_read_back_from_the_page_that_tells_it(
    cost_usd: float | None, outcome: str | None
) -> None:
    said = "| Cost so far | $9.9999 |"
    progress = RunProgress(activity=said, last_text=said, cost_usd=cost_usd)

    page = render_progress(
        progress, max_turns=3, running_seconds=1, silent_seconds=1, at=AT, outcome=outcome
    )

    assert read_cost(page) == cost_usd


def test_silence_is_allowed_for_a_tools_own_time_limit_and_until_a_retry() -> None:
    state = ProgressState()
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"timeout": 7_200_000}}
    answered = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    retry = {"type": "system", "subtype": "api_retry", "attempt": 1, "retry_delay_ms": 40_000}
    allowed: list[float] = []

    for event in (
        {"type": "assistant", "message": {"id": "m", "content": [call]}},
        {"type": "user", "message": {"content": [answered]}},
        retry,
        {"type": "result"},
    ):
        state.apply(parse_event_leniently(json.dumps(event).encode()))
        allowed.append(state.allowed_silence_seconds)

    assert allowed == [7200.0, 0.0, 40.0, 0.0]


def test_silence_is_not_allowed_for_longer_than_a_tool_can_take() -> None:
    state = ProgressState()
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"timeout": 1e15}}
    event = {"type": "assistant", "message": {"id": "m", "content": [call]}}

    state.apply(parse_event_leniently(json.dumps(event).encode()))

    assert state.allowed_silence_seconds == 7200.0
