import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.claude_code.event_types import AssistantEvent, PlainLine, ResultEvent
from tasks.claude_code.events import parse_event, parse_event_leniently, parse_line
from tasks.claude_code.line_damage import looks_like_fragment
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
    b"\x1bP+q544e\x1b\\",
    b"\x1b_note\x1b\\",
    "\x9b2J".encode(),
    "\x9d0;title\x9c".encode(),
    "\x90+q544e\x9c".encode(),
    "\x85".encode(),
]
MARKS = '"session_id":"s","uuid":"u"'


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
        ("null}", True),
        ("ull}}", True),
        (": 12}]", True),
        ("}}}", True),
        ("]", False),
        ("done]", False),
        (f'{{"type":5,{MARKS}}}', True),
        (f'{{"foo":"bar",{MARKS}}}', True),
        ('{"foo":"bar","uuid":"u"}', False),
        (f'[{{"type":"assistant","message":{{}},{MARKS}}}]', True),
        (json.dumps('{"type":"assistant","uuid":"u"}'), True),
        ("[1,2]", False),
        ('["uuid", "type"]', False),
    ],
)
def test_piece_of_an_event_is_known_as_such(text: str, is_fragment: bool) -> None:
    assert parse_event(text.encode()) == PlainLine(text, is_fragment=is_fragment)


@pytest.mark.parametrize(
    "text",
    [
        'x "' + '\\"key\\":\\"value12\\",' * 1_000 + '\\"}',
        '"\\' * 10_000 + "}",
    ],
    ids=["texts", "quotation marks"],
)
def test_twenty_pieces_without_an_end_are_known_within_the_time_of_a_test(text: str) -> None:
    # They are not when a text without an end is looked at from each quotation mark that is in it.
    for more in range(20):
        assert looks_like_fragment(text + " " * more)


@pytest.mark.parametrize(
    "text",
    [
        'x "' + '\\"key\\":\\"value12\\",' * 250_000 + '\\"}',
        '"\\' * 2_500_000 + "}",
        '{"' + "[]" * 100 + '"\\' * 2_500_000,
        "[" * 2_500_000 + "}" * 2_500_000,
        "}" * 5_000_000,
        "\x1b]" * 2_500_000 + '{"type":',
    ],
    ids=["texts", "quotation marks", "after brackets", "brackets", "braces", "terminal codes"],
)
def test_piece_of_five_megabytes_is_known_within_the_time_of_a_test(text: str) -> None:
    assert parse_event(text.encode()) == PlainLine(text, is_fragment=True)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (f'{{"type":"system","subtype":"init",{MARKS}}}' * 2, ["InitEvent"] * 2),
        (
            f'{{"type":"x",{MARKS}}} {{"type":"result",{MARKS}}}\x1b[0m',
            ["UnknownEvent", "ResultEvent"],
        ),
        (
            f'{{"type":"assistant",{MARKS}}}{{"type":"result",{MARKS}}}',
            ["EventParseError", "ResultEvent"],
        ),
        (f'{{"type":"result",{MARKS}}}', ["ResultEvent"]),
        (f'{{"type":"result",{MARKS}}}{{"type":"result"}}', ["PlainLine"]),
        (f'{{"type":"result",{MARKS}}}{{"a":1}}', ["PlainLine"]),
        (f'{{"type":"result",{MARKS}}}1{{"type":"result",{MARKS}}}', ["PlainLine"]),
        (f'{{"type":"result",{MARKS}}} was read', ["PlainLine"]),
        (f'read {{"type":"result",{MARKS}}}{{"type":"result",{MARKS}}}', ["PlainLine"]),
        (f'{{"type":"result",{MARKS}}}{{"type":"result",', ["PlainLine"]),
    ],
)
def test_events_on_one_line_are_read_only_back_to_back_and_by_their_marks(
    text: str, kinds: list[str]
) -> None:
    assert [type(event).__name__ for event in parse_line(text.encode())] == kinds


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
