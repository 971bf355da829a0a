"""Whole streams that look like a success, or like another failure, and are not."""

import json
from typing import Any, NamedTuple

import pytest

from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import RunFacts
from tasks.outcome.run_result import LineRange, TranscriptProof
from tasks.outcome.verdict import Outcome, judge_run
from tests.unit.outcome.recordings import summarise

Event = dict[str, Any] | str

INIT: Event = {"type": "system", "subtype": "init", "session_id": "s", "model": "m"}
NOTE: Event = {"type": "system", "subtype": "task_notification", "status": "completed"}
GOOD: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "result": "Done.",
    "stop_reason": "end_turn",
    "terminal_reason": "completed",
}


def _said(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}, **fields}


SAID = _said("Working on it.")
SUBAGENT = _said("of a subagent", parent_tool_use_id="t")
SYNTHETIC = {"model": "<synthetic>", "content": [{"type": "text", "text": "API Error"}]}
FAILED: Event = _said("API Error", is_api_error_message=True)
RATE_LIMITED = {**_said("API Error", is_api_error_message=True), "error": "rate_limit"}
REFUSED: Event = {"type": "system", "subtype": "model_refusal_no_fallback"}
CUT_ASSISTANT = '{"type":"assistant","message":{"content":[{"type":"te'
CUT_SUBAGENT = '{"type":"assistant","message":{"content":[]},"parent_tool_use_id":"t","sess'
CUT_NOTE = '{"type":"system","subtype":"task_notif'
CUT_RESULT = '{"duration_api_ms":900,"stop_reason":"end_turn","is_error":tr'


NOTIFIED = {**GOOD, "result": "It has ended.", "origin": {"kind": "task-notification"}}
FAILED_RESUME: dict[str, Any] = {
    "type": "result",
    "subtype": "error_during_execution",
    "is_error": False,
    "num_turns": 0,
    "errors": ["No conversation found"],
}


class Stream(NamedTuple):
    """Events of a run with its exit code, and how it has to be judged."""

    events: list[Event]
    reason: Reason
    exit_code: int = 0


def _result(reason: Reason, *events: Event, exit_code: int = 0, **fields: Any) -> Stream:
    """Return a run that ends with a good result but for these fields; `events` come before it."""
    return Stream([INIT, SAID, *events, {**GOOD, **fields}], reason, exit_code)


def _notified(reason: Reason, **fields: Any) -> Stream:
    """Return a run whose prompt's result has these fields, and a notification's is good."""
    events: list[Event] = [INIT, SAID, {**GOOD, **fields}, NOTE, INIT, SAID, NOTIFIED]
    return Stream(events, reason)


def _judge(stream: Stream, **facts: Any) -> Outcome:
    lines = (event if isinstance(event, str) else json.dumps(event) for event in stream.events)
    session = summarise("\n".join(lines).encode())
    return judge_run(
        RunFacts(
            session=session, container_started=True, container_exit_code=stream.exit_code, **facts
        )
    )


