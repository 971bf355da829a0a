"""Facts of the predecessor's cases; wording is ours."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import LineKind, RenderedLine, render_event
from tasks.claude_code.result_event import parse_result
from tasks.claude_code.session_summary import SessionState, SessionSummary
from tasks.outcome.run_facts import RunFacts
from tasks.outcome.verdict import Outcome, judge_run
from tasks.vocabulary.error_codes import ErrorCode
from tests.unit.outcome.cases import OVERRIDDEN, Case, read_cases
from tests.unit.outcome.recordings import summarise
from tests.unit.outcome.telling import told_of

# Decided where the thing itself is known, and tested there.
DECIDED_ELSEWHERE = {
    "isK8s404": "an answer's status becomes an error type in the Kubernetes client",
    "shouldAbortForCancellation": "the state type is read where Prefect is known",
}

CASES = [
    case
    for file in ("parse.json", "errors.json", "format.json", "transcript.json")
    for case in read_cases(file)
]
HERE = [case for case in CASES if case.function not in DECIDED_ELSEWHERE]


def _id(case: Case) -> str:
    return case.key


@pytest.mark.parametrize("case", [c for c in HERE if c.key not in OVERRIDDEN], ids=_id)
def test_case_holds_in_facts(case: Case) -> None:
    actual, expected = CHECKS[case.function](case)

    assert actual == expected


@pytest.mark.parametrize("case", [c for c in HERE if c.key in OVERRIDDEN], ids=_id)
def test_overridden_case_really_differs(case: Case) -> None:
    actual, expected = CHECKS[case.function](case)

    assert actual != expected


def test_every_case_is_checked_overridden_or_decided_elsewhere() -> None:
    keys = [case.key for case in CASES]

    assert len(keys) == len(set(keys)) == 150
    assert set(OVERRIDDEN) <= set(keys)
    assert {case.function for case in CASES} == {*CHECKS, *DECIDED_ELSEWHERE}


def _parse(case: Case) -> tuple[Any, Any]:
    session = summarise(case.given["stdout"].encode())
    expected = case.expected
    result, usage = session.last_result, session.usage
    counts = {
        "inputTokens": usage.input_tokens,
        "cachedInputTokens": usage.cache_read_input_tokens,
        "outputTokens": usage.output_tokens,
    }
    actual = {
        "sessionId": session.session_id,
        "model": session.model or "",
        "costUsd": session.cost_usd,
        "usage": counts if result else None,
        "summary": session.summary or "",
        "resultJson": result.raw if result else None,
        "llmApiEmptyResponse": session.empty_answer_open,
        "truncatedMidStream": _judge(session, 0).code is ErrorCode.CLAUDE_TRUNCATED,
    }
    return actual, expected


def _judge(session: SessionSummary, exit_code: int | None, **facts: Any) -> Outcome:
    return judge_run(
        RunFacts(session=session, container_started=True, container_exit_code=exit_code, **facts)
    )


def _parsed_session(parsed: dict[str, Any] | None) -> SessionSummary:
    state = SessionState()
    state.apply(parse_result(parsed or {}))
    return state.summary()


def _failure(case: Case) -> tuple[Any, Any]:
    parsed = case.given["parsed"]
    outcome = _judge(_parsed_session({"is_error": True, **parsed}), 1)
    words = re.fullmatch(
        r"Claude run failed(?:: subtype=(\w+))?(?:: (.*))?", case.expected or "Claude run failed"
    )
    assert words is not None
    subtype, said = words.groups()
    # Nothing is quoted but what is said, and the subtype is named where it is known.
    quoted = re.findall("“(.*?)”", outcome.message)
    named = re.findall(r"of subtype (\w+)", outcome.message)
    return (quoted, named), ([said] if said else [], [subtype] if subtype else [])


def _is_code(code: ErrorCode) -> Callable[[Case], tuple[Any, Any]]:
    def check(case: Case) -> tuple[Any, Any]:
        session = _parsed_session(case.given["parsed"])
        return _judge(session, 1, resume_requested=True).code is code, case.expected

    return check


def _login(case: Case) -> tuple[Any, Any]:
    state = SessionState()
    for line in case.given["stdout"].encode().split(b"\n"):
        state.apply(parse_event_leniently(line))
    if case.given["parsed"] is not None:
        state.apply(parse_result({"is_error": True, **case.given["parsed"]}))
    code = _judge(state.summary(), 1).code
    return code is ErrorCode.CLAUDE_AUTH_REQUIRED, case.expected["requiresLogin"]


def _login_url(case: Case) -> tuple[Any, Any]:
    parsed = {"is_error": True, "api_error_status": 401, "result": case.given["text"]}
    message = _judge(_parsed_session(parsed), 1).message
    return case.expected in message, True


def _partial_run(case: Case) -> tuple[Any, Any]:
    given = case.given
    pod: dict[str, Any] = given["podState"] or {}
    outcome = _judge(
        summarise(given["stdout"].encode()),
        given["exitCode"],
        model=given["model"] or None,
        container_reason=pod.get("reason"),
        container_message=pod.get("message"),
        container_signal=pod.get("signal"),
    )
    wanted = list(_facts_of_sentence(case.expected))
    said = [fact for fact in wanted if fact in told_of(outcome)]
    # Some of their sentences have no fact; they are of failed runs all the same.
    return (said, outcome.code is not None), (wanted, True)


def _facts_of_sentence(sentence: str) -> Iterator[str]:
    """The facts of a sentence of the predecessor, as ours writes them."""
    for pattern, ours in (
        (r"code (\d+)", "exit code {}"),
        (r"\(model: ([^)]+)\)", "{}"),
        (r"with code \d+: (.*?)(?: \[pod|$)", "“{}”"),
        (r"reason=(\w+)", "reason {}"),
        (r"message=([^,\]]+)", "“{}”"),
        (r"signal=(\d+)", "signal {}"),
        (r"(SIGKILL|SIGTERM)", "{}"),
    ):
        for found in re.findall(pattern, sentence):
            yield ours.format(found)


def _truncation(case: Case) -> tuple[Any, Any]:
    state: dict[str, Any] = case.given["state"] or {}
    lookup: dict[str, Any] = case.given["lookup"] or {}
    outcome = _judge(
        SessionSummary(),
        state.get("exitCode"),
        container_reason=state.get("reason"),
        container_message=state.get("message"),
        pod_gone=None if state else lookup.get("podMissing"),
        pod_phase=lookup.get("phase"),
    )
    wanted = [*_facts_of_sentence(case.expected)]
    wanted += ["pod was gone"] if "pod is gone" in case.expected else []
    wanted += ["pod is present"] if "pod present" in case.expected else []
    assert wanted
    return [fact for fact in wanted if fact in told_of(outcome)], wanted


def _pod_ended(case: Case) -> tuple[Any, Any]:
    given = case.given
    ended = next(
        (
            status["state"].get("terminated")
            for status in given["containerStatuses"]
            if status["name"] == "claude"
        ),
        None,
    )
    outcome = _judge(
        SessionSummary(),
        ended["exitCode"] if ended else None,
        container_reason=ended.get("reason") if ended else None,
        pod_name=given["podName"],
        pod_phase=given["phase"],
    )
    wanted = [f"pod {given['podName']}", f"phase {given['phase']}"]
    for code, reason in re.findall(r"exited (\d+) \(([\w ]+)\)", case.expected):
        wanted.append(f"exit code {code}")
        wanted += [] if reason == "no reason" else [f"reason {reason}"]
    return [fact for fact in wanted if fact in told_of(outcome)], wanted


def _rendered(case: Case) -> list[RenderedLine]:
    return render_event(parse_event_leniently(case.given["line"].encode()))


def _format(case: Case) -> tuple[Any, Any]:
    return _compare_words(_rendered(case), case.expected or "")


def _print(case: Case) -> tuple[Any, Any]:
    return _compare_words(_rendered(case), "\n".join(case.expected["printed"]))


def _compare_words(lines: list[RenderedLine], expected: str) -> tuple[Any, Any]:
    """Compare words and whether anything is said; labels and layout are ours."""
    text = "\n".join(line.text for line in lines)
    words = _words_of(expected)
    return ([word for word in words if word in text], bool(text)), (words, bool(words))


# Labels and layout of the predecessor, and ours.
_LABELS = (
    (r"^Claude initialized \(model: (\S+), session: (\S+)\)", r"\1 \2"),
    (r"^Claude initialized \(model: (\S+)\)", r"\1"),
    (r"^result:$", ""),
    (r"tokens: in=(\d+) out=(\d+) cached=(\d+) cost=", r"in \1 out \2 read \3 so far "),
    (r"^rate_limit: type=(\S+) status=", r"\1 "),
    (r"resets=(\S+)T(\S+)\.000Z", r"resets \1 \2"),
    (r"^tool_result \(error\)$", "tool error"),
    (r"^tool_result$", "tool result"),
    (r"^tool_call: ", "tool call "),
    (r'^  "command": "(.*)"$', r"\1"),
    (r"^[{}]+$", ""),
)


def _words_of(text: str) -> list[str]:
    for theirs, ours in _LABELS:
        text = re.sub(theirs, ours, text, flags=re.MULTILINE)
    return text.split()


def _transcript(case: Case) -> tuple[Any, Any]:
    lines = _rendered(case)
    if lines and lines[-1].text.startswith("turn ended"):
        kind = LineKind.ERROR if lines[-1].kind is LineKind.ERROR else LineKind.RESULT
        lines = [RenderedLine(kind, "\n".join(line.text for line in lines))]
    expected = [_entry_facts(entry) for entry in case.expected if str(entry.get("text", 1)) != "  "]
    actual = [
        (line.kind, [word for word in words if word in line.text])
        for line, (_, words) in zip(lines, expected, strict=False)
    ]
    return actual, expected


def _entry_facts(entry: dict[str, Any]) -> tuple[LineKind, list[str]]:
    match entry["kind"]:
        case "stdout":
            return LineKind.PLAIN, [entry["text"]]
        case "tool_call":
            values = [str(value) for value in entry["input"].values()]
            return LineKind.TOOL_CALL, [entry["name"], *values]
        case "tool_result":
            kind = LineKind.TOOL_ERROR if entry["isError"] else LineKind.TOOL_RESULT
            return kind, entry["content"].split()
        case "result":
            kind = LineKind.ERROR if entry["isError"] else LineKind.RESULT
            counts = (entry["inputTokens"], entry["outputTokens"], entry["cachedTokens"])
            said = (*entry["text"].split(), *entry["errors"], entry["subtype"])
            return kind, [*said, *(str(count) for count in counts), f"${entry['costUsd']:.6f}"]
        case kind:
            return LineKind(kind), entry["text"].split()


CHECKS: dict[str, Callable[[Case], tuple[Any, Any]]] = {
    "parseClaudeStreamJson": _parse,
    "describeClaudeFailure": _failure,
    "isClaudeMaxTurnsResult": _is_code(ErrorCode.CLAUDE_MAX_TURNS),
    "isClaudeUnknownSessionError": _is_code(ErrorCode.SESSION_UNAVAILABLE),
    "detectClaudeLoginRequired": _login,
    "extractClaudeLoginUrl": _login_url,
    "buildPartialRunError": _partial_run,
    "describeTruncationCause": _truncation,
    "describePodTerminatedError": _pod_ended,
    "formatClaudeStreamLine": _format,
    "printClaudeStreamEvent": _print,
    "parseStdoutLine": _transcript,
}
