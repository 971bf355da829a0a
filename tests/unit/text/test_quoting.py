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
        (
            ["warming up", "Traceback (most recent call last):", "  x", "ValueError: no", "bye"],
            "ValueError: no",
        ),
        (
            [
                "node:fs:574",
                "  return binding.open(",
                "         ^",
                "",
                "Error: EACCES: no",
                "  at x",
            ],
            "Error: EACCES: no",
        ),
        (
            ["/app/cli.js:5", "throw new TypeError('x')", "TypeError: x", "Node.js v20.19.2"],
            "TypeError: x",
        ),
        (
            ["<--- Last few GCs --->", "FATAL ERROR: Reached heap limit Allocation failed"],
            "FATAL ERROR: Reached heap limit Allocation failed",
        ),
        (
            ["starting", "/run.sh: line 3: claude: command not found"],
            "/run.sh: line 3: claude: command not found",
        ),
        (["sh: claude: not found"], "sh: claude: not found"),
        (["x", "exec /bin/claude: exec format error"], "exec /bin/claude: exec format error"),
    ],
    ids=[
        "nothing",
        "blank",
        "first",
        "traceback",
        "traceback cut short",
        "traceback between other lines",
        "Node",
        "Node without its own source",
        "V8's heap",
        "command not found",
        "not found",
        "exec format",
    ],
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
