import json

import pytest

from tasks.text.quoting import telling_line, without_json_events

EVENT = json.dumps({"type": "result"})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["", "  "], None),
        (["error: unknown option", "see --help"], "error: unknown option"),
        (
            ["Traceback (most recent call last):", '  File "x.py", line 1', "OSError: no", ""],
            "OSError: no",
        ),
        (["Traceback (most recent call last):", '  File "x.py", line 1'], None),
    ],
    ids=["nothing", "blank", "first", "traceback", "traceback cut short"],
)
def test_line_that_says_most_is_the_first_or_the_error_of_a_traceback(
    lines: list[str], expected: str | None
) -> None:
    assert telling_line(lines) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"  {EVENT}", f"[a line of JSON, {len(EVENT)} characters]"),
        ('{"a": 1}', '{"a": 1}'),
        ("{not json}", "{not json}"),
        ("plain", "plain"),
    ],
)
def test_line_with_an_event_is_named_and_others_stay(line: str, expected: str) -> None:
    assert without_json_events(f"before\n{line}\nafter") == f"before\n{expected}\nafter"
