import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.claude_code.event_types import AssistantEvent, PlainLine, ResultEvent
from tasks.claude_code.events import parse_event, parse_event_leniently
from tasks.claude_code.rendering import render_event
from tests.unit.outcome.recordings import read_recording

RESULT = b'{"type":"result","result":"Done","is_error":false}'
CODES = [
    b"\x1b[2J\x1b[3J\x1b[H",
    b"\x1b]0;title\x07",
    b"\x1b]8;;x\x1b\\",
    b"\x1bM",
    b"\r",
    b"\x07",
    b"\x1b(B",
]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("before", [True, False])
def test_terminal_code_around_an_event_is_looked_through(code: bytes, before: bool) -> None:
    line = code + RESULT if before else RESULT + code

    assert isinstance(parse_event(line), ResultEvent)


@pytest.mark.parametrize(
    ("text", "is_fragment"),
    [
        ('{"type":"assis', True),
        ('\x1b[H{"type":"assis', True),
        ('and the rest of it."}],"stop_reason":null}', True),
        ('rest of a text"}]}', True),
        ('":"x"}', True),
        ('config = {"a": "b"}', False),
        ('saw ["a", "b"]', False),
        ("});", False),
        ("}", False),
        ("plain words", False),
        ('he said "no"', False),
        ("", False),
    ],
)
def test_piece_of_an_event_is_known_as_such(text: str, is_fragment: bool) -> None:
    assert parse_event(text.encode()) == PlainLine(text, is_fragment=is_fragment)


@pytest.mark.parametrize("text", ['{"type":"assis', 'x","uuid":"u"}'])
def test_fragment_is_named_and_not_shown(text: str) -> None:
    (line,) = render_event(parse_event(text.encode()))

    assert "damaged event" in line.text
    assert text not in line.text


@given(st.data())
def test_torn_line_is_never_shown_raw(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from(read_recording("tools").lines))
    cut = data.draw(st.integers(1, len(line) - 1))

    for piece in (line[:cut], line[cut:]):
        shown = "".join(item.text for item in render_event(parse_event_leniently(piece)))
        assert '"uuid":' not in shown
        assert '"session_id":' not in shown


def test_count_of_tokens_beside_the_usage_counts() -> None:
    message: dict[str, Any] = {"content": [], "output_tokens": 5, "usage": {"output_tokens": 0}}
    event = parse_event(json.dumps({"type": "assistant", "message": message}).encode())

    assert isinstance(event, AssistantEvent)
    assert event.usage.output_tokens == 5
