import json
import tracemalloc
from typing import Any

import pytest

from tasks.claude_code.event_types import (
    ApiRetryEvent,
    ModelRefusalEvent,
    RateLimitEvent,
    TokenCounts,
    ToolDenial,
)
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.session_summary import (
    DENIALS_LIMIT,
    NAMES_LIMIT,
    OTHER_NAMES,
    SessionState,
    SessionSummary,
)
from tasks.claude_code.session_totals import TEXT_LIMIT_CHARACTERS
from tests.unit.outcome.recordings import read_recording, recording_names, summarise


def _summary(*events: dict[str, Any] | str) -> SessionSummary:
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return summarise("\n".join(lines).encode())


def _said(text: str, **fields: Any) -> dict[str, Any]:
    message = {"content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, **fields}


def _result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "is_error": False, **fields}


def _recorded(name: str) -> SessionSummary:
    return summarise(read_recording(name).stdout)


def test_last_result_counts_and_sums_run_over_all() -> None:
    summary = _recorded("subagent")

    assert summary.last_result is not None
    assert summary.last_result.raw["result_index"] == 1
    assert summary.summary == "I started a subagent in the background."
    assert summary.cost_usd == 0.00398
    assert (summary.num_turns, summary.duration_ms) == (3, 510)
    assert summary.usage == TokenCounts(36, 78, 0, 3000)


def test_answer_is_that_of_the_prompt_and_not_of_a_notification() -> None:
    summary = _recorded("bg_bash")

    assert summary.summary == "Started it in the background."
    assert summary.last_result is not None
    assert summary.last_result.text == "The background command finished."


NOTIFIED = {"origin": {"kind": "task-notification"}}
NOTE = {"type": "system", "subtype": "task_notification", "status": "completed"}
INIT = {"type": "system", "subtype": "init"}


@pytest.mark.parametrize(
    ("events", "answer"),
    [
        ([_result(result=" a \n"), _result(result="b", **NOTIFIED)], "a"),
        ([_result(result="a"), _result(result="b")], "b"),
        ([_result(result=""), _result(result="b", **NOTIFIED)], "b"),
        ([_result(result="b", **NOTIFIED)], "b"),
        ([_result(result="a"), _result(result="b", is_error=True)], "a"),
        ([_result(result=" ")], None),
        # What a notification was answered is no answer to a prompt whose turn failed.
        ([_result(result="a", is_error=True), _result(result="b", **NOTIFIED)], None),
        ([_result(result="", stop_reason="max_tokens"), _result(result="b", **NOTIFIED)], None),
        ([_result(result="no", stop_reason="Refusal"), _result(result="b", **NOTIFIED)], None),
        ([_result(result="a"), _result(result="no", stop_reason="refusal")], "a"),
        ([_result(result="API Error", api_error_status=529)], None),
        ([_result(result="some", stop_reason="max_tokens")], "some"),
    ],
)
def test_answer_is_the_last_of_the_prompt_that_is_not_empty(
    events: list[dict[str, Any]], answer: str | None
) -> None:
    assert _summary(*events).answer == answer


@pytest.mark.parametrize(
    ("events", "is_open"),
    [
        ([INIT, _said("a"), _result(result="a")], False),
        ([INIT, _result(), NOTE], False),
        ([INIT, _result(), NOTE, INIT], True),
        ([INIT, _result(), NOTE, INIT, _result()], False),
        ([INIT, _result(), _said("more")], True),
        ([INIT, _result(), _said(" ")], False),
        ([INIT, _result(), _said("sub", parent_tool_use_id="t")], False),
        # The turn about a notification began before the result of the first one was printed.
        ([INIT, _said("a"), NOTE, INIT, _said("b"), _result(), _result()], False),
        ([INIT, _said("a"), NOTE, INIT, _said("b"), _result()], True),
        # Folded into the turn at work, or said again in the middle of it.
        ([INIT, _said("a"), NOTE, _said("b"), _result()], False),
        ([INIT, _said("a"), INIT, _said("b"), _result()], False),
        ([NOTE, INIT, _result(), INIT, _result()], False),
        ([_result()], False),
        ([INIT, _said("a")], False),
    ],
)
def test_turn_is_open_until_its_result(events: list[dict[str, Any]], is_open: bool) -> None:
    assert _summary(*events).turn_open is is_open


