import json
import re
from typing import Any

import pytest

from tasks.claude_code.event_types import EventParseError, PlainLine, event_name
from tasks.claude_code.events import parse_event, parse_event_leniently
from tasks.claude_code.rendering import (
    SAID_LIMIT_CHARACTERS,
    SILENT_EVENTS,
    Extent,
    LineKind,
    RenderedLine,
    render_epoch,
    render_event,
    render_stderr,
)
from tasks.text.safe_text import (
    clock_text,
    cut_text,
    duration_text,
    escape_control_characters,
    fold_text,
    one_line,
    size_text,
)
from tests.unit.outcome.recordings import read_recording, recording_names

Kind = LineKind


def _system(subtype: str, **fields: Any) -> dict[str, Any]:
    return {"type": "system", "subtype": subtype, **fields}


def _assistant(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": list(blocks)}, **fields}


def _user(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "user", "message": {"content": list(blocks)}, **fields}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _tool_use(name: str | None, **values: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": values}


RENDERED: dict[str, tuple[dict[str, Any] | str, list[tuple[LineKind, str]]]] = {
    "init": (
        _system("init", model="m", session_id="s", claude_code_version="2.1.329"),
        [(Kind.SESSION, "Claude Code ready: model m, session s, version 2.1.329")],
    ),
    "init that says nothing": (
        _system("init"),
        [(Kind.SESSION, "Claude Code ready: model unknown")],
    ),
    "text": (_assistant(_text("Hi.\nYou.")), [(Kind.ASSISTANT, "assistant: Hi.\n    You.")]),
    "several blocks": (
        _assistant({"type": "thinking", "thinking": "hm"}, _text("Hi."), {"type": "image"}),
        [
            (Kind.THINKING, "thinking: hm"),
            (Kind.ASSISTANT, "assistant: Hi."),
            (Kind.UNKNOWN, "image block, not shown"),
        ],
    ),
    "withheld thinking": (_assistant({"type": "thinking", "thinking": ""}), []),
    "subagent": (
        _assistant(_text("Hi."), parent_tool_use_id="t", subagent_type="Explore"),
        [(Kind.ASSISTANT, "[Explore] assistant: Hi.")],
    ),
    "nameless subagent": (
        _user(_text("Hi."), parent_tool_use_id="t"),
        [(Kind.USER, "[subagent] user: Hi.")],
    ),
    "error of the API": (
        _assistant(_text("API Error"), is_api_error_message=True),
        [(Kind.ERROR, "error: API Error")],
    ),
    "prompt of the CLI": (
        _user(_text("Go on."), isSynthetic=True),
        [(Kind.USER, "prompt by the CLI itself: Go on.")],
    ),
    "tool call": (
        _assistant(_tool_use("Bash", command="ls -la")),
        [(Kind.TOOL_CALL, "tool call Bash: ls -la")],
    ),
    "tool call with more input": (
        _assistant(_tool_use("Read", limit=2, file_path="/a", offset=1)),
        [(Kind.TOOL_CALL, "tool call Read (and limit, offset): /a")],
    ),
    "command with its description": (
        _assistant(_tool_use("Bash", command="ls \\\n  -la", description="List", timeout=5)),
        [(Kind.TOOL_CALL, "tool call Bash (List; and timeout): ls \\\n      -la")],
    ),
    "subagent's call": (
        _assistant(_tool_use("Agent", prompt="Go.", description="Look", subagent_type="Explore")),
        [(Kind.TOOL_CALL, "tool call Agent (Look; Explore): Go.")],
    ),
    "edit": (
        _assistant(_tool_use("Edit", file_path="/a", old_string="a\nb", new_string="a\nc")),
        [(Kind.TOOL_CALL, "tool call Edit (/a):\n     a\n    -b\n    +c")],
    ),
    "edit of every occurrence": (
        _assistant(
            _tool_use("Edit", file_path="/a", old_string="b", new_string="", replace_all=True)
        ),
        [(Kind.TOOL_CALL, "tool call Edit (/a, every occurrence):\n    -b")],
    ),
    "edit with a field of a wrong type": (
        _assistant(_tool_use("Edit", file_path="/a", old_string=1, new_string="c")),
        [(Kind.TOOL_CALL, "tool call Edit (and old_string, new_string): /a")],
    ),
    "several edits": (
        _assistant(
            _tool_use(
                "MultiEdit",
                file_path="/a",
                edits=[
                    {"old_string": "a", "new_string": "b"},
                    {"old_string": "c", "new_string": "d"},
                ],
            )
        ),
        [(Kind.TOOL_CALL, "tool call MultiEdit (/a):\n    -a\n    +b\n    @@\n    -c\n    +d")],
    ),
    "edit that takes the line feed away": (
        _assistant(_tool_use("Edit", file_path="/a", old_string="# b\n", new_string="# b")),
        [
            (
                Kind.TOOL_CALL,
                "tool call Edit (/a):\n    -# b\n    +# b\n    \\ No line feed at the end",
            )
        ],
    ),
    "several edits, one of every occurrence, one unreadable": (
        _assistant(
            _tool_use(
                "MultiEdit",
                file_path="/a",
                edits=[
                    {"old_string": "a", "new_string": "b", "replace_all": True},
                    {"old_string": 1},
                ],
            )
        ),
        [
            (
                Kind.TOOL_CALL,
                "tool call MultiEdit (/a):\n    @@ every occurrence\n    -a\n    +b\n    @@\n"
                '     {"old_string":1}',
            )
        ],
    ),
    "search in a folder": (
        _assistant(_tool_use("Grep", path="/src", pattern="TODO")),
        [(Kind.TOOL_CALL, "tool call Grep (and path): TODO")],
    ),
    "write": (
        _assistant(_tool_use("Write", content="a\n\nb\n", file_path="/a")),
        [(Kind.TOOL_CALL, "tool call Write (/a):\n    +a\n    +\n    +b")],
    ),
    "empty write": (
        _assistant(_tool_use("Write", content="", file_path="/a")),
        [(Kind.TOOL_CALL, "tool call Write (/a)")],
    ),
    "notebook": (
        _assistant(_tool_use("NotebookEdit", notebook_path="/n", new_source="a", cell_id="7")),
        [(Kind.TOOL_CALL, "tool call NotebookEdit (/n, 7):\n    +a")],
    ),
    "to-do list": (
        _assistant(
            _tool_use(
                "TodoWrite",
                todos=[
                    {"content": "Read\nit", "status": "completed"},
                    {"content": "Fix it", "status": "in_progress"},
                    {"content": "Test it", "status": "pending"},
                    {"content": "Rest", "status": "odd"},
                ],
            )
        ),
        [
            (
                Kind.TOOL_CALL,
                "tool call TodoWrite (1 of 4 done):\n    ☑ Read it\n    ▶ Fix it\n    ☐ Test it\n"
                "    ☐ Rest (odd)",
            )
        ],
    ),
    "to-do list of another shape": (
        _assistant(_tool_use("TodoWrite", todos=[1])),
        [(Kind.TOOL_CALL, 'tool call TodoWrite: {"todos":[1]}')],
    ),
    "to-do created and updated": (
        _assistant(
            _tool_use("TaskCreate", subject="Fix it", description="All of it"),
            _tool_use("TaskUpdate", taskId="3", status="completed"),
        ),
        [
            (Kind.TOOL_CALL, "tool call TaskCreate:\n    ☐ Fix it"),
            (Kind.TOOL_CALL, "tool call TaskUpdate:\n    ☑ task 3"),
        ],
    ),
    "tool call of another kind": (
        _assistant(_tool_use("mcp", p=[1])),
        [(Kind.TOOL_CALL, 'tool call mcp: {"p":[1]}')],
    ),
    "tool call without name and input": (
        _assistant(_tool_use(None)),
        [(Kind.TOOL_CALL, "tool call unknown")],
    ),
    "tool result": (
        _user({"type": "tool_result", "content": "a\nb"}),
        [(Kind.TOOL_RESULT, "tool result: a\n    b")],
    ),
    "tool error": (
        _user({"type": "tool_result", "content": "no", "is_error": True}),
        [(Kind.TOOL_ERROR, "tool error: no")],
    ),
    "tool result with an image": (
        _user({"type": "tool_result", "content": [_text("a"), {"type": "image"}]}),
        [(Kind.TOOL_RESULT, "tool result: a [image]")],
    ),
    "long tool result": (
        _user({"type": "tool_result", "content": "a" * 2500}),
        [
            (
                Kind.TOOL_RESULT,
                f"tool result: {'a' * 1200}…\n    [500 bytes left out; `claude-jobs logs AGENT "
                f"--full` prints them]\n    …{'a' * 800}",
            )
        ],
    ),
    "retry": (
        _system(
            "api_retry",
            attempt=3,
            max_retries=10,
            retry_delay_ms=2327,
            error_status=429,
            error="rate_limit",
        ),
        [(Kind.RETRY, "model API retry 3 of 10 in 2.3 s: status 429, rate_limit")],
    ),
    "retry without an answer": (
        _system("api_retry", attempt=1),
        [(Kind.RETRY, "model API retry 1 of unknown: no answer")],
    ),
    "rate limit": (
        {
            "type": "rate_limit_event",
            "rate_limit_info": {
                "status": "allowed",
                "rateLimitType": "five_hour",
                "resetsAt": 1777056000,
            },
        },
        [(Kind.RATE_LIMIT, "rate limit five_hour: allowed, resets 2026-04-24 18:40:00 UTC")],
    ),
    "rate limit that says nothing": (
        {"type": "rate_limit_event", "rate_limit_info": {"resetsAt": 1e300}},
        [(Kind.RATE_LIMIT, "rate limit unknown: unknown")],
    ),
    "permission denied": (
        _system("permission_denied", tool_name="Edit", message="not allowed"),
        [(Kind.TOOL_ERROR, "permission denied: Edit: not allowed")],
    ),
    "permission denied without reason": (
        _system("permission_denied", tool_name="Edit"),
        [(Kind.TOOL_ERROR, "permission denied: Edit")],
    ),
    "refusal": (
        _system("model_refusal_no_fallback", original_model="m", api_refusal_category="cyber"),
        [(Kind.ERROR, "the model declined to answer: m: cyber")],
    ),
    "note": (
        _system("hook_response", hook_name="Stop", outcome="error", exit_code=2),
        [(Kind.NOTE, "hook response: Stop, error, exit code 2")],
    ),
    "note without details": (_system("status"), [(Kind.NOTE, "status")]),
    "counter": (_system("thinking_tokens", estimated_tokens=10), []),
    "partial message": ({"type": "stream_event", "event": {}}, []),
    "unknown type": (
        {"type": "brand_new", "subtype": "x\x1b"},
        [(Kind.UNKNOWN, "event of an unknown type: brand_new/x\\x1b")],
    ),
    "unknown type without subtype": (
        {"type": "brand_new"},
        [(Kind.UNKNOWN, "event of an unknown type: brand_new")],
    ),
    "malformed": (
        {"type": "assistant"},
        [(Kind.UNKNOWN, "unreadable assistant event: no usable message.content")],
    ),
    "plain": ("Error: no", [(Kind.PLAIN, "Error: no")]),
    "blank": ("   ", []),
    "good result": (
        {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "terminal_reason": "completed",
            "result": "Done.",
            "num_turns": 1200,
            "total_cost_usd": 0.005,
            "usage": {
                "input_tokens": 1200,
                "output_tokens": 0,
                "cache_read_input_tokens": 50,
                "cache_creation_input_tokens": 7,
            },
        },
        [
            (Kind.RESULT, "result: Done."),
            (
                Kind.RESULT,
                "turn ended (success, completed): turns 1,200; tokens in 1,200, out 0, cache read "
                "50, cache write 7; cost so far $0.005000",
            ),
        ],
    ),
    "error called success": (
        {"type": "result", "subtype": "success", "is_error": True, "result": "API Error"},
        [
            (Kind.ERROR, "result: API Error"),
            (
                Kind.ERROR,
                "turn ended (failed, success): turns unknown; tokens unknown; cost so far unknown",
            ),
        ],
    ),
    "errors of a result": (
        {"type": "result", "errors": ["a", "b"]},
        [
            (Kind.ERROR, "result: a"),
            (Kind.ERROR, "result: b"),
            (
                Kind.ERROR,
                "turn ended (failed): turns unknown; tokens unknown; cost so far unknown",
            ),
        ],
    ),
    "result that says nothing": (
        {"type": "result"},
        [(Kind.RESULT, "turn ended: turns unknown; tokens unknown; cost so far unknown")],
    ),
}


@pytest.mark.parametrize("name", RENDERED)
def test_event_is_rendered_as_listed(name: str) -> None:
    event, lines = RENDERED[name]
    payload = event if isinstance(event, str) else json.dumps(event)

    rendered = render_event(parse_event_leniently(payload.encode()))

    assert [(line.kind, line.text) for line in rendered] == lines


@pytest.mark.parametrize("name", recording_names())
def test_every_line_of_a_recording_is_shown_or_silent_for_a_reason(name: str) -> None:
    for line in read_recording(name).lines:
        event = parse_event_leniently(line)
        rendered = render_event(event)

        silent = not isinstance(event, PlainLine) and event_name(event) in SILENT_EVENTS
        assert bool(rendered) is not silent
        for entry in rendered:
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", entry.text)
            assert all(part.startswith("    ") for part in entry.text.split("\n")[1:])
            assert len(entry.text) < 10 * SAID_LIMIT_CHARACTERS


def test_text_cannot_steer_a_terminal_or_pass_for_another_entry() -> None:
    text = "\x1b]0;title\x07\x1b[2J\rhidden\r\nresult: success\x9b\u202e\x00"
    [line] = render_event(parse_event(json.dumps(_assistant(_text(text))).encode()))

    assert line.text == (
        "assistant: \\x1b]0;title\\x07\\x1b[2J\\x0dhidden\n    result: success\\x9b\\u202e\\x00"
    )


def test_control_characters_are_written_out_in_plain_lines_and_stderr() -> None:
    assert render_event(parse_event(b"\x1b[31mred"))[0].text == "\\x1b[31mred"
    assert render_stderr(b"\x1b[31mred\xff") == RenderedLine(Kind.STDERR, "\\x1b[31mred�", "stderr")


def test_long_text_is_cut_with_a_note() -> None:
    [line] = render_event(PlainLine("a" * (SAID_LIMIT_CHARACTERS + 1234)))

    assert line.text.endswith("a… [1,234 more characters cut]")


def test_every_silent_event_is_one_that_is_known() -> None:
    recorded = {
        event_name(event)
        for name in ("partial_messages", "subagent")
        for event in map(parse_event, read_recording(name).lines)
    }

    assert set(SILENT_EVENTS) <= recorded


def test_error_value_is_rendered_like_an_event() -> None:
    error = EventParseError("assistant", "message.content", {})

    assert render_event(error)[0].kind is Kind.UNKNOWN


@pytest.mark.parametrize(("epoch", "text"), [(None, None), (float("1e300"), None)])
def test_instant_that_is_none_is_not_rendered(epoch: float | None, text: str | None) -> None:
    assert render_epoch(epoch) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc", "a\tb\nc"), ("a\r\nb\rc", "a\nb\\x0dc"), ("\ud83d\u2028", "\\ud83d\\u2028")],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert escape_control_characters(text) == shown


@pytest.mark.parametrize("code", [*range(9), *range(0x0B, 0x20), 0x7F])
def test_no_ascii_control_character_is_let_through(code: int) -> None:
    assert escape_control_characters(f"a{chr(code)}b") == f"a\\x{code:02x}b"


def test_cut_text_says_how_much_is_missing() -> None:
    assert cut_text("abcdef", 6) == "abcdef"
    assert cut_text("abcdefg", 6) == "abcdef… [1 more characters cut]"


@pytest.mark.parametrize(
    ("text", "line"),
    [(" a \n b ", "a b"), ("abcdefghijk", "abcdefghij…"), ("a b" + " " * 50 + "c", "a b…")],
)
def test_one_line_is_one_line(text: str, line: str) -> None:
    assert one_line(text, 10) == line


def test_entry_is_rewritten_in_all_of_its_texts() -> None:
    line = RenderedLine(Kind.TOOL_CALL, "key", "tool call key", "a key", depth=1, call_id="t")

    assert line.rewritten(lambda text: text.replace("key", "***")) == RenderedLine(
        Kind.TOOL_CALL, "***", "tool call ***", "a ***", depth=1, call_id="t"
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", "0 bytes"),
        ("é" * 499, "998 bytes"),
        ("é" * 500, "1 KB"),
        ("a\n" * 312 + "b" * 13_500, "312 lines, 14 KB"),
        ("a\nb", "3 bytes"),
    ],
)
def test_size_of_a_text_is_told_in_lines_and_bytes(text: str, size: str) -> None:
    assert size_text(text) == size


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (7.9, "0:07"), (754, "12:34"), (3723, "1:02:03")]
)
def test_time_since_the_start_is_told_as_a_clock_does(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


LONG_TEXTS: dict[str, dict[str, Any]] = {
    "said": _assistant(_text("a " * 20_000)),
    "tool result": _user({"type": "tool_result", "content": "line\n" * 9_000}),
    "command": _assistant(_tool_use("Bash", command="echo a\n" * 9_000)),
    "write": _assistant(_tool_use("Write", file_path="/a", content="line\n" * 9_000)),
    "result": {"type": "result", "result": "a " * 20_000},
}


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_long_texts_are_folded_unless_all_is_asked_for(name: str) -> None:
    event = parse_event(json.dumps(LONG_TEXTS[name]).encode())

    folded = render_event(event, Extent(printed_by="claude-jobs logs demo --full"))[0].body
    whole = render_event(event, Extent(is_whole=True))[0].body

    assert len(folded) <= SAID_LIMIT_CHARACTERS + 100
    assert "more characters cut]" in folded or (
        " lines, " in folded and "; `claude-jobs logs demo --full` prints them]" in folded
    )
    assert len(whole) >= 39_999
    assert "left out" not in whole
    assert "cut" not in whole


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("abcdefghij", "abcdefghij"),
        ("abcdefghijk", "abcdef…\n[1 bytes left out]\n…hijk"),
        ("ab cdefghij klm", "ab…\n[10 bytes left out]\n…klm"),
    ],
    ids=["short", "without-space", "between-words"],
)
def test_long_text_keeps_its_beginning_and_its_end(text: str, folded: str) -> None:
    assert fold_text(text, 6, 4) == folded


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3660, "1 h 01 min")],
)
def test_duration_is_told_as_people_read_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
