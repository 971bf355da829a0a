import json
import secrets

import pytest

from tests.published_texts import find_leaks, plant

EVENT = json.dumps({"type": "result", "is_error": False})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("All is well: {} and [1] and 42", [], id="nothing"),
        pytest.param('{\n "type": "Ready"\n}', [], id="an object over several lines"),
        pytest.param('{"a": 1}', [], id="an object without a type"),
        pytest.param(f"before\n  {EVENT}\nafter", [f"a page: an event,   {EVENT}"], id="event"),
        pytest.param(f"> {EVENT}", [f"a page: an event, > {EVENT}"], id="quoted event"),
        pytest.param(
            "sk-ant-api03-abcdefghijklmnop", ["a page: a key of Anthropic's shape"], id="key"
        ),
    ],
)
def test_leak_is_found_and_what_is_none_is_not(text: str, found: list[str]) -> None:
    assert find_leaks(iter([("a page", text)])) == found


@pytest.mark.parametrize(
    "trace", ["Traceback (most recent call last):\n  x", '  File "/a/b.py", line 3, in f']
)
def test_stack_trace_is_a_leak_everywhere_but_in_logs(trace: str) -> None:
    [leak] = find_leaks(iter([("a state", trace), ("log record", trace)]))

    assert leak.startswith("a state: a stack trace")


def test_planted_value_is_found_and_not_repeated() -> None:
    value = secrets.token_hex(16)
    plant(value)

    assert find_leaks(iter([("log record", f"it is {value}")])) == ["log record: a planted value"]
