import json
from typing import Any

import pytest

from tasks.claude_code.event_types import AssistantEvent, ToolUseBlock
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.json_fields import (
    DEPTH_LIMIT,
    TOO_DEEP,
    holds_gap,
    parse_json,
    parse_json_values,
)


def _nested(depth: int, core: str = "1") -> str:
    return "[" * depth + core + "]" * depth


@pytest.mark.parametrize("depth", [1, DEPTH_LIMIT - 1, DEPTH_LIMIT])
def test_value_that_is_no_deeper_than_allowed_stays(depth: int) -> None:
    value = parse_json(_nested(depth))

    assert value == json.loads(_nested(depth))
    assert not holds_gap(value)


@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 1, 210, 520, 1_000, 200_000])
@pytest.mark.parametrize("core", ["1", r'"\ud83d\ude00"', r'"]\"}",{"a":["["]}', ""])
def test_what_is_too_deep_is_left_out_and_the_rest_stays(depth: int, core: str) -> None:
    value = parse_json(f'{{"deep":{_nested(depth, core)},"after":[{{"a":"]"}}]}}')

    kept = json.loads(_nested(DEPTH_LIMIT - 1, f'"{TOO_DEEP}"'))
    assert value == {"deep": kept, "after": [{"a": "]"}]}
    assert holds_gap(value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[" * 200 + "]" * 199,
        _nested(200)[1:],
        _nested(200) + "]",
        _nested(200) + " x",
        '{"a":' * 200_000,
        _nested(150, '"'),
        _nested(150, '"\\'),
    ],
    ids=lambda text: f"{text[:3]} {len(text)}",
)
def test_deep_text_that_is_no_json_stays_none(text: str) -> None:
    assert parse_json(text) is None


def test_brackets_in_texts_are_not_counted() -> None:
    text = json.dumps({"code": "[{" * 500 + '"\\', "items": [[1]] * 500})

    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("1", [1]),
        ('{"a":1}{"b":2}', [{"a": 1}, {"b": 2}]),
        ('{"a":1} [2]', [{"a": 1}, [2]]),
        ('{"a":1}, {"b":2}', []),
        ('{"a":1} and', []),
    ],
)
def test_values_back_to_back_are_all_read(text: str, values: list[Any]) -> None:
    assert parse_json_values(text) == values


@pytest.mark.parametrize("depth", [520, 20_000])
def test_event_with_a_deep_input_is_read(depth: int) -> None:
    tool = (
        f'{{"type":"tool_use","id":"t","name":"X","input":{{"d":{_nested(depth)},"e":"\\ud83d"}}}}'
    )
    event = parse_event_leniently(
        f'{{"type":"assistant","message":{{"content":[{tool}]}}}}'.encode()
    )

    assert isinstance(event, AssistantEvent)
    (block,) = event.blocks
    assert isinstance(block, ToolUseBlock)
    assert (block.name, block.tool_input["e"]) == ("X", "�")
    assert holds_gap(block.tool_input["d"])