STREAMS: dict[str, Stream] = {
    "finished": Stream([INIT, SAID, GOOD], Reason.SUCCESS),
    # Went on after its result, which no whole line tells.
    "cut message": Stream([INIT, SAID, GOOD, CUT_ASSISTANT], Reason.ENDED_AFTER_RESULT),
    "first bytes of a message": Stream([INIT, SAID, GOOD, '{"type":'], Reason.ENDED_AFTER_RESULT),
    "message without content": Stream(
        [INIT, SAID, GOOD, {"type": "assistant", "message": {}}], Reason.ENDED_AFTER_RESULT
    ),
    "message of bare text": Stream(
        [INIT, SAID, GOOD, {"type": "assistant", "message": {"content": "more text"}}],
        Reason.ENDED_AFTER_RESULT,
    ),
    "tail of a torn message": Stream(
        [INIT, SAID, GOOD, 'rest"}]},"parent_tool_use_id":null,"uuid":"u"}'],
        Reason.ENDED_AFTER_RESULT,
    ),
    "cut answer of a tool": Stream(
        [INIT, SAID, GOOD, '{"type":"user","message":{"content":[{"tool_use_id":"t","ty'],
        Reason.ENDED_AFTER_RESULT,
    ),
    "cut error result": Stream([INIT, SAID, GOOD, CUT_RESULT], Reason.CLOSING_RESULT_TORN),
    "cut error result, its type first": Stream(
        [INIT, SAID, GOOD, '{"type":"result","subtype":"error_dur'], Reason.CLOSING_RESULT_TORN
    ),
    "cut result alone": Stream([INIT, SAID, CUT_RESULT], Reason.CLOSING_RESULT_TORN, 137),
    "cut message of a subagent": Stream([INIT, SAID, GOOD, CUT_SUBAGENT], Reason.SUCCESS),
    "unreadable message of a subagent": Stream(
        [INIT, SAID, GOOD, {"type": "assistant", "message": {}, "parent_tool_use_id": "t"}],
        Reason.SUCCESS,
    ),
    "notes and subagents after the result": Stream(
        [INIT, SAID, GOOD, NOTE, SUBAGENT, CUT_NOTE], Reason.SUCCESS
    ),
    "words of another program after the result": Stream(
        [INIT, SAID, GOOD, "{", "npm notice"], Reason.SUCCESS
    ),
    "cut message before the result": Stream([INIT, SAID, CUT_ASSISTANT, GOOD], Reason.SUCCESS),
    "cut result before the last one": Stream(
        [INIT, SAID, GOOD, CUT_RESULT, SAID, GOOD], Reason.SUCCESS
    ),
    "cut first message": Stream([INIT, CUT_ASSISTANT], Reason.NO_RESULT),
    "cut first message, killed": Stream([INIT, CUT_ASSISTANT], Reason.NO_RESULT, 137),
    # Fields of another type than announced.
    "errors as a text": _result(Reason.ERROR_RESULT, errors="boom"),
    "errors as an object": _result(Reason.ERROR_RESULT, errors={"message": "boom"}),
    "errors as a flag": _result(Reason.ERROR_RESULT, errors=True),
    "errors as a blank text": _result(Reason.SUCCESS, errors=" "),
    "errors as an empty object": _result(Reason.SUCCESS, errors={}),
    "subtype missing": Stream(
        [INIT, SAID, {key: GOOD[key] for key in GOOD if key != "subtype"}], Reason.ERROR_UNSAID
    ),
    "subtype null": _result(Reason.ERROR_UNSAID, subtype=None),
    "subtype blank": _result(Reason.ERROR_UNSAID, subtype=" "),
    "subtype a number": _result(Reason.ERROR_UNSAID, subtype=7),
    # Failures beside `is_error: false`.
    "status of a failed request": _result(Reason.API_UNAVAILABLE, api_error_status=529),
    "status of a request that did not fail": _result(Reason.SUCCESS, api_error_status=200),
    "name of a failed request": _result(Reason.RATE_LIMITED, api_error="usage_limit_reached"),
    "unknown name of a failed request": _result(Reason.API_FAILED, api_error="brand_new"),
    "failed request as an object": _result(Reason.API_FAILED, api_error={"type": "x"}),
    "failed request instead of an answer": _result(Reason.RATE_LIMITED, RATE_LIMITED),
    "failed request without fields": _result(Reason.API_FAILED, FAILED),
    "message of the CLI's own model with an error": _result(
        Reason.RATE_LIMITED,
        {"type": "assistant", "message": SYNTHETIC, "error": "rate_limit"},
    ),
    "message of the CLI's own without an error": _result(
        Reason.SUCCESS, {"type": "assistant", "message": SYNTHETIC, "error": None}
    ),
    "message of the CLI's own as the answer": _result(
        Reason.ANSWERED_BY_CLI, {"type": "assistant", "message": SYNTHETIC}, result=" API Error\n"
    ),
    "message of the CLI's own, then an answer like it": _result(
        Reason.SUCCESS, {"type": "assistant", "message": SYNTHETIC}, SAID, result="API Error"
    ),
    "JSON beside a message of the CLI's own": _result(
        Reason.SUCCESS,
        {"type": "assistant", "message": SYNTHETIC},
        result="API Error",
        structured_output={"a": 1},
    ),
    "failed request, then an answer": _result(Reason.SUCCESS, RATE_LIMITED, SAID),
    "failed request of a subagent": _result(
        Reason.SUCCESS, {**RATE_LIMITED, "parent_tool_use_id": "t"}
    ),
    "refused": _result(Reason.REFUSED, REFUSED),
    "refused, then an answer": _result(Reason.SUCCESS, REFUSED, SAID),
    "refused, then a blank message": _result(Reason.REFUSED, REFUSED, _said(" ")),
    "refused, then an answer of a subagent": _result(Reason.REFUSED, REFUSED, SUBAGENT),
    "tool put off": _result(Reason.TOOL_DEFERRED, deferred_tool_use={"name": "Bash", "id": "t"}),
    "tool without a name put off": _result(Reason.TOOL_DEFERRED, deferred_tool_use={"id": "t"}),
    "no tool put off": _result(Reason.SUCCESS, deferred_tool_use=None),
    # The prompt's own turn failed, and that of a notification ended well.
    "error, then a notification": _notified(Reason.ERROR_RESULT, is_error=True),
    "errors, then a notification": _notified(Reason.ERROR_RESULT, errors=["boom"]),
    "refusal, then a notification": _notified(Reason.REFUSED, stop_reason="refusal"),
    "out of turns, then a notification": _notified(Reason.MAX_TURNS, subtype="error_max_turns"),
    "cut answer, then a notification": _notified(Reason.UNFINISHED, stop_reason="max_tokens"),
    "error unsaid, then a notification": _notified(Reason.ERROR_UNSAID, is_error=None),
    "failed request, then a notification": Stream(
        [INIT, RATE_LIMITED, GOOD, NOTE, INIT, SAID, NOTIFIED], Reason.RATE_LIMITED
    ),
    "good but empty, then a notification": _notified(Reason.SUCCESS, result=""),
    "good, then a notification": _notified(Reason.SUCCESS),
    "error, then a notification that failed": Stream(
        [INIT, SAID, {**GOOD, "is_error": True}, NOTE, INIT, {**NOTIFIED, "api_error_status": 529}],
        Reason.API_UNAVAILABLE,
    ),
    "good, then a notification that failed": Stream(
        [INIT, SAID, GOOD, NOTE, INIT, SAID, {**NOTIFIED, "is_error": True}], Reason.ERROR_RESULT
    ),
    "error, notification, prompt again": Stream(
        [INIT, SAID, {**GOOD, "is_error": True}, NOTIFIED, INIT, SAID, GOOD], Reason.SUCCESS
    ),
    "cut init": Stream(['{"type":"system","subtype":"in'], Reason.START_UP_ONLY, 137),
    "a new kind of event alone": Stream(
        [{"type": "brand_new", "uuid": "u"}], Reason.START_UP_ONLY, 1
    ),
    "JSON of another program": Stream([{"type": "error", "message": "no"}], Reason.UNMATCHED, 1),
    "braces of a shell": Stream(["{ echo hi }"], Reason.UNMATCHED, 127),
    "braces of Python": Stream(["{'error': 'no key'}"], Reason.UNMATCHED, 1),
    "a brace alone": Stream(["{"], Reason.START_UP_ONLY, 137),
}