def test_background_task_that_was_stopped_is_named_unless_it_is_of_an_earlier_process() -> None:
    stopped = {**NOTE, "status": "stopped", "summary": "analyse A"}

    assert _summary(INIT, _result(), stopped).stopped_tasks == ("analyse A",)
    assert _summary(stopped, INIT, _result()).stopped_tasks == ()
    assert _summary(INIT, _result(), NOTE).stopped_tasks == ()


@pytest.mark.parametrize(
    ("status", "notes", "named"),
    [
        ("killed", [], ("a1",)),
        ("killed", [{**NOTE, "task_id": "a1", "status": "killed", "summary": "tests"}], ("tests",)),
        ("completed", [], ()),
    ],
)
def test_background_task_that_was_stopped_is_named_once_with_or_without_a_notification(
    status: str, notes: list[dict[str, Any]], named: tuple[str, ...]
) -> None:
    update = {**NOTE, "subtype": "task_updated", "task_id": "a1", "patch": {"status": status}}

    assert _summary(INIT, _result(), update, *notes).stopped_tasks == named


@pytest.mark.parametrize("field", ["duration_ms", "num_turns"])
def test_sum_that_no_number_can_hold_is_unknown(field: str) -> None:
    half = _result(**{field: 1e308})

    assert getattr(_summary(half, half), field) is None


def test_empty_closing_result_leaves_the_answer_given_before() -> None:
    summary = _summary(_result(result="Done."), _said("more"), _result(result=" "))

    assert summary.summary == "Done."


@pytest.mark.parametrize(
    "name", ["auth_401", "api_error_500", "not_logged_in", "credit_400", "json_format_error"]
)
def test_text_of_an_error_is_no_summary(name: str) -> None:
    assert _recorded(name).summary is None


def test_summary_without_answer_is_what_the_main_agent_said() -> None:
    assert _recorded("block_then_no_stop").summary == "\n\n".join(["A complete block."] * 4)


def test_texts_of_subagents_are_no_summary() -> None:
    summary = _summary(_said("main"), _said("sub", parent_tool_use_id="t"))

    assert summary.summary == "main"
    assert summary.model_output_seen


def test_unknown_stays_unknown() -> None:
    summary = _summary(_result(total_cost_usd="0.5", usage={"input_tokens": 1}), _result())

    assert summary.cost_usd is None
    assert summary.usage == TokenCounts()
    assert (summary.num_turns, summary.duration_ms, summary.provider) == (None, None, None)


@pytest.mark.parametrize("amount", ["-1", "-0.5", "1e16", "1e999", "9" * 400])
def test_amount_that_nobody_can_have_used_is_unknown(amount: str) -> None:
    amounts = f'"total_cost_usd":{amount},"num_turns":{amount},"duration_ms":{amount}'
    summary = _summary(f'{{"type":"result",{amounts},"usage":{{"output_tokens":{amount}}}}}')

    assert (summary.cost_usd, summary.num_turns, summary.duration_ms) == (None, None, None)
    assert summary.usage == TokenCounts()


def test_result_without_a_cost_keeps_the_last_known_one() -> None:
    assert _summary(_result(total_cost_usd=0.5), _result()).cost_usd == 0.5
    assert _summary(_result(total_cost_usd=0.5), _result(total_cost_usd=-1)).cost_usd == 0.5


def test_nothing_printed_is_all_unknown() -> None:
    assert SessionState().summary() == SessionSummary()
    assert SessionSummary().events == 0


def test_session_and_model_come_from_the_last_init() -> None:
    first = {"type": "system", "subtype": "init", "session_id": "a", "model": "m"}
    second = {"type": "system", "subtype": "init", "session_id": "b"}

    summary = _summary(first, second)

    assert (summary.session_id, summary.model, summary.init_seen) == ("b", "m", True)


