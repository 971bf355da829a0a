import json
from itertools import pairwise
from typing import Any

import pytest

from tasks.claude_code.entry_reader import MOST_DEPTH, EntryReader
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import LineKind, RenderedLine, render_event
from tests.unit.outcome.recordings import read_recording, recording_names


def _message(
    *blocks: dict[str, Any],
    message_id: str | None = "m",
    under: str | None = None,
    at: object = None,
    kind: str = "assistant",
) -> dict[str, Any]:
    return {
        "type": kind,
        "parent_tool_use_id": under,
        "timestamp": at,
        "message": {"id": message_id, "content": list(blocks)},
    }


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _call(call_id: str, name: str = "Bash") -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {"command": "ls"}}


def _result(call_id: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "a"}


def _read(*events: dict[str, Any]) -> list[RenderedLine]:
    reader = EntryReader()
    return [
        line
        for event in events
        for line in reader.read(parse_event_leniently(json.dumps(event).encode()))
    ]


@pytest.mark.parametrize("name", recording_names())
def test_recording_has_the_same_entries_and_turns_beside_them(name: str) -> None:
    events = [parse_event_leniently(line) for line in read_recording(name).lines]
    reader = EntryReader()

    entries = [line for event in events for line in reader.read(event)]

    told = [(line.kind, line.body) for line in entries if line.kind is not LineKind.TURN]
    assert told == [(line.kind, line.body) for event in events for line in render_event(event)]


def test_time_counts_from_the_first_timestamp_that_can_be_read() -> None:
    stamps = [
        *("yesterday", 7, None, "2026-11-20T18:00:00", "2026-11-20T18:00:05Z"),
        *("2026-11-20T18:00:07.500Z", "2026-11-20T19:00:07+01:00", "2026-11-20T17:00:00Z"),
    ]

    entries = _read(*(_message(_text("a"), at=at, kind="user") for at in stamps))

    assert [line.elapsed_seconds for line in entries] == [None] * 4 + [0.0, 2.5, 2.0, 0.0]


def test_turns_are_the_answers_to_the_main_agent() -> None:
    entries = _read(
        _message(_text("a"), message_id="1"),
        _message(_text("b"), message_id="1"),
        _message(_text("of a subagent"), message_id="2", under="t"),
        _message(_text("c"), message_id="1"),
        _message(_text("error"), message_id="3") | {"is_api_error_message": True},
        _message(_text("d"), message_id=None),
        _message(_text("e"), message_id=None),
    )

    assert [line.body for line in entries] == [
        *("turn 1", "a", "b", "of a subagent", "c", "error"),
        *("turn 2", "d", "turn 3", "e"),
    ]


def test_entries_are_as_deep_as_the_calls_above_them() -> None:
    calls = [str(number) for number in range(MOST_DEPTH + 3)]
    entries = _read(
        _message(_call("0")),
        *(_message(_call(below), under=above) for above, below in pairwise(calls)),
        _message(_text("a"), under="never seen"),
    )

    depths = [line.depth for line in entries if line.kind is not LineKind.TURN]
    assert depths == [0, 1, 2, 3, 3, 3, 1]
    assert entries[2].text == "│ [subagent] tool call Bash: ls"


def test_every_line_of_a_subagents_entry_is_indented() -> None:
    *_, entry = _read(_message(_text("a")), _message(_text("b\nc"), under="t"))

    assert entry.text == "│ [subagent] assistant: b\n│     c"


def test_result_names_its_call_where_another_one_is_between() -> None:
    entries = _read(
        _message(_call("a"), _call("b", "Read")),
        _message(_result("a"), _result("b"), _result("unknown"), kind="user"),
    )

    captions = [line.caption for line in entries if line.kind is LineKind.TOOL_RESULT]
    assert captions == ["Bash", "", ""]


def test_memory_does_not_grow_with_the_calls() -> None:
    reader = EntryReader()
    for number in range(2_000):
        event = _message(_call(str(number)))
        reader.read(parse_event_leniently(json.dumps(event).encode()))
    [last] = reader.read(
        parse_event_leniently(json.dumps(_message(_result("0"), kind="user")).encode())
    )

    assert last.caption == ""