@pytest.mark.parametrize("name", STREAMS)
def test_stream_is_judged_as_listed(name: str) -> None:
    stream = STREAMS[name]

    assert _judge(stream).reason is stream.reason


RESUMES: dict[str, Stream] = {
    "errors and subtype": Stream([FAILED_RESUME], Reason.SESSION_UNKNOWN, 1),
    "errors alone": Stream([{**FAILED_RESUME, "subtype": None}], Reason.SESSION_UNKNOWN, 1),
    "subtype alone": Stream([{**FAILED_RESUME, "errors": []}], Reason.SESSION_UNKNOWN, 1),
    "flag missing": Stream([{**FAILED_RESUME, "is_error": None}], Reason.SESSION_UNKNOWN, 1),
    "nonsense of turns": Stream(
        [{**FAILED_RESUME, "is_error": True, "num_turns": 18}], Reason.SESSION_UNKNOWN, 1
    ),
    "turns that are no number": Stream(
        [{**FAILED_RESUME, "num_turns": "many"}], Reason.SESSION_UNKNOWN, 1
    ),
    "deferred before, and again": Stream(
        [{**GOOD, "stop_reason": "tool_deferred"}], Reason.TOOL_DEFERRED
    ),
    "deferred before, its server away": Stream(
        [
            {
                **GOOD,
                "is_error": True,
                "terminal_reason": "tool_deferred_unavailable",
                "deferred_tool_use": {"id": "t", "name": "mcp__x"},
            }
        ],
        Reason.TOOL_DEFERRED,
        1,
    ),
    "too long to go on": Stream(
        [{**GOOD, "is_error": True, "terminal_reason": "blocking_limit"}], Reason.PROMPT_TOO_LONG, 1
    ),
    "good result": Stream([GOOD], Reason.SUCCESS),
    "begun": Stream([INIT, FAILED_RESUME], Reason.ERROR_RESULT, 1),
    "said something": Stream([SAID, FAILED_RESUME], Reason.ERROR_RESULT, 1),
}


