import json

import pytest

from tasks.text.quoting import last_telling_line, quote, telling_line, without_json_events

TRACEBACK = "Traceback (most recent call last)"
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
        (
            ["Traceback (most recent call last):", '  File "x.py", line 1'],
            'File "x.py", line 1',
        ),
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
        (["ERROR:root:boom", f"{TRACEBACK}:", '  File "x.py", line 1'], "ERROR:root:boom"),
        (
            [f"{TRACEBACK}:", "  x", "KeyError: 'a'", f"{TRACEBACK}:", "  y"],
            "KeyError: 'a'",
        ),
        ([f"  {TRACEBACK}:", '    File "x.py", line 1', "  KeyError: 'a'"], "KeyError: 'a'"),
        (
            [
                f"  + Exception Group {TRACEBACK}:",
                '  |   File "x.py", line 3, in <module>',
                "  | ExceptionGroup: many (1 sub-exception)",
                "  +-+---------------- 1 ----------------",
                "    | ValueError: a",
            ],
            "ExceptionGroup: many (1 sub-exception)",
        ),
        (
            ['  File "/x.py", line 1', "    def", "       ^", "SyntaxError: invalid syntax"],
            "SyntaxError: invalid syntax",
        ),
        (
            [
                "node:internal/process/promises:394",
                "      triggerUncaughtException(err, true /* fromPromise */);",
                "      ^",
                "",
                '[UnhandledPromiseRejection: rejected with the reason "boom".] {',
                "  code: 'ERR_UNHANDLED_REJECTION'",
                "Node.js v22.3.0",
            ],
            '[UnhandledPromiseRejection: rejected with the reason "boom".] {',
        ),
        (["/app/x.js:1", 'throw "boom"', "^", "boom", "Node.js v22.3.0"], "boom"),
        (["/app/x.js:1", 'throw "boom"'], "/app/x.js:1"),
        (
            ["12 | const x = y;", "               ^", "ReferenceError: y", "      at /app/x.js:1"],
            "ReferenceError: y",
        ),
        (
            [
                "(node:7) [DEP0040] DeprecationWarning: The `punycode` module is deprecated.",
                "(Use `node --trace-deprecation ...` to show where the warning was created)",
                "Error: no input",
            ],
            "Error: no input",
        ),
        (["Warning: no stdin data received in 3s", "Error: in use"], "Error: in use"),
        (["Warning: no stdin data received in 3s"], "Warning: no stdin data received in 3s"),
        (
            ["warning: rg: command not found", f"{TRACEBACK}:", "  x", "KeyError: 'a'"],
            "KeyError: 'a'",
        ),
        (
            ["sh: claude: command not found", f"{TRACEBACK}:", "  x", "CalledProcessError: 127"],
            "sh: claude: command not found",
        ),
        (
            ["#", "# Fatal JavaScript out of memory: Reached heap limit"],
            "# Fatal JavaScript out of memory: Reached heap limit",
        ),
        (
            ["1: frame", "FATAL ERROR: Zone Allocation failed - process out of memory"],
            "FATAL ERROR: Zone Allocation failed - process out of memory",
        ),
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
        "traceback cut short after a line",
        "last of two tracebacks cut short",
        "indented traceback",
        "group of exceptions",
        "syntax error",
        "Node's unhandled rejection",
        "Node, a text thrown",
        "Node cut short",
        "Bun",
        "Node's warning before the error",
        "warning before the error",
        "warning alone",
        "not found as a warning before a traceback",
        "not found before a traceback",
        "V8's trap",
        "V8 without memory",
    ],
)
def test_line_that_says_most_is_the_first_or_the_error_of_a_traceback(
    lines: list[str], expected: str | None
) -> None:
    assert telling_line(lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["", "=====", "  "], None),
        (["collected 3 items", "1 failed, 2 passed", "", "====="], "1 failed, 2 passed"),
        (["2 failed", "npm warn deprecated x"], "2 failed"),
        (["npm warn deprecated x", "---"], "npm warn deprecated x"),
    ],
)
def test_last_telling_line_is_the_last_with_a_word_and_no_warning(
    lines: list[str], expected: str | None
) -> None:
    assert last_telling_line(lines) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"  {EVENT}", f"[a line of JSON, {len(EVENT)} characters]"),
        ('{"a": 1}', '{"a": 1}'),
        ('{"type": "bug", "title": "Crash"}', '{"type": "bug", "title": "Crash"}'),
        ('{"type": ["a"]}', '{"type": ["a"]}'),
        ('{"type": "new", "uuid": "u"}', "[a line of JSON, 28 characters]"),
        ("{not json}", "{not json}"),
        ("plain", "plain"),
    ],
)
def test_line_with_an_event_is_named_and_others_stay(line: str, expected: str) -> None:
    assert without_json_events(f"before\n{line}\nafter") == f"before\n{expected}\nafter"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('API Error: 400 {"message":"prompt is too long"}', "“API Error: 400 prompt is too long”"),
        ('{"level":"error","message":"bad key"}', "“bad key”"),
        ('API Error: 400 {"type":"error","error":{"message":"no"}}', "“API Error: 400 no”"),
        ('{"type":"system","message":"said","uuid":"u"}', ""),
        ('{"message":{"content":[]}}', ""),
        (
            """invalid JSON: Unexpected token 'b', ..."","type": bad, "comm"... is not valid""",
            """“invalid JSON: Unexpected token 'b', ..."","type": bad, "comm"... is not valid”""",
        ),
        ('in {name}: {"type":"error","message":"no"}', "“in {name}: no”"),
        ('{"message":"a"} and {"message":"b"}', "“a and b”"),
        ('said {"type":"assistant","mess', "“said”"),
        ('e":"x","content":[{"type":"text"', ""),
        ("{}", "“{}”"),
        ("{" * 10_000, f"“{'{' * 300}…”"),
    ],
)
def test_json_is_quoted_by_its_message_unless_it_is_of_the_stream(text: str, expected: str) -> None:
    assert quote(text) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["\x1b[33mWarning: x\x1b[0m", "\x1b[31mError: real\x1b[0m"], "Error: real"),
        (
            [
                "\x1b[31mTraceback (most recent call last):\x1b[0m",
                '  File "a", line 1',
                "ValueError: boom",
            ],
            "ValueError: boom",
        ),
        (["\x1b[0m", "plain"], "plain"),
    ],
)
def test_colours_do_not_hide_the_line_that_says_most(lines: list[str], expected: str) -> None:
    assert telling_line(lines) == expected