@pytest.mark.parametrize(
    ("event", "model"),
    [
        (dict[str, Any](type="assistant", message={"model": "m", "content": [""]}), "m"),
        (_result(modelUsage={"m": {}}), "m"),
        (_result(modelUsage={"m": {}, "n": {}}), None),
    ],
)
def test_model_without_init_is_the_one_that_answered(
    event: dict[str, Any], model: str | None
) -> None:
    assert _summary(event).model == model


def test_failed_resume_keeps_the_session_that_was_asked_for() -> None:
    summary = _recorded("resume_unknown")

    assert summary.session_id == "11111111-2222-4333-8444-555555555555"
    assert not summary.init_seen
    assert summary.num_turns == 0


def test_failure_belongs_to_its_turn() -> None:
    failed = _said("API Error", error="server_error", is_api_error_message=True)
    refused = {"type": "system", "subtype": "model_refusal_no_fallback", "original_model": "m"}

    ended = _summary(failed, refused, _result(is_error=True))
    went_on = _summary(failed, refused, _result(is_error=True), _said("hi"), _result())
    recovered = _summary(failed, _said("hi"), _result(is_error=True))

    assert ended.api_failure is not None
    assert ended.api_failure.error == "server_error"
    assert ended.refusal == ModelRefusalEvent("m", None, None, None)
    assert (went_on.api_failure, went_on.refusal) == (None, None)
    assert recovered.api_failure is None


def test_output_after_the_last_result_is_seen() -> None:
    assert _summary(_result(result="Done"), _said("late")).output_after_result
    assert not _summary(_said("early"), _result(result="Done")).output_after_result


@pytest.mark.parametrize(
    ("event", "is_output"),
    [
        (_said("hi"), True),
        (_said(" "), False),
        (_said("sub", parent_tool_use_id="t"), True),
        (_said("API Error", is_api_error_message=True), False),
        ({"type": "user", "message": {"content": "prompt"}}, False),
        ({"type": "user", "message": {"content": [{"type": "tool_result"}]}}, True),
        ({"type": "stream_event", "event": {}}, True),
        ({"type": "system", "subtype": "init"}, False),
    ],
)
def test_output_is_what_the_model_and_its_tools_say(event: dict[str, Any], is_output: bool) -> None:
    assert _summary(event).model_output_seen is is_output


@pytest.mark.parametrize(
    ("lines", "quoted"),
    [
        (["warning", _result(), "Error: boom", "  at line 1"], "Error: boom"),
        (["Error: boom", "  at line 1", _result()], "Error: boom"),
        (["  Error  ", '{"type":"assis'], "Error"),
        (['{"type":"assis'], None),
        (["", "  "], None),
    ],
)
def test_plain_line_is_the_first_of_the_last_ones(
    lines: list[dict[str, Any] | str], quoted: str | None
) -> None:
    assert _summary(*lines).plain_line == quoted


def test_lines_are_counted_by_kind() -> None:
    summary = _summary(
        "plain",
        "",
        '{"type":"resu',
        {"type": "assistant"},
        {"type": "brand_new"},
        {"type": "system", "subtype": "brand_new"},
        {"type": "system", "subtype": "status", "status": "requesting"},
    )

    assert (summary.lines, summary.plain_lines, summary.fragment_lines) == (7, 2, 1)
    assert summary.unknown_events == (("brand_new", 1), ("system/brand_new", 1))
    assert dict(summary.event_counts)["system/status"] == 1
    assert summary.events == 4


def test_last_retry_limit_and_denials_are_kept() -> None:
    summary = _summary(
        {"type": "system", "subtype": "api_retry", "attempt": 1},
        {"type": "system", "subtype": "api_retry", "attempt": 2},
        {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}},
        {"type": "system", "subtype": "permission_denied", "tool_name": "Edit", "tool_use_id": "t"},
        _result(permission_denials=[{"tool_name": "Edit", "tool_use_id": "t"}]),
    )

    assert summary.last_api_retry == ApiRetryEvent(2, None, None, None, None, None)
    assert summary.last_rate_limit == RateLimitEvent("allowed", None, None, None)
    assert summary.permission_denials == (ToolDenial("Edit", "t"),)