RETRIED: Event = {"type": "system", "subtype": "api_retry", "attempt": 3}
LOST = {**GOOD, "is_error": True, "api_error": "connection_failed"}
LIMITED = {**GOOD, "is_error": True, "api_error_status": 429}


def _limit(status: str) -> Event:
    return {
        "type": "rate_limit_event",
        "rate_limit_info": {"status": status, "resetsAt": 1_800_000_000},
    }


def _hook(name: str, output: str = "") -> Event:
    return {"type": "system", "subtype": "hook_response", "hook_name": name, "output": output}


@pytest.mark.parametrize(
    ("events", "words", "told"),
    [
        ([INIT, SAID, RETRIED, LOST], "after 3 retries", True),
        ([INIT, RETRIED, SAID, LOST], "after 3 retries", False),
        ([INIT, REFUSED, SAID, LOST], "declined", False),
        ([INIT, SAID, _limit("rejected"), LIMITED], "resets at", True),
        ([INIT, SAID, _limit("allowed"), LIMITED], "resets at", False),
        ([INIT, SAID, _limit("allowed_warning"), LIMITED], "resets at", False),
    ],
)
def test_ending_is_told_by_what_belongs_to_it(events: list[Event], words: str, told: bool) -> None:
    assert (words in _judge(Stream(events, Reason.CONNECTION, 1)).message) is told


@pytest.mark.parametrize(
    ("hooks", "named"),
    [
        ([_hook("SessionStart:startup")], None),
        ([_hook("PreToolUse:Bash"), _hook("SessionEnd:other")], "PreToolUse:Bash"),
        ([_hook("Stop", '{"continue": false}'), _hook("PreToolUse:Bash")], "Stop"),
        ([_hook("SessionStart:startup", '{"continue":false}')], "SessionStart:startup"),
    ],
)
def test_hook_that_stopped_the_run_is_named(hooks: list[Event], named: str | None) -> None:
    stopped = {**GOOD, "terminal_reason": "hook_stopped"}
    message = _judge(Stream([INIT, *hooks, SAID, stopped], Reason.HOOK_STOPPED)).message

    assert ("Start:" in message, "Tool" in message, "Stop" in message) == (
        "Start:" in str(named),
        "Tool" in str(named),
        "Stop" in str(named),
    )


@pytest.mark.parametrize("name", RESUMES)
def test_resumed_stream_is_judged_as_listed(name: str) -> None:
    stream = RESUMES[name]

    assert _judge(stream, resume_requested=True).reason is stream.reason


def test_failed_resume_whose_turns_are_lost_is_no_unknown_session() -> None:
    lost = TranscriptProof(complete=False, missing=(LineRange(first=1, last=4),))
    stream = Stream([{**FAILED_RESUME, "num_turns": 2}], Reason.ERROR_RESULT, 1)

    assert _judge(stream, resume_requested=True, transcript=lost).reason is stream.reason


@pytest.mark.parametrize("length", range(2, len(json.dumps(SAID)) + 1))
def test_message_after_the_result_is_noticed_wherever_it_is_cut(length: int) -> None:
    line = json.dumps(SAID, separators=(",", ":"))[:length]

    assert _judge(Stream([INIT, SAID, GOOD, line], Reason.ENDED_AFTER_RESULT)).code is not None


@pytest.mark.parametrize("field", ["stop_reason", "terminal_reason"])
@pytest.mark.parametrize("value", [["refusal"], {"type": "refusal"}, 7, True])
def test_ending_that_is_no_word_is_an_unknown_one(field: str, value: object) -> None:
    outcome = _judge(Stream([INIT, SAID, {**GOOD, field: value}], Reason.SUCCESS))

    assert outcome.code is None
    assert [warning for warning in outcome.warnings if f"The result's {field}" in warning]
