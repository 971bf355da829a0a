"""Facts from the cluster and the run script, judged together with what Claude printed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.claude_code.event_types import ModelRefusalEvent
from tasks.claude_code.session_summary import SessionSummary
from tasks.observation.api_fields import Condition
from tasks.observation.cluster_evidence import NodeSnapshot
from tasks.observation.container_states import (
    ContainerSnapshot,
    ContainerTerminated,
    ContainerWaiting,
)
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.diagnosis_texts import BY_CAUSE, WORDINGS
from tasks.outcome.precedence import PRECEDENCE
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import (
    CheckFacts,
    JobGone,
    PodReplacement,
    RunFacts,
    StageFailure,
    WorkFacts,
)
from tasks.outcome.run_result import LineRange, PublishedWork, TranscriptProof, WorkResult
from tasks.outcome.verdict import judge_run
from tasks.transcript.line_grammar import CheckBegunLine, CheckEnd, Refusal, Trailer
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tests.unit.outcome.recordings import read_recording, summarise

Code = ErrorCode

TRAILER = Trailer(
    version=1,
    lines=3,
    stdout_bytes=5722,
    sha256="0" * 64,
    exit_code=0,
    timed_out=False,
    last_result_line=3,
    copied_lines=3,
    stderr_lines=0,
    stderr_skipped=0,
    refused=None,
)
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
GONE = JobGone("watch, then a read of the same UID", 61.0, 12)
REPLACED = PodReplacement("agent-x-1", "agent-x-2")


def _recorded(name: str) -> SessionSummary:
    return summarise(read_recording(name).stdout)


def _said(**result: Any) -> SessionSummary:
    line: dict[str, Any] = {"type": "result", "subtype": "success", "is_error": False, **result}
    return summarise(json.dumps(line).encode())


def _failed_message(error: str, *, result: bool = True, **fields: Any) -> SessionSummary:
    """A request failed: the CLI's own message about it and, if wanted, its result."""
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": "API Error"}]}
    lines: list[dict[str, Any]] = [
        {"type": "system", "subtype": "init", "model": "m"},
        {
            "type": "assistant",
            "message": message,
            "error": error,
            "is_api_error_message": True,
            **fields,
        },
    ]
    if result:
        lines.append({"type": "result", "is_error": True, "terminal_reason": "api_error"})
    return summarise("\n".join(json.dumps(line) for line in lines).encode())


def _lines(*events: dict[str, Any] | str) -> SessionSummary:
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return summarise("\n".join(texts).encode())


_INIT = {"type": "system", "subtype": "init", "model": "m"}
_LIMIT = [{"type": "text", "text": "Limit reached."}]
_LIMIT_SAID = {"type": "assistant", "message": {"model": "<synthetic>", "content": _LIMIT}}
_GOOD = {"type": "result", "subtype": "success", "is_error": False, "result": "Limit reached."}
ANSWERED_BY_CLI = _lines(_INIT, _LIMIT_SAID, _GOOD)
TORN = _lines(_INIT, _GOOD, '{"duration_api_ms":900,"stop_reason":"end_turn","is_error":tr')
ANSWERED = _recorded("ok")
WORKING = _recorded("killed_sigterm_during_tool")
INIT_ONLY = _recorded("killed_sigkill_after_init")
NOTHING = SessionSummary()


def _ended(session: SessionSummary, exit_code: int | None, **facts: Any) -> RunFacts:
    return RunFacts(session=session, container_started=True, container_exit_code=exit_code, **facts)


def _true(kind: str, reason: str | None, at: datetime | None = None) -> tuple[Condition, ...]:
    return (Condition(kind, "True", reason, "words", at),)


def _failed_at(instant: datetime) -> tuple[Condition, ...]:
    return (Condition("Failed", "True", "BackoffLimitExceeded", "words", instant),)


def _event(reason: str, kind: str = "Pod", at: datetime | None = None) -> KubernetesEventSnapshot:
    return KubernetesEventSnapshot(reason, "words", last_at=at, about_kind=kind, about_name="p")


def _ended_at_noon(exit_code: int, **facts: Any) -> RunFacts:
    """Return the facts of an agent without a result, whose pod another container may keep."""
    return _ended(NOTHING, exit_code, container_ended_at=NOON, pod_name="p", job_name="p", **facts)


def _init(exit_code: int, reason: str) -> ContainerSnapshot:
    return ContainerSnapshot("fetch", terminated=ContainerTerminated(exit_code, reason=reason))


def _refused(refusal: Refusal, exit_code: int) -> Trailer:
    return replace(TRAILER, lines=0, exit_code=exit_code, last_result_line=None, refused=refusal)


def _missing(*ranges: tuple[int, int]) -> TranscriptProof:
    return TranscriptProof(
        complete=False, lines=2, missing=tuple(LineRange(first=a, last=b) for a, b in ranges)
    )


BEGUN = CheckBegunLine(1, 0, False, 600, 1_700_000_000)
BEGUN_AFTER_RESULT = replace(BEGUN, exit_code=143, ended_after_result=True)


def _check(exit_code: int | None, *, timed_out: bool = False) -> CheckFacts:
    return CheckFacts(600, BEGUN, CheckEnd(exit_code, timed_out, 12, 3, 0), "1 failed")


CUT_SHORT = CheckFacts(600, BEGUN)


def _work(
    commits: int | None = 1, files: int | None = 2, *, expect: bool = True, collected: bool = True
) -> WorkFacts:
    result = WorkResult(collected=collected, commits=commits, files_changed=files)
    return WorkFacts(expect, result, keeper_waits=not collected)


def _pushed(
    commit: str | None, *, problem: str | None = None, unchanged: bool = False
) -> WorkFacts:
    published = PublishedWork(
        deliver="push", remote="https://h/r", branch="b", commit=commit, problem=problem
    )
    count = 0 if unchanged else 1
    result = WorkResult(
        collected=True,
        commits=count,
        files_changed=count,
        published=None if unchanged else published,
    )
    return WorkFacts(False, result, keeper_waits=False, publish_asked=True)


UNKNOWN_WORK = WorkFacts(expect_changes=True, result=None, keeper_waits=False)