@pytest.mark.parametrize("name", recording_names())
def test_recording_is_counted_whole(name: str) -> None:
    recording = read_recording(name)

    assert _recorded(name).lines == len(recording.lines)


def test_many_names_and_denials_are_bounded() -> None:
    unknown = [{"type": f"new-{number}"} for number in range(NAMES_LIMIT + 20)]
    denials = [
        {"type": "system", "subtype": "permission_denied", "tool_name": f"T{number}"}
        for number in range(DENIALS_LIMIT + 20)
    ]

    summary = _summary(*unknown, *denials)

    assert len(summary.unknown_events) == NAMES_LIMIT + 1
    assert dict(summary.unknown_events)[OTHER_NAMES] == 20
    assert len(summary.permission_denials) == DENIALS_LIMIT


def test_texts_are_bounded_and_say_what_was_left_out() -> None:
    summary = _summary(_said("first"), _said("a" * TEXT_LIMIT_CHARACTERS), _said("last"))

    assert summary.texts is not None
    assert summary.texts.startswith("[9 characters of earlier text left out]\n\naaa")
    assert summary.texts.endswith("a\n\nlast")


def test_memory_does_not_grow_with_the_run() -> None:
    state = SessionState()
    lines = [json.dumps(_said("word " * 200)).encode(), b'{"type":"new"}', b"plain", b'{"torn']

    def feed(rounds: int) -> int:
        for _ in range(rounds):
            for line in lines:
                state.apply(parse_event_leniently(line))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = feed(200)
        late = feed(2000)
    finally:
        tracemalloc.stop()

    assert late < early + 100_000


def _new(*costs_usd: object) -> dict[str, Any]:
    return {f"model-{number}": {"costUSD": cost} for number, cost in enumerate(costs_usd)}


# What a session had cost before it was resumed, an earlier run has paid.
@pytest.mark.parametrize(
    ("results", "cost_usd"),
    [
        ([(0.5, _new(0.5))], 0.5),
        ([(0.5, _new(0.2))], 0.2),
        ([(0.5, _new(0.1, 0.1))], 0.2),
        ([(0.5, _new())], 0.0),
        ([(0.5, _new(0.2)), (0.75, _new(0.25))], 0.45),
        ([(0.5, _new(0.5)), (0.75, _new(0.25))], 0.75),
        # Whatever is not known of it counts as this run's.
        ([(0.5, None)], 0.5),
        ([(0.5, _new(0.2, None))], 0.5),
        ([(0.5, _new("0.2"))], 0.5),
        ([(0.5, _new(-0.2))], 0.5),
        ([(0.5, {"model": 1})], 0.5),
        ([(None, _new(0.2)), (0.5, _new(0.2))], 0.5),
        # More than all of it is none of what was brought along.
        ([(0.5, _new(0.7))], 0.5),
        ([(0.5, _new(0.2)), (0.1, _new(0.1))], 0.0),
    ],
)
def test_cost_is_without_what_a_resumed_session_had_cost_before(
    results: list[tuple[float | None, Any]], cost_usd: float
) -> None:
    events = [
        _result(total_cost_usd=total, model_usage_since_last_result=new) for total, new in results
    ]

    assert _summary(*events).cost_usd == pytest.approx(cost_usd)


@pytest.mark.parametrize(
    ("name", "cost_usd"),
    [
        ("resume_ok", 0.000688),
        ("resume_other_cwd", 0.000688),
        ("resume_after_api_error", 0.000688),
        ("resume_with_api_error", 0.0),
        ("bg_bash", 0.002284),
        ("ok", 0.000688),
    ],
)
def test_recorded_costs_of_resumed_sessions_are_their_own(name: str, cost_usd: float) -> None:
    assert _recorded(name).cost_usd == pytest.approx(cost_usd)
