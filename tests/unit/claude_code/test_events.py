import json
from typing import Any

import pytest

from tasks.claude_code.event_types import (
    ApiFailure,
    ApiRetryEvent,
    AssistantEvent,
    EventParseError,
    InitEvent,
    ModelRefusalEvent,
    OtherBlock,
    PartialMessageEvent,
    PermissionDeniedEvent,
    PlainLine,
    RateLimitEvent,
    ResultEvent,
    StreamEvent,
    SystemNoteEvent,
    TextBlock,
    ThinkingBlock,
    TokenCounts,
    ToolDenial,
    ToolResultBlock,
    ToolUseBlock,
    UnknownEvent,
    UserEvent,
)
from tasks.claude_code.events import parse_event, parse_event_leniently
from tests.unit.outcome.recordings import read_recording, recording_names


def _line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _assistant(**changes: Any) -> AssistantEvent:
    values: dict[str, Any] = {
        "blocks": (),
        "model": None,
        "is_synthetic": False,
        "api_failure": None,
        "is_open": False,
        "message_id": None,
        "usage": TokenCounts(),
        "parent_tool_use_id": None,
        "subagent_type": None,
        "session_id": None,
        "uuid": None,
    }
    return AssistantEvent(**{**values, **changes})


EVENTS: dict[str, tuple[bytes, StreamEvent]] = {
    "init": (
        _line(
            type="system",
            subtype="init",
            session_id="s",
            model="m",
            cwd="/w",
            claude_code_version="2.1.329",
            uuid="u",
        ),
        InitEvent("s", "m", "/w", "2.1.329", "u"),
    ),
    "init that says nothing": (
        _line(type="system", subtype="init"),
        InitEvent(None, None, None, None, None),
    ),
    "type in the middle of the line": (
        b'{"attempt":1,"subtype":"api_retry","type":"system","max_retries":10,'
        b'"retry_delay_ms":612.5,"error_status":null,"error":"unknown"}',
        ApiRetryEvent(1, 10, 612.5, None, "unknown", None),
    ),
    "assistant": (
        _line(
            type="assistant",
            message={
                "model": "m",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "hi"},
                    {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}},
                    {"type": "image"},
                    {},
                    None,
                ],
                "stop_reason": None,
                "id": "msg",
                "usage": {"input_tokens": 12, "output_tokens": 1},
            },
            parent_tool_use_id="p",
            subagent_type="Explore",
            session_id="s",
            uuid="u",
        ),
        _assistant(
            blocks=(
                ThinkingBlock("hm"),
                TextBlock("hi"),
                ToolUseBlock("Bash", "t", {"command": "ls"}),
                OtherBlock("image"),
                OtherBlock("untyped"),
                OtherBlock("bare NoneType"),
            ),
            model="m",
            is_open=True,
            message_id="msg",
            usage=TokenCounts(input_tokens=12, output_tokens=1),
            parent_tool_use_id="p",
            subagent_type="Explore",
            session_id="s",
            uuid="u",
        ),
    ),
    "synthetic assistant": (
        _line(
            type="assistant",
            message={"model": "<synthetic>", "content": []},
            error="rate_limit",
            is_api_error_message=True,
            api_error="usage_limit_reached",
            api_error_status=429,
            api_error_type="rate_limit_error",
            api_error_params={"rate_limit_info": {"resetsAt": 1795203285}},
        ),
        _assistant(
            is_synthetic=True,
            api_failure=ApiFailure(
                "rate_limit", "usage_limit_reached", "rate_limit_error", 429, 1795203285
            ),
        ),
    ),
    "user with a bare text": (
        _line(type="user", message={"content": "go on"}, isSynthetic=True),
        UserEvent((TextBlock("go on"),), True, None, None, None, None),
    ),
    "user without content": (
        _line(type="user", message={"content": ""}),
        UserEvent((), False, None, None, None, None),
    ),
    "tool result of parts": (
        _line(
            type="user",
            message={
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "is_error": True,
                        "content": [{"type": "text", "text": "a"}, {"type": "image"}],
                    }
                ]
            },
        ),
        UserEvent((ToolResultBlock("t", "a", True, ("image",)),), False, None, None, None, None),
    ),
    "rate limit": (
        _line(
            type="rate_limit_event",
            rate_limit_info={"status": "allowed", "rateLimitType": "five_hour", "resetsAt": 1.5},
        ),
        RateLimitEvent("allowed", "five_hour", 1.5, None),
    ),
    "permission denied": (
        _line(
            type="system",
            subtype="permission_denied",
            tool_name="Edit",
            tool_use_id="t",
            message="no",
        ),
        PermissionDeniedEvent("Edit", "t", "no", None),
    ),
    "refusal": (
        _line(
            type="system",
            subtype="model_refusal_no_fallback",
            original_model="m",
            api_refusal_category="cyber",
            api_refusal_explanation="why",
        ),
        ModelRefusalEvent("m", "cyber", "why", None),
    ),
    "note": (
        _line(type="system", subtype="hook_response", hook_name="Stop", outcome="", exit_code=2),
        SystemNoteEvent("hook_response", (("hook_name", "Stop"), ("exit_code", 2)), None),
    ),
    "partial message": (
        _line(type="stream_event", event={"type": "content_block_delta"}, uuid="u"),
        PartialMessageEvent("content_block_delta", "u"),
    ),
    "unknown type": (_line(type="new", subtype="x"), UnknownEvent("new", "x", None)),
    "unknown system subtype": (
        _line(type="system", subtype="compact_boundary"),
        UnknownEvent("system", "compact_boundary", None),
    ),
    "system without subtype": (_line(type="system"), UnknownEvent("system", None, None)),
    "not JSON": (b"Error: no", PlainLine("Error: no")),
    "blank": (b"  ", PlainLine("  ")),
    "empty": (b"", PlainLine("")),
    "JSON number": (b"42", PlainLine("42")),
    "JSON list": (b'[{"type":"result"}]', PlainLine('[{"type":"result"}]')),
    "JSON null": (b"null", PlainLine("null")),
    "object without type": (b'{"foo":1}', PlainLine('{"foo":1}')),
    "object whose type is no text": (b'{"type":1}', PlainLine('{"type":1}')),
    "event cut short": (b'{"type":"resu', PlainLine('{"type":"resu', is_fragment=True)),
    "count beyond any double": (
        b'{"type":"assistant","message":{"content":[],"usage":{"input_tokens":1'
        + b"0" * 400
        + b"}}}",
        _assistant(),
    ),
    "white space around": (
        b' \t\r{"type":"stream_event","event":{}}\r ',
        PartialMessageEvent(None, None),
    ),
    "more behind it": (
        b'{"type":"assistant"} {}',
        PlainLine('{"type":"assistant"} {}', is_fragment=True),
    ),
    "not a number in JSON": (b'{"type":NaN}', PlainLine('{"type":NaN}', is_fragment=True)),
    "number without end": (
        b'{"n":' + b"1" * 5000 + b"}",
        PlainLine('{"n":' + "1" * 5000 + "}", is_fragment=True),
    ),
    "nested without end": (b"[" * 100_000, PlainLine("[" * 100_000)),
    "bytes that are no UTF-8": (b"caf\xe9", PlainLine("caf�")),
    "line separator inside JSON": (
        '{"type":"user","message":{"content":"a\u2028b"}}'.encode(),
        UserEvent((TextBlock("a\u2028b"),), False, None, None, None, None),
    ),
    "half of a surrogate pair": (
        b'{"type":"user","message":{"content":["\\ud83d",{"type":"text","text":"a\\ud83db\\ud83d'
        b'\\ude00"}]},"\\udc00":1}',
        UserEvent((OtherBlock("bare str"), TextBlock("a�b😀")), False, None, None, None, None),
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_line_is_parsed_as_listed(name: str) -> None:
    line, event = EVENTS[name]

    assert parse_event(line) == event


MALFORMED: dict[str, tuple[bytes, str, str]] = {
    "assistant without message": (_line(type="assistant"), "assistant", "message.content"),
    "assistant with one block": (
        _line(type="assistant", message={"content": {"type": "text"}}),
        "assistant",
        "message.content",
    ),
    "user without content": (_line(type="user", message={}), "user", "message.content"),
    "retry without attempt": (
        _line(type="system", subtype="api_retry", attempt=True),
        "system/api_retry",
        "attempt",
    ),
    "denial without tool": (
        _line(type="system", subtype="permission_denied"),
        "system/permission_denied",
        "tool_name",
    ),
    "rate limit without info": (
        _line(type="rate_limit_event"),
        "rate_limit_event",
        "rate_limit_info",
    ),
    "partial message without event": (_line(type="stream_event"), "stream_event", "event"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_known_event_without_what_it_needs_is_an_error_with_its_payload(name: str) -> None:
    line, event_type, missing = MALFORMED[name]

    with pytest.raises(EventParseError, match=missing) as raised:
        parse_event(line)

    assert (raised.value.event_type, raised.value.missing) == (event_type, missing)
    assert raised.value.payload == json.loads(line)
    assert isinstance(parse_event_leniently(line), EventParseError)


def test_result_is_parsed_field_by_field() -> None:
    fields: dict[str, Any] = {
        "duration_api_ms": 25,
        "type": "result",
        "subtype": "error_max_turns",
        "is_error": True,
        "terminal_reason": "max_turns",
        "stop_reason": "tool_use",
        "errors": [" ", "a", {"error": "e"}, {"message": "m"}, {"code": "c"}, {"x": 1}, 7, ""],
        "api_error": "connection_failed",
        "api_error_type": "api_error",
        "api_error_status": 500,
        "num_turns": 2.0,
        "duration_ms": 185.5,
        "total_cost_usd": 0.001,
        "model_usage_since_last_result": {"m": {"costUSD": 0.5}, "n": {"costUSD": 0.25}},
        "usage": {"input_tokens": 12, "output_tokens": None, "cache_read_input_tokens": "1"},
        "permission_denials": [{"tool_name": "Edit", "tool_use_id": "t"}, {}, "x"],
        "modelUsage": {"m": {"provider": "firstParty"}, "n": {"provider": "firstParty"}},
        "session_id": "s",
        "uuid": "u",
        "structured_output": {"n": 1},
        "origin": {"kind": "task-notification"},
        "deferred_tool_use": {"id": "t", "name": "Bash"},
    }

    assert parse_event(json.dumps(fields).encode()) == ResultEvent(
        subtype="error_max_turns",
        is_error=True,
        terminal_reason="max_turns",
        stop_reason="tool_use",
        text=None,
        errors=("a", "e", "m", "c", "7", "an error with x"),
        api_error="connection_failed",
        api_error_type="api_error",
        api_error_status=500,
        num_turns=2,
        duration_ms=185.5,
        total_cost_usd=0.001,
        new_cost_usd=0.75,
        usage=TokenCounts(input_tokens=12),
        permission_denials=(ToolDenial("Edit", "t"), ToolDenial("unnamed", None)),
        provider="firstParty",
        models=("m", "n"),
        session_id="s",
        uuid="u",
        structured_output={"n": 1},
        origin_kind="task-notification",
        deferred_tool="Bash",
        has_deferred_tool=True,
        raw=fields,
    )


def test_result_that_says_nothing_is_all_unknown() -> None:
    event = parse_event(
        b'{"type":"result","is_error":"false","total_cost_usd":1e999,"num_turns":true,'
        b'"modelUsage":{"a":{"provider":"x"},"b":{"provider":"y"},"c":1}}'
    )

    assert isinstance(event, ResultEvent)
    assert (event.is_error, event.total_cost_usd, event.num_turns) == (None, None, None)
    assert event.usage == TokenCounts()
    assert event.provider is None


@pytest.mark.parametrize("name", recording_names())
def test_recording_holds_nothing_unknown_or_malformed(name: str) -> None:
    recording = read_recording(name)
    unparsable = len(recording.meta["unparsable_lines"])

    events = [parse_event(line) for line in recording.lines]

    assert not [event for event in events if isinstance(event, UnknownEvent)]
    assert sum(isinstance(event, PlainLine) for event in events) == unparsable


def test_every_event_of_a_recording_keeps_its_own_uuid() -> None:
    events = [parse_event(line) for line in read_recording("subagent").lines]
    uuids = [event.uuid for event in events if not isinstance(event, PlainLine)]

    assert None not in uuids
    assert len(set(uuids)) == len(events)