TABLE: dict[str, tuple[RunFacts, ErrorCode | None, Cause | None]] = {
    # Exit code: container, else trailer, else termination message.
    "container exit 0": (_ended(ANSWERED, 0), None, None),
    "trailer alone says 0": (_ended(ANSWERED, None, trailer=TRAILER), None, None),
    "termination message alone says 0": (
        _ended(ANSWERED, None, termination_trailer=TRAILER),
        None,
        None,
    ),
    "container wins over trailer": (
        _ended(ANSWERED, 137, trailer=TRAILER),
        Code.CLAUDE_FAILED,
        Cause.SIGKILL,
    ),
    "no exit code anywhere": (_ended(ANSWERED, None), Code.CLAUDE_FAILED, Cause.UNKNOWN),
    "kubelet made the exit code up": (
        _ended(ANSWERED, 137, container_reason="ContainerStatusUnknown"),
        Code.CLAUDE_FAILED,
        Cause.UNKNOWN,
    ),
    "phase Succeeded is no exit code": (
        _ended(ANSWERED, None, pod_phase="Succeeded", job_conditions=_true("Complete", "")),
        Code.CLAUDE_FAILED,
        Cause.UNKNOWN,
    ),
    "signal of the kubelet": (
        _ended(WORKING, None, container_signal=9),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGKILL,
    ),
    "exit code 0 with a signal": (_ended(ANSWERED, 0, container_signal=9), None, None),
    "ended by us after its good result": (
        _ended(ANSWERED, 143, trailer=replace(TRAILER, exit_code=143, ended_after_result=True)),
        None,
        None,
    ),
    "killed by us after its good result": (
        _ended(ANSWERED, 137, trailer=replace(TRAILER, exit_code=137, ended_after_result=True)),
        None,
        None,
    ),
    "ended by us after a result that is an error": (
        _ended(
            _recorded("auth_401"),
            143,
            trailer=replace(TRAILER, exit_code=143, ended_after_result=True),
        ),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    # The result's own.
    "good result, exit 1": (_ended(ANSWERED, 1), Code.CLAUDE_FAILED, Cause.APP_EXIT),
    "good result, then SIGTERM": (_ended(ANSWERED, 143), Code.CLAUDE_FAILED, Cause.SIGTERM),
    "good result, went on, then SIGTERM": (
        _ended(replace(ANSWERED, output_after_result=True), 143),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "good result, went on, exit 0": (
        _ended(replace(ANSWERED, output_after_result=True), 0),
        None,
        None,
    ),
    "result does not say whether it is an error": (
        _ended(_said(is_error=None, result="Done"), 0),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "result is blank": (_ended(_said(result=" \n"), 0), Code.CLAUDE_NO_OUTPUT, Cause.APP_EXIT),
    "result without text": (_ended(_said(), 0), Code.CLAUDE_NO_OUTPUT, Cause.APP_EXIT),
    "max turns at exit 0": (
        _ended(_said(is_error=True, subtype="error_max_turns"), 0),
        Code.CLAUDE_MAX_TURNS,
        Cause.APP_EXIT,
    ),
    "max turns by terminal reason": (
        _ended(_said(is_error=True, terminal_reason="max_turns"), 1),
        Code.CLAUDE_MAX_TURNS,
        Cause.APP_EXIT,
    ),
    "budget by terminal reason": (
        _ended(_said(is_error=True, terminal_reason="budget_exhausted"), 1),
        Code.CLAUDE_MAX_BUDGET,
        Cause.APP_EXIT,
    ),
    "unknown session, but not asked to resume": (
        _ended(_recorded("resume_unknown"), 1),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "resumed, and failed after init": (
        _ended(replace(_recorded("resume_unknown"), init_seen=True), 1, resume_requested=True),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "prompt too long": (
        _ended(_said(is_error=True, terminal_reason="prompt_too_long"), 1),
        Code.CLAUDE_PROMPT_TOO_LONG,
        Cause.APP_EXIT,
    ),
    "refused by stop reason": (
        _ended(_said(is_error=True, stop_reason="refusal", terminal_reason="api_error"), 1),
        Code.CLAUDE_REFUSED,
        Cause.APP_EXIT,
    ),
    "refused by event": (
        _ended(
            replace(
                _said(is_error=True, terminal_reason="api_error"),
                refusal=ModelRefusalEvent("m", "cyber", None, None),
            ),
            1,
        ),
        Code.CLAUDE_REFUSED,
        Cause.APP_EXIT,
    ),
    "refused earlier, failed with a status now": (
        _ended(
            replace(
                _said(is_error=True, api_error_status=500),
                refusal=ModelRefusalEvent("m", "cyber", None, None),
            ),
            1,
        ),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "refused by message": (
        _ended(_failed_message("invalid_request", refused_message_id="msg_1"), 1),
        Code.CLAUDE_REFUSED,
        Cause.APP_EXIT,
    ),
    "result of another kind lists errors": (
        _ended(_said(result="Done", errors=[{"message": "no"}]), 0),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "blank errors are none": (_ended(_said(result="Done", errors=["", " "]), 0), None, None),
    "error object without a message": (
        _ended(_said(result="Done", errors=[{"x": 1}]), 0),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "a further turn without its result, exit 0": (
        _ended(replace(ANSWERED, turn_open=True), 0),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "a further turn without its result, after an error": (
        _ended(replace(_recorded("api_error_500"), turn_open=True), 1),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "stopped by a hook": (
        _ended(_said(result="Done", terminal_reason="hook_stopped", stop_reason="tool_use"), 0),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "tool call put off": (
        _ended(_said(result="", stop_reason="tool_deferred", deferred_tool_use={"name": "B"}), 0),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "aborted, and no error by its flag": (
        _ended(_said(result="Done", terminal_reason="aborted_tools"), 0),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "stopped in the middle of its work": (
        _ended(_said(result="Now I", stop_reason="tool_use"), 0),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "no output that fits the schema": (
        _ended(_said(subtype="error_max_structured_output_retries", is_error=True), 1),
        Code.CLAUDE_OUTPUT_INVALID,
        Cause.APP_EXIT,
    ),
    "asked for JSON, answered in words": (
        _ended(ANSWERED, 0, output_asked=True),
        Code.CLAUDE_OUTPUT_INVALID,
        Cause.APP_EXIT,
    ),
    "asked for JSON, given some": (
        _ended(_said(result="", structured_output=[1]), 0, output_asked=True),
        None,
        None,
    ),
    "JSON is an answer": (
        _ended(_said(result="", stop_reason="tool_use", structured_output={"n": 1}), 0),
        None,
        None,
    ),
    "request rejected": (
        _ended(_said(is_error=True, api_error_status=400), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "request rejected, says its type": (
        _ended(_said(is_error=True, api_error_type="invalid_request_error"), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "overloaded": (
        _ended(_said(is_error=True, api_error_status=529), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "API failed, nobody says how": (
        _ended(_said(is_error=True, terminal_reason="api_error"), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "error fields count where a word says that it failed": (
        _ended(_said(result="x", terminal_reason="api_error", api_error_status=401), 0),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    "resume failed, which only the exit code tells": (
        _ended(NOTHING, 1, resume_requested=True),
        Code.SESSION_UNAVAILABLE,
        Cause.APP_EXIT,
    ),
    "resume failed with words on stdout": (
        _ended(summarise(b"No such thing"), 1, resume_requested=True),
        Code.SESSION_UNAVAILABLE,
        Cause.APP_EXIT,
    ),
    "resume asked, killed before it began": (
        _ended(NOTHING, 137, resume_requested=True),
        Code.CLAUDE_START_FAILED,
        Cause.SIGKILL,
    ),
    "resume asked, no CLI in the image": (
        _ended(NOTHING, 127, resume_requested=True),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "resume asked, ended with 0 and silent": (
        _ended(NOTHING, 0, resume_requested=True),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "resume asked, no prompt in the Secret": (
        _ended(NOTHING, 78, trailer=_refused(Refusal.NO_PROMPT, 78), resume_requested=True),
        Code.CLAUDE_START_FAILED,
        Cause.CONFIG_ERROR,
    ),
    "resume asked, output lost": (
        _ended(NOTHING, 1, trailer=TRAILER, resume_requested=True),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "usage limit by name": (
        _ended(_said(is_error=True, api_error="usage_limit_reached"), 1),
        Code.CLAUDE_RATE_LIMITED,
        Cause.APP_EXIT,
    ),
    "model unknown": (
        _ended(
            _said(is_error=True, api_error_status=404, api_error_type="not_found_error"),
            1,
        ),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "a gateway answers 404": (
        _ended(_said(is_error=True, api_error_status=404), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "answer longer than allowed": (
        _ended(_said(is_error=True, api_error="max_output_tokens"), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "no credit": (
        _ended(_failed_message("billing_error"), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "API not reached": (
        _ended(_said(is_error=True, api_error="connection_failed"), 1),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "error fields count beside a flag that denies them": (
        _ended(_said(result="Done", api_error_status=401), 0),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    "the closing result is lost": (
        _ended(
            ANSWERED, 0, trailer=replace(TRAILER, last_result_line=7), transcript=_missing((5, 9))
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "a piece of the closing result": (
        _ended(TORN, 0, trailer=TRAILER, transcript=TranscriptProof(complete=True)),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "a piece of the closing result, and lines were lost": (
        _ended(TORN, 0, trailer=TRAILER, transcript=TranscriptProof(complete=False)),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "a message of the CLI's own as the answer": (
        _ended(ANSWERED_BY_CLI, 0),
        Code.CLAUDE_NO_OUTPUT,
        Cause.APP_EXIT,
    ),
    "lines are lost, but no result": (
        _ended(ANSWERED, 0, trailer=TRAILER, transcript=_missing((1, 1), (2, 2))),
        None,
        None,
    ),
    # No result.
    "plain words alone": (
        _ended(summarise(b"Invalid API key"), 1),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "request failed, then exit 1 without a result": (
        _ended(_failed_message("authentication_failed", result=False), 1),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    "request failed, then killed": (
        _ended(_failed_message("authentication_failed", result=False), 143),
        Code.CLAUDE_INIT_FAILED,
        Cause.SIGTERM,
    ),
    "open and empty answer of the model": (
        _ended(replace(INIT_ONLY, empty_answer_open=True), 0),
        Code.LLM_API_ERROR,
        Cause.APP_EXIT,
    ),
    "command not found": (_ended(NOTHING, 127), Code.CLAUDE_START_FAILED, Cause.APP_EXIT),
    "output was printed and not read": (
        _ended(NOTHING, 1, trailer=TRAILER),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "lines are lost, and there is no result": (
        _ended(INIT_ONLY, 1, transcript=_missing((2, 4))),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "first event cut short": (
        _ended(summarise(b'{"type":"system","subt'), 143),
        Code.CLAUDE_INIT_FAILED,
        Cause.SIGTERM,
    ),
    "container never ran": (
        RunFacts(container_started=False),
        Code.POD_SCHEDULE_FAILED,
        Cause.UNKNOWN,
    ),
    "bundle does not fit its hash": (
        _ended(NOTHING, 77, trailer=_refused(Refusal.BUNDLE_MISMATCH, 77)),
        Code.CLAUDE_START_FAILED,
        Cause.CONFIG_ERROR,
    ),
    "no prompt in the Secret": (
        _ended(NOTHING, 78, trailer=_refused(Refusal.NO_PROMPT, 78)),
        Code.CLAUDE_START_FAILED,
        Cause.CONFIG_ERROR,
    ),
    "prompt revoked": (
        _ended(NOTHING, 76, trailer=_refused(Refusal.REVOKED, 76)),
        Code.CONCURRENT_RUN_BLOCKED,
        Cause.APP_EXIT,
    ),
    # Memory.
    "OOMKilled": (
        _ended(WORKING, 137, container_reason="OOMKilled"),
        Code.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
    ),
    "OOMKilled child, exit 0": (_ended(ANSWERED, 0, container_reason="OOMKilled"), None, None),
    "OOMKilled child, exit 0, no result": (
        _ended(WORKING, 0, container_reason="OOMKilled"),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "OOMKilled child, exit 1, no result": (
        _ended(WORKING, 1, container_reason="OOMKilled"),
        Code.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
    ),
    "OOMKilled child, exit 1, own result": (
        _ended(_recorded("auth_401"), 1, container_reason="OOMKilled"),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    "V8's heap was full": (
        _ended(WORKING, 134, stderr_line="FATAL ERROR: JavaScript heap out of memory"),
        Code.CLAUDE_TRUNCATED,
        Cause.HEAP_EXHAUSTED,
    ),
    "V8 got no memory": (
        _ended(
            WORKING, 134, stderr_line="FATAL ERROR: Zone Allocation failed - process out of memory"
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.HEAP_EXHAUSTED,
    ),
    "V8's heap was full, and it trapped": (
        _ended(WORKING, 133, stderr_line="Fatal JavaScript out of memory: Reached heap limit"),
        Code.CLAUDE_TRUNCATED,
        Cause.HEAP_EXHAUSTED,
    ),
    "trapped without a word of memory": (
        _ended(WORKING, 133, stderr_line="trap"),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "aborted without a word of the heap": (
        _ended(WORKING, 134, stderr_line="abort"),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "word of the heap, but an exit of its own": (
        _ended(WORKING, 1, stderr_line="FATAL ERROR: JavaScript heap out of memory"),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    # What the cluster did.
    "evicted": (
        _ended(WORKING, 137, pod_reason="Evicted", pod_message="The node was low on memory."),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "evicted by API": (
        _ended(WORKING, 143, pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI")),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "evicted after the agent's own end": (
        _ended(_recorded("auth_401"), 1, pod_reason="Evicted"),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    "disruption that is not true": (
        _ended(
            WORKING,
            143,
            pod_conditions=(Condition("DisruptionTarget", "False", "EvictionByEvictionAPI"),),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "preempted": (
        _ended(WORKING, 143, pod_conditions=_true("DisruptionTarget", "PreemptionByScheduler")),
        Code.CLAUDE_TRUNCATED,
        Cause.PREEMPTED,
    ),
    "node shut down": (
        _ended(
            WORKING,
            143,
            pod_reason="NodeShutdown",
            pod_conditions=_true("DisruptionTarget", "TerminationByKubelet"),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.NODE_LOST,
    ),
    "node not heard of": (
        _ended(WORKING, None, pod_phase="Unknown"),
        Code.CLAUDE_TRUNCATED,
        Cause.NODE_LOST,
    ),
    "pod replaced, nothing seen": (
        _ended(NOTHING, 76, trailer=_refused(Refusal.POD_REPLACED, 76), pod_replaced=REPLACED),
        Code.CLAUDE_START_FAILED,
        Cause.POD_REPLACED,
    ),
    "pod replaced midway": (
        _ended(WORKING, 76, trailer=_refused(Refusal.POD_REPLACED, 76), pod_replaced=REPLACED),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod replaced after the answer": (
        _ended(ANSWERED, 76, termination_trailer=_refused(Refusal.POD_REPLACED, 76)),
        Code.CLAUDE_FAILED,
        Cause.POD_REPLACED,
    ),
    "pod replaced after the agent's observed end": (
        _ended(ANSWERED, 0, trailer=TRAILER, pod_replaced=REPLACED),
        None,
        None,
    ),
    "pod deleted by hand": (
        _ended(WORKING, 143, pod_deletion_asked_at=NOON, container_ended_at=NOON + SECOND),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod deleted by hand, ended within the second": (
        _ended(WORKING, 143, pod_deletion_asked_at=NOON, container_ended_at=NOON),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod deleted by hand, agent exits with 0 on SIGTERM": (
        _ended(WORKING, 0, pod_deletion_asked_at=NOON, container_ended_at=NOON + SECOND),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod deleted by hand, its end was not seen": (
        _ended(WORKING, None, pod_deletion_asked_at=NOON, pod_gone=True),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod cleared away after its Job had finished, its end was not seen": (
        _ended(
            WORKING,
            None,
            pod_deletion_asked_at=NOON + SECOND,
            pod_gone=True,
            job_conditions=_failed_at(NOON),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.UNKNOWN,
    ),
    "pod deleted in the second in which its Job failed, its end was not seen": (
        _ended(
            WORKING,
            None,
            pod_deletion_asked_at=NOON,
            pod_gone=True,
            job_conditions=_failed_at(NOON),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod deleted by hand, and its node's clock is behind": (
        _ended(WORKING, 143, pod_deletion_asked_at=NOON + SECOND, container_ended_at=NOON),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod deleted by hand, at the most that clocks differ": (
        _ended(WORKING, 137, pod_deletion_asked_at=NOON + 10 * SECOND, container_ended_at=NOON),
        Code.CLAUDE_TRUNCATED,
        Cause.POD_REPLACED,
    ),
    "pod deleted well after its agent was ended by a signal": (
        _ended(WORKING, 143, pod_deletion_asked_at=NOON + 11 * SECOND, container_ended_at=NOON),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "pod deleted after its agent had ended": (
        _ended(WORKING, 1, pod_deletion_asked_at=NOON + SECOND, container_ended_at=NOON),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "pod deleted in the second in which its agent exited": (
        _ended(WORKING, 1, pod_deletion_asked_at=NOON, container_ended_at=NOON),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "pod deleted after the answer": (
        _ended(ANSWERED, 0, pod_deletion_asked_at=NOON, container_ended_at=NOON + SECOND),
        None,
        None,
    ),
    "pod evicted through the API": (
        _ended(
            WORKING,
            143,
            pod_deletion_asked_at=NOON,
            container_ended_at=NOON + SECOND,
            pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI"),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "pod of a deleted Job": (
        _ended(
            WORKING,
            143,
            pod_deletion_asked_at=NOON,
            container_ended_at=NOON + SECOND,
            job_gone=GONE,
        ),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "Job given up at its deadline": (
        _ended(
            WORKING,
            143,
            pod_deletion_asked_at=NOON,
            container_ended_at=NOON + SECOND,
            job_conditions=_true("FailureTarget", "DeadlineExceeded"),
        ),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    # What happened to the pod after its agent's end has not ended it.
    "evicted an hour after the agent's exit": (
        _ended_at_noon(
            1,
            pod_reason="Evicted",
            pod_conditions=_true("DisruptionTarget", "TerminationByKubelet", NOON + HOUR),
        ),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "evicted, and its node's clock is behind": (
        _ended_at_noon(
            143,
            pod_reason="Evicted",
            pod_conditions=_true("DisruptionTarget", "TerminationByKubelet", NOON + 10 * SECOND),
        ),
        Code.CLAUDE_START_FAILED,
        Cause.EVICTED,
    ),
    "drained an hour after the agent's exit": (
        _ended_at_noon(
            1,
            pod_deletion_asked_at=NOON + HOUR,
            pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI", NOON + HOUR),
            job_conditions=_true("Failed", "PodFailurePolicy", NOON + HOUR),
        ),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "drained an hour after the agent was killed for its memory use": (
        _ended_at_noon(
            137,
            container_reason="OOMKilled",
            pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI", NOON + HOUR),
        ),
        Code.CLAUDE_START_FAILED,
        Cause.OOM_KILLED,
    ),
    "disrupted for a reason of its own an hour after the agent's exit": (
        _ended_at_noon(
            1, pod_conditions=_true("DisruptionTarget", "SpotInterruption", NOON + HOUR)
        ),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "preempted an hour after the agent's exit, says an Event": (
        _ended_at_noon(1, kubernetes_events=(_event("Preempted", at=NOON + HOUR),)),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "preempted before the agent's end, says an Event": (
        _ended_at_noon(143, kubernetes_events=(_event("Preempted", at=NOON),)),
        Code.CLAUDE_START_FAILED,
        Cause.PREEMPTED,
    ),
    "deadline of the Job an hour after the agent's exit": (
        _ended_at_noon(
            1,
            job_conditions=(
                *_true("FailureTarget", "DeadlineExceeded", NOON + HOUR),
                *_true("Failed", "DeadlineExceeded", NOON + HOUR + SECOND),
            ),
            kubernetes_events=(_event("DeadlineExceeded", "Job", NOON + HOUR),),
        ),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "deadline of the Job, whose other containers ended late": (
        _ended_at_noon(
            143,
            job_conditions=(
                *_true("FailureTarget", "DeadlineExceeded", NOON - SECOND),
                *_true("Failed", "DeadlineExceeded", NOON + 60 * SECOND),
            ),
        ),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "suspended by its queue an hour after the agent's exit": (
        _ended_at_noon(
            1,
            preempted_by_queue=True,
            pod_deletion_asked_at=NOON + HOUR + SECOND,
            job_conditions=_true("Suspended", "JobSuspended", NOON + HOUR),
        ),
        Code.CLAUDE_START_FAILED,
        Cause.APP_EXIT,
    ),
    "suspended by its queue before the agent's exit": (
        _ended_at_noon(
            1,
            preempted_by_queue=True,
            pod_deletion_asked_at=NOON + 60 * SECOND,
            job_conditions=_true("Suspended", "JobSuspended", NOON - SECOND),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.PREEMPTED,
    ),
    # Disruptions for reasons that Kubernetes itself does not give, or that nobody could read.
    "disrupted for a reason of its own": (
        _ended(WORKING, 143, pod_conditions=_true("DisruptionTarget", "SpotInterruption")),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "disrupted without a reason": (
        _ended(WORKING, 137, pod_conditions=_true("DisruptionTarget", None)),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "disrupted, says the Job of a pod that has gone": (
        _ended(
            WORKING, None, pod_gone=True, job_conditions=_true("Failed", "PodFailurePolicy", NOON)
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "disrupted, says the Job, and the agent had exited by itself": (
        _ended(WORKING, 1, pod_gone=True, job_conditions=_true("Failed", "PodFailurePolicy")),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "drained, and its node was removed afterwards": (
        _ended(
            WORKING,
            None,
            pod_gone=True,
            pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI"),
            node=NodeSnapshot("n", removed=True),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "evicted for the taint of a node that no longer answers": (
        _ended(
            WORKING,
            None,
            pod_deleting=True,
            pod_conditions=_true("DisruptionTarget", "DeletionByTaintManager"),
            node=NodeSnapshot("n", (Condition("Ready", "Unknown"),)),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.NODE_LOST,
    ),
    "image cannot be pulled": (
        RunFacts(container_started=False, container_reason="ImagePullBackOff"),
        Code.POD_SCHEDULE_FAILED,
        Cause.IMAGE_PULL,
    ),
    "no node has room": (
        RunFacts(
            container_started=False,
            pod_conditions=(Condition("PodScheduled", "False", "Unschedulable"),),
        ),
        Code.POD_SCHEDULE_FAILED,
        Cause.UNSCHEDULABLE,
    ),
    "credential Secret missing": (
        RunFacts(container_started=False, container_reason="CreateContainerConfigError"),
        Code.POD_SCHEDULE_FAILED,
        Cause.CONFIG_ERROR,
    ),
    "preempted, says an Event": (
        _ended(WORKING, 143, pod_name="p", kubernetes_events=(_event("Preempted"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.PREEMPTED,
    ),
    "preempted, says an Event of another pod": (
        _ended(WORKING, 143, pod_name="other", kubernetes_events=(_event("Preempted"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "evicted, says an Event": (
        _ended(WORKING, 137, pod_name="p", kubernetes_events=(_event("Evicted"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.EVICTED,
    ),
    "eviction for a taint was called off": (
        _ended(WORKING, 143, pod_name="p", kubernetes_events=(_event("TaintManagerEviction"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "eviction for a taint was called off, and the pod was deleted later": (
        _ended(
            WORKING,
            143,
            pod_name="p",
            pod_deleting=True,
            kubernetes_events=(_event("TaintManagerEviction"),),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "node not ready, says an Event": (
        _ended(WORKING, None, pod_name="p", kubernetes_events=(_event("NodeNotReady"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.NODE_LOST,
    ),
    "node was not ready for a while, the end was seen": (
        _ended(WORKING, 1, pod_name="p", kubernetes_events=(_event("NodeNotReady"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "node is not ready": (
        _ended(WORKING, None, node=NodeSnapshot("n", (Condition("Ready", "Unknown"),))),
        Code.CLAUDE_TRUNCATED,
        Cause.NODE_LOST,
    ),
    "node was removed, which tells more than that its pod was replaced": (
        _ended(
            WORKING,
            None,
            node=NodeSnapshot("n", removed=True),
            pod_replaced=PodReplacement("p-1", "p-2"),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.NODE_LOST,
    ),
    "node is ready": (
        _ended(WORKING, None, node=NodeSnapshot("n", (Condition("Ready", "True"),))),
        Code.CLAUDE_TRUNCATED,
        Cause.UNKNOWN,
    ),
    "no node has room, says an Event": (
        RunFacts(
            container_started=False,
            pod_name="p",
            kubernetes_events=(_event("FailedScheduling"),),
        ),
        Code.POD_SCHEDULE_FAILED,
        Cause.UNSCHEDULABLE,
    ),
    "found a node after a while": (
        RunFacts(
            container_started=False,
            pod_name="p",
            node_name="n",
            kubernetes_events=(_event("FailedScheduling"),),
        ),
        Code.POD_SCHEDULE_FAILED,
        Cause.UNKNOWN,
    ),
    "init container failed": (
        RunFacts(container_started=False, init_containers=(_init(3, "Error"),)),
        Code.POD_SCHEDULE_FAILED,
        Cause.APP_EXIT,
    ),
    "init container that could not be started": (
        RunFacts(
            container_started=False,
            init_containers=(
                ContainerSnapshot(
                    "fetch", terminated=ContainerTerminated(128, reason="StartError", ran=False)
                ),
            ),
        ),
        Code.POD_SCHEDULE_FAILED,
        Cause.CONFIG_ERROR,
    ),
    "init container that is started again": (
        RunFacts(
            container_started=False,
            init_containers=(replace(_init(3, "Error"), starts_again=True),),
        ),
        Code.POD_SCHEDULE_FAILED,
        Cause.UNKNOWN,
    ),
    "init container out of memory": (
        RunFacts(container_started=False, init_containers=(_init(137, "OOMKilled"),)),
        Code.POD_SCHEDULE_FAILED,
        Cause.OOM_KILLED,
    ),
    "init container without an image": (
        RunFacts(
            container_started=False,
            init_containers=(
                ContainerSnapshot("fetch", waiting=ContainerWaiting("ImagePullBackOff")),
            ),
        ),
        Code.POD_SCHEDULE_FAILED,
        Cause.IMAGE_PULL,
    ),
    "init containers ended well": (
        _ended(WORKING, 143, init_containers=(_init(0, "Completed"),)),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    # Limits of time.
    "timeout by trailer": (
        _ended(WORKING, 124, trailer=replace(TRAILER, exit_code=124, timed_out=True)),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "timeout by word": (
        _ended(WORKING, 124, agent_timed_out=True, timeout_seconds=3600),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "deadline of the Job": (
        _ended(WORKING, 143, job_conditions=_true("Failed", "DeadlineExceeded")),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "deadline of the pod": (
        _ended(WORKING, None, pod_reason="DeadlineExceeded"),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "deadline of the Job, says an Event": (
        _ended(WORKING, None, job_name="p", kubernetes_events=(_event("DeadlineExceeded", "Job"),)),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "deadline of the Job, and its agent was faster": (
        _ended(ANSWERED, 0, job_conditions=_true("Failed", "DeadlineExceeded")),
        None,
        None,
    ),
    "deadline of the Job, and its agent was killed for memory before": (
        _ended(
            WORKING,
            137,
            container_reason="OOMKilled",
            job_conditions=_true("Failed", "DeadlineExceeded"),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
    ),
    "deadline of the flow": (
        _ended(WORKING, None, flow_deadline_reached=True),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "stalled": (_ended(WORKING, 143, stalled_seconds=1800.0), Code.STALLED, Cause.SIGTERM),
    "stalled, end not seen": (_ended(WORKING, None, stalled_seconds=1800.0), Code.STALLED, None),
    # Cancelled before all that.
    "cancelled": (
        _ended(WORKING, 143, cancelled=True, job_deletion_seen=True, agent_timed_out=True),
        Code.CANCELLED,
        None,
    ),
    "cancelled, and its pod goes with the Job": (
        _ended(
            WORKING,
            143,
            cancelled=True,
            pod_deletion_asked_at=NOON,
            container_ended_at=NOON + SECOND,
        ),
        Code.CANCELLED,
        None,
    ),
    "stalled, and its pod goes with the Job": (
        _ended(
            WORKING,
            143,
            stalled_seconds=1800.0,
            pod_deletion_asked_at=NOON,
            container_ended_at=NOON + SECOND,
        ),
        Code.STALLED,
        None,
    ),
    "cancelled while a good result was printed": (
        _ended(ANSWERED, 0, cancelled=True),
        Code.CANCELLED,
        Cause.APP_EXIT,
    ),
    # A queue that takes the Job's place back.
    "preempted by its queue": (
        _ended(WORKING, 143, preempted_by_queue=True),
        Code.CLAUDE_TRUNCATED,
        Cause.PREEMPTED,
    ),
    "preempted by its queue, end not seen": (
        _ended(WORKING, None, preempted_by_queue=True, pod_gone=True),
        Code.CLAUDE_TRUNCATED,
        Cause.PREEMPTED,
    ),
    "preempted by its queue, and the agent was faster": (
        _ended(ANSWERED, 0, preempted_by_queue=True),
        None,
        None,
    ),
    "preempted by its queue after a result, before the agent's end": (
        _ended(ANSWERED, 143, preempted_by_queue=True),
        Code.CLAUDE_TRUNCATED,
        Cause.PREEMPTED,
    ),
    # The Job's deletion.
    "Job deleted midway": (
        _ended(WORKING, 143, job_deletion_seen=True, job_name="j", namespace="n"),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "Job gone, end not seen": (
        _ended(ANSWERED, None, job_gone=GONE),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "Job gone, agent interrupted at exit 0": (
        _ended(WORKING, 0, job_gone=GONE),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "Job gone after the agent's good end": (_ended(ANSWERED, 0, job_gone=GONE), None, None),
    "Job gone after the agent's bad end": (
        _ended(_recorded("auth_401"), 1, job_gone=GONE),
        Code.CLAUDE_AUTH_REQUIRED,
        Cause.APP_EXIT,
    ),
    "Job gone after it had failed": (
        _ended(WORKING, 143, job_gone=GONE, job_conditions=_true("Failed", "BackoffLimitExceeded")),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "Job deleted by its TTL after it had failed": (
        _ended(
            WORKING,
            143,
            job_deletion_seen=True,
            job_deletion_at=NOON,
            job_conditions=_failed_at(NOON - timedelta(seconds=5)),
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "Job deleted midway, and its node's clock is behind": (
        _ended(
            WORKING,
            143,
            job_deletion_seen=True,
            job_deletion_at=NOON + SECOND,
            container_ended_at=NOON,
        ),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "Job deleted well after its agent was ended by a signal": (
        _ended(
            WORKING,
            143,
            job_gone=GONE,
            job_deletion_at=NOON + 11 * SECOND,
            container_ended_at=NOON,
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.SIGTERM,
    ),
    "Job deleted a second after its agent's own exit": (
        _ended(
            WORKING,
            1,
            job_deletion_seen=True,
            job_deletion_at=NOON + SECOND,
            container_ended_at=NOON,
        ),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "Job failed because it was being deleted": (
        _ended(
            WORKING,
            143,
            job_deletion_seen=True,
            job_deletion_at=NOON,
            job_conditions=_failed_at(NOON),
        ),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "Job gone after its agent was killed for memory": (
        _ended(WORKING, 137, job_gone=GONE, container_reason="OOMKilled"),
        Code.CLAUDE_TRUNCATED,
        Cause.OOM_KILLED,
    ),
    # The check of the work.
    "check passed": (_ended(ANSWERED, 0, trailer=TRAILER, check=_check(0)), None, None),
    "check failed": (_ended(ANSWERED, 0, check=_check(1)), Code.CHECK_FAILED, None),
    "check killed": (_ended(ANSWERED, 0, check=_check(137)), Code.CHECK_FAILED, None),
    "check timed out": (
        _ended(ANSWERED, 0, check=_check(124, timed_out=True)),
        Code.CHECK_FAILED,
        None,
    ),
    "check failed with the code of a time limit": (
        _ended(ANSWERED, 0, check=_check(124)),
        Code.CHECK_FAILED,
        None,
    ),
    "check did not run": (_ended(ANSWERED, 0, check=_check(None)), Code.CHECK_FAILED, None),
    "check of which nothing is known": (
        _ended(ANSWERED, 0, check=CheckFacts(600)),
        Code.CHECK_FAILED,
        None,
    ),
    "check asked for, of a Job without one": (
        _ended(ANSWERED, 0, trailer=TRAILER, check=CheckFacts()),
        Code.CHECK_FAILED,
        None,
    ),
    "check cut short by the memory limit": (
        _ended(ANSWERED, 137, container_reason="OOMKilled", check=CUT_SHORT),
        Code.CHECK_FAILED,
        Cause.OOM_KILLED,
    ),
    "check cut short, and nobody saw by what": (
        _ended(ANSWERED, None, check=CUT_SHORT),
        Code.CHECK_FAILED,
        None,
    ),
    "check cut short on a lost node": (
        _ended(ANSWERED, None, pod_phase="Unknown", check=CUT_SHORT),
        Code.CHECK_FAILED,
        Cause.NODE_LOST,
    ),
    "check cut short by an eviction": (
        _ended(
            ANSWERED,
            0,
            trailer=TRAILER,
            pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI"),
            check=_check(143),
        ),
        Code.CHECK_FAILED,
        Cause.EVICTED,
    ),
    "check cut short after an agent that was ended after its result": (
        _ended(ANSWERED, 137, check=CheckFacts(600, BEGUN_AFTER_RESULT)),
        Code.CHECK_FAILED,
        None,
    ),
    "check cut short by the Job's deadline": (
        _ended(
            ANSWERED,
            137,
            job_conditions=_true("Failed", "DeadlineExceeded"),
            check=CUT_SHORT,
        ),
        Code.CHECK_FAILED,
        Cause.DEADLINE_EXCEEDED,
    ),
    "check cut short by the Job's deletion": (
        _ended(ANSWERED, 137, job_gone=GONE, check=CUT_SHORT),
        Code.CHECK_FAILED,
        Cause.JOB_DELETED,
    ),
    "check at work when the run was cancelled": (
        _ended(ANSWERED, 0, cancelled=True, job_deletion_seen=True, check=_check(143)),
        Code.CANCELLED,
        Cause.APP_EXIT,
    ),
    "no check after a failed agent": (
        _ended(WORKING, 1, trailer=replace(TRAILER, exit_code=1), check=_check(None)),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "no check after a time limit": (
        _ended(
            ANSWERED,
            124,
            trailer=replace(TRAILER, exit_code=124, timed_out=True),
            check=_check(None),
        ),
        Code.TIMEOUT,
        Cause.DEADLINE_EXCEEDED,
    ),
    "no check of a Job deleted before the agent's end": (
        _ended(WORKING, 143, job_gone=GONE, check=CheckFacts(600)),
        Code.JOB_DELETED_EXTERNALLY,
        Cause.JOB_DELETED,
    ),
    "failed check after an answer that is no success": (
        _ended(_said(result="x", is_error=True), 0, check=_check(1)),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    # The work.
    "work collected": (_ended(ANSWERED, 0, work=_work()), None, None),
    "commits that change nothing": (_ended(ANSWERED, 0, work=_work(2, 0)), None, None),
    "changes without a commit": (_ended(ANSWERED, 0, work=_work(0, 1)), None, None),
    "work collected, and nothing known of it": (
        _ended(ANSWERED, 0, work=_work(None, None)),
        None,
        None,
    ),
    "no changes, and none expected": (
        _ended(ANSWERED, 0, work=_work(0, 0, expect=False)),
        None,
        None,
    ),
    "no changes where some were expected": (
        _ended(ANSWERED, 0, check=_check(0), work=_work(0, 0)),
        Code.NO_CHANGES,
        None,
    ),
    "no changes, and not collected": (
        _ended(ANSWERED, 0, work=_work(0, 0, collected=False)),
        Code.NO_CHANGES,
        None,
    ),
    "no changes, none expected, and not collected": (
        _ended(ANSWERED, 0, work=_work(0, 0, expect=False, collected=False)),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "work not collected": (
        _ended(ANSWERED, 0, work=_work(collected=False)),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "work seen on the remote": (_ended(ANSWERED, 0, work=_pushed("c")), None, None),
    "nothing to push": (_ended(ANSWERED, 0, work=_pushed(None, unchanged=True)), None, None),
    "work not pushed": (
        _ended(ANSWERED, 0, work=_pushed(None, problem="The remote is away.")),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "work pushed, and nobody saw it": (
        _ended(ANSWERED, 0, work=_pushed(None)),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "work pushed without its pull request": (
        _ended(ANSWERED, 0, work=_pushed("c", problem="The token was refused.")),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "failed check of work that was not pushed": (
        _ended(ANSWERED, 0, check=_check(1), work=_pushed(None)),
        Code.CHECK_FAILED,
        None,
    ),
    "work of which nothing is known": (
        _ended(ANSWERED, 0, work=UNKNOWN_WORK),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "work lost with its pod": (
        _ended(
            ANSWERED,
            0,
            trailer=TRAILER,
            pod_conditions=_true("DisruptionTarget", "EvictionByEvictionAPI"),
            work=UNKNOWN_WORK,
        ),
        Code.WORK_NOT_DELIVERED,
        None,
    ),
    "failed check of an agent that changed nothing": (
        _ended(ANSWERED, 0, check=_check(1), work=_work(0, 0)),
        Code.CHECK_FAILED,
        None,
    ),
    "failed check of work that was not collected": (
        _ended(ANSWERED, 0, check=_check(1), work=UNKNOWN_WORK),
        Code.CHECK_FAILED,
        None,
    ),
    "failed agent that changed nothing": (
        _ended(WORKING, 1, work=_work(0, 0)),
        Code.CLAUDE_TRUNCATED,
        Cause.APP_EXIT,
    ),
    "work of a failed agent that was not collected": (
        _ended(_said(result="x", is_error=True), 0, work=UNKNOWN_WORK),
        Code.CLAUDE_FAILED,
        Cause.APP_EXIT,
    ),
    "work of a cancelled run that was not collected": (
        _ended(ANSWERED, 0, cancelled=True, work=UNKNOWN_WORK),
        Code.CANCELLED,
        Cause.APP_EXIT,
    ),
    # The API is away.
    "API lost": (
        _ended(WORKING, None, api_lost_seconds=601.0),
        Code.JOB_STATE_MISMATCH,
        Cause.UNKNOWN,
    ),
    "API refuses": (
        _ended(WORKING, None, api_lost_seconds=601.0, api_refused=True),
        Code.JOB_STATE_MISMATCH,
        Cause.UNKNOWN,
    ),
    "API refuses after the trailer": (
        _ended(ANSWERED, None, api_lost_seconds=601.0, api_refused=True, trailer=TRAILER),
        None,
        None,
    ),
    "API lost after the trailer": (
        _ended(ANSWERED, None, api_lost_seconds=601.0, trailer=TRAILER),
        None,
        None,
    ),
}


# Where several reasons share a code, and the reason makes the sentence.
REASONS: dict[str, Reason] = {
    "API refuses": Reason.API_REFUSED,
    "API lost": Reason.API_LOST,
    "no exit code anywhere": Reason.EXIT_UNREADABLE,
    "good result, exit 1": Reason.EXIT_AFTER_RESULT,
    "result does not say whether it is an error": Reason.ERROR_UNSAID,
    "unknown session, but not asked to resume": Reason.ERROR_RESULT,
    "refused by event": Reason.REFUSED,
    "result of another kind lists errors": Reason.ERROR_RESULT,
    "stopped by a hook": Reason.HOOK_STOPPED,
    "tool call put off": Reason.TOOL_DEFERRED,
    "aborted, and no error by its flag": Reason.ABORTED,
    "stopped in the middle of its work": Reason.UNFINISHED,
    "a further turn without its result, exit 0": Reason.ENDED_AFTER_RESULT,
    "request rejected": Reason.API_REJECTED,
    "request rejected, says its type": Reason.API_REJECTED,
    "overloaded": Reason.API_UNAVAILABLE,
    "API failed, nobody says how": Reason.API_FAILED,
    "no credit": Reason.BILLING,
    "model unknown": Reason.MODEL_UNKNOWN,
    "a gateway answers 404": Reason.API_REJECTED,
    "answer longer than allowed": Reason.OUTPUT_LIMIT,
    "API not reached": Reason.CONNECTION,
    "the closing result is lost": Reason.CLOSING_RESULT_LOST,
    "a piece of the closing result": Reason.CLOSING_RESULT_TORN,
    "a piece of the closing result, and lines were lost": Reason.CLOSING_RESULT_LOST,
    "a message of the CLI's own as the answer": Reason.ANSWERED_BY_CLI,
    "open and empty answer of the model": Reason.EMPTY_MODEL_ANSWER,
    "output was printed and not read": Reason.LINES_LOST,
    "bundle does not fit its hash": Reason.BAD_INPUT,
    "command not found": Reason.NO_STDOUT,
    "plain words alone": Reason.UNMATCHED,
    "evicted": Reason.NO_RESULT,
    "check failed": Reason.CHECK_FAILED,
    "check timed out": Reason.CHECK_TIMED_OUT,
    "check failed with the code of a time limit": Reason.CHECK_FAILED,
    "check did not run": Reason.CHECK_UNKNOWN,
    "check cut short by the memory limit": Reason.CHECK_UNKNOWN,
    "no changes, and not collected": Reason.NO_CHANGES,
    "work of which nothing is known": Reason.WORK_NOT_DELIVERED,
    "work not pushed": Reason.WORK_NOT_PUBLISHED,
}


@pytest.mark.parametrize("name", REASONS)
def test_facts_are_worded_for_their_reason(name: str) -> None:
    assert judge_run(TABLE[name][0]).reason is REASONS[name]


@pytest.mark.parametrize("name", TABLE)
def test_facts_are_judged_as_listed(name: str) -> None:
    facts, code, cause = TABLE[name]

    outcome = judge_run(facts)

    assert (outcome.code, outcome.cause) == (code, cause)


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        (
            "disrupted for a reason of its own",
            "pod condition DisruptionTarget, reason SpotInterruption",
        ),
        ("disrupted without a reason", "pod condition DisruptionTarget, without a reason"),
        (
            "disrupted, says the Job of a pod that has gone",
            "the Job failed because its pod was disrupted; the pod no longer tells for which "
            "reason",
        ),
    ],
)
def test_disruption_is_quoted(name: str, fact: str) -> None:
    assert fact in judge_run(TABLE[name][0]).facts_used


@pytest.mark.parametrize("code", ErrorCode)
def test_failed_stage_ends_the_run_with_its_own_words(code: ErrorCode) -> None:
    failure = StageFailure(code, "It broke.", Cause.IMAGE_PULL, "Mend it.")

    outcome = judge_run(_ended(ANSWERED, 0, stage_failure=failure))

    assert outcome.code is code
    assert (outcome.cause, outcome.message, outcome.advice) == (
        Cause.IMAGE_PULL,
        "It broke.",
        "Mend it.",
    )


def test_failed_stage_comes_before_cancellation() -> None:
    failure = StageFailure(Code.POD_SCHEDULE_FAILED, "No pod.")

    outcome = judge_run(RunFacts(stage_failure=failure, cancelled=True))

    assert (outcome.code, outcome.cause) == (Code.POD_SCHEDULE_FAILED, None)


def test_only_max_turns_clears_the_session_at_once() -> None:
    assert {row.reason for row in PRECEDENCE if row.clear_session} == {Reason.MAX_TURNS}


def test_what_the_session_itself_may_cause_recurs_in_it() -> None:
    recurring = {row.reason for row in PRECEDENCE if row.recurs_in_session}

    assert recurring == {Reason.PROMPT_TOO_LONG, Reason.API_REJECTED}


def test_table_covers_every_code_and_names_success_once() -> None:
    codes = [row.code for row in PRECEDENCE]

    assert {code for code in codes if code is not None} == set(ErrorCode)
    assert codes.count(None) == 1


def test_every_reason_has_a_row_and_words() -> None:
    assert {row.reason for row in PRECEDENCE} == set(Reason)
    assert set(WORDINGS) == set(Reason) - {Reason.STAGE}


def test_every_reason_and_cause_is_reached_by_the_tables() -> None:
    reached = {judge_run(facts).cause for facts, _, _ in TABLE.values()}

    assert reached == {*Cause, None}
    assert set(BY_CAUSE) < reached


def test_stages_come_in_the_order_of_the_run() -> None:
    order = list(dict.fromkeys(row.reason for row in PRECEDENCE))

    assert order[:8] == [
        Reason.STAGE,
        Reason.CANCELLED,
        Reason.TIMEOUT,
        Reason.STALLED,
        Reason.JOB_DELETED,
        Reason.PREEMPTED_BY_QUEUE,
        Reason.API_REFUSED,
        Reason.API_LOST,
    ]
