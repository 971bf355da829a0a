from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.agent_job.prepared_run import PreparedRun, prepare_run
from tasks.agent_job.run_request import parse_request
from tasks.claude_code.events import parse_event
from tasks.claude_code.session_summary import SessionState
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
)
from tasks.observation.snapshots import PodSnapshot
from tasks.outcome.result_building import (
    AttemptRecord,
    agent_timed_out,
    build_check_result,
    build_refusal,
    build_result,
    build_work_result,
)
from tasks.outcome.run_facts import CheckFacts, RunFacts, WorkFacts
from tasks.outcome.run_result import AgentRunResult, CheckResult, WorkFile, WorkResult
from tasks.outcome.verdict import judge_run
from tasks.text.redaction import MASK, Redactor
from tasks.transcript.line_grammar import CheckEnd, parse_trailer_text
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import FlowRunId, PodUid

START = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
END = START + timedelta(seconds=90)
SECRET = "planted-secret-value"
RESULT = (
    b'{"type":"result","subtype":"success","is_error":false,"result":"it is planted-secret-value",'
    b'"session_id":"s1","num_turns":2,"duration_ms":12.6,"total_cost_usd":0.5,'
    b'"usage":{"input_tokens":3,"output_tokens":4}}'
)


def prepared() -> PreparedRun:
    request = parse_request(
        {
            "agent": {"agent_id": "a1", "instructions": "Be kind."},
            "runtime": {"image": "agent:1"},
            "prompt": "Say hello.",
            "task_id": "t1",
            "workspace": {"cwd": "/work", "id": "w1"},
        }
    )
    assert not isinstance(request.agent, str)
    assert not isinstance(request.runtime, str)
    return prepare_run(
        request,
        request.agent,
        request.runtime,
        flow_run_id=FlowRunId("f1"),
        run_script="exit",
        keeper_script="exit",
    )


def record(**fields: Any) -> AttemptRecord:
    session = SessionState()
    session.apply(parse_event(RESULT))
    container = ContainerSnapshot(
        "agent",
        terminated=ContainerTerminated(0, started_at=START, finished_at=END, reason="Completed"),
    )
    pod = PodSnapshot("pod-1", PodUid("p"), node_name="node-1", containers=(container,))
    known: dict[str, Any] = {
        "number": 1,
        "job_name": "job-1",
        "job_uid": "u",
        "flow_run_id": "f1",
        "resumed": False,
        "pod": pod,
        "session": session.summary(),
    }
    return AttemptRecord(**{**known, **fields})


def build(attempt: AttemptRecord | None, facts: RunFacts) -> AgentRunResult:
    return build_result(
        prepared(),
        judge_run(facts),
        attempt,
        namespace="agents",
        started_at=START,
        ended_at=END,
        timed_out=agent_timed_out(facts),
        redactor=Redactor([SECRET]),
    )


def test_result_of_a_success_holds_what_was_seen_and_no_secret() -> None:
    attempt = record()
    result = build(attempt, RunFacts(session=attempt.session, container_exit_code=0))

    assert result.succeeded
    assert (result.exit_code, result.num_turns, result.duration_ms) == (0, 2, 13)
    assert (result.cost_usd, result.usage.input_tokens, result.usage.output_tokens) == (0.5, 3, 4)
    assert result.summary == f"it is {MASK}"
    assert result.last_result is not None
    assert result.last_result["result"] == f"it is {MASK}"
    assert SECRET not in result.model_dump_json()
    assert (result.kubernetes.pod_name, result.kubernetes.node_name) == ("pod-1", "node-1")
    assert (result.timings.agent_started_at, result.timings.agent_ended_at) == (START, END)
    assert (result.session.cwd, result.session.workspace_id) == ("/work", "w1")
    assert (result.prompt_bytes, result.system_prompt_bytes) == (10, 8)
    assert result.reattached_from is None


@pytest.mark.parametrize("depth", [210, 260, 520, 20_000])
def test_result_that_is_nested_deeply_can_be_stored_and_read_and_tells_what_was_cut(
    depth: int,
) -> None:
    deep = b"[" * depth + b"]" * depth
    denial = b'{"tool_name":"X","tool_input":{"a":' + deep + b"}}"
    line = RESULT[:-1] + b',"permission_denials":[' + denial + b'],"structured_output":' + deep
    session = SessionState()
    session.apply(parse_event(line + b"}"))
    attempt = record(session=session.summary())

    result = build(attempt, RunFacts(session=attempt.session, container_exit_code=0))

    assert AgentRunResult.model_validate_json(result.model_dump_json()) == result
    assert result.succeeded
    assert [warning for warning in result.warnings if "not exactly what the agent gave" in warning]


def test_result_of_a_job_taken_over_says_whose_and_nothing_of_our_request() -> None:
    attempt = record(flow_run_id="f0", asked_for_by_us=False)
    result = build(attempt, RunFacts(session=attempt.session, container_exit_code=0))

    assert result.reattached_from == "f0"
    assert (result.session.cwd, result.prompt_bytes, result.system_prompt_bytes) == (None,) * 3


def test_result_without_a_job_knows_no_names_and_no_costs() -> None:
    result = build(None, RunFacts())

    assert (result.attempt, result.kubernetes.job_name, result.cost_usd) == (None, None, None)
    assert result.timings.agent_started_at is None
    assert result.summary is None


def test_agent_that_is_still_running_has_a_start_and_no_end() -> None:
    running = ContainerSnapshot("agent", running=ContainerRunning(START))
    pod = PodSnapshot("pod-1", PodUid("p"), containers=(running,))
    result = build(record(pod=pod), RunFacts())

    assert (result.timings.agent_started_at, result.timings.agent_ended_at) == (START, None)
    assert ContainerSnapshot("agent").started_at is None


def test_trailer_that_says_so_makes_a_timeout() -> None:
    trailer = parse_trailer_text(
        "t 1 lines=0 bytes=0 sha256=- exit=124 timed_out=1 last_result=0 copied=0 stderr_lines=0 "
        "stderr_skipped=0 refused=-"
    )

    assert trailer is not None
    assert agent_timed_out(RunFacts(trailer=trailer))
    assert agent_timed_out(RunFacts(agent_timed_out=True))
    assert not agent_timed_out(RunFacts())


def test_refusal_keeps_code_cause_and_advice() -> None:
    refused = build_refusal(
        AgentRunError(
            ErrorCode.INPUT_INVALID, f"no {SECRET}", cause=Cause.CONFIG_ERROR, advice="Mend it."
        ),
        agent_id="a1",
        flow_run_id="f1",
        task_id=None,
        namespace=None,
        job=None,
        started_at=START,
        ended_at=END,
        redactor=Redactor([SECRET]),
    )

    assert (refused.error_code, refused.cause) == (ErrorCode.INPUT_INVALID, Cause.CONFIG_ERROR)
    assert (refused.message, refused.advice) == (f"no {MASK}", "Mend it.")


def test_result_names_the_containers_that_still_ran_after_the_agents_end() -> None:
    mesh = ContainerSnapshot("mesh", running=ContainerRunning(START))
    ended = record().pod
    assert ended is not None
    beside = replace(ended, phase="Running", containers=(mesh, *ended.containers))
    at_work = replace(
        beside, containers=(mesh, ContainerSnapshot("agent", running=ContainerRunning(START)))
    )

    assert build(record(pod=beside), RunFacts()).kubernetes.still_running == ("mesh",)
    assert build(record(pod=at_work), RunFacts()).kubernetes.still_running == ()
    assert build(record(), RunFacts()).kubernetes.still_running == ()


FAILED = CheckFacts(600, None, CheckEnd(1, False, 12, 3, 40), "1 failed")


def test_check_that_was_not_asked_for_is_null() -> None:
    assert build_check_result(None, [b"x"], Redactor()) is None


def test_result_of_a_check_has_its_end_and_its_last_lines_without_secrets() -> None:
    lines = [b"first", f"the key is {SECRET}\x1b[0m".encode(), b"1 failed \xff"]

    assert build_check_result(FAILED, lines, Redactor([SECRET])) == CheckResult(
        exit_code=1,
        timed_out=False,
        timeout_seconds=600,
        duration_seconds=12,
        last_lines=f"first\nthe key is {MASK}\\x1b[0m\n1 failed \ufffd",
        lines_skipped=40,
    )


@pytest.mark.parametrize(
    "end", [None, CheckEnd(None, False, 0, 0, 0)], ids=["not seen", "did not run"]
)
def test_check_whose_end_is_unknown_has_nulls(end: CheckEnd | None) -> None:
    assert build_check_result(replace(FAILED, end=end), [], Redactor()) == CheckResult(
        timeout_seconds=600
    )


@pytest.mark.parametrize(
    ("lines", "shown", "skipped"),
    [
        pytest.param([b"%d" % n for n in range(60)], 50, 10, id="many-lines"),
        pytest.param([b"x" * 1000] * 10, 8, 2, id="long-lines"),
        pytest.param([b"x" * 8191], 1, 0, id="a-line-that-just-fits"),
        pytest.param([b"x" * 8192], 1, 0, id="a-line-that-is-too-long"),
        pytest.param([b""], 1, 0, id="an-empty-line"),
    ],
)
def test_last_lines_of_a_check_are_bounded(lines: list[bytes], shown: int, skipped: int) -> None:
    end = CheckEnd(0, False, 1, len(lines), 0)

    check = build_check_result(CheckFacts(600, None, end), lines, Redactor())

    assert check is not None
    assert len(check.last_lines) <= 8 * 1024 + 1
    assert check.last_lines.count("\n") + 1 == shown
    assert check.last_lines.endswith(lines[-1].decode()[-10:]) or check.last_lines.endswith("…")
    assert check.lines_skipped == skipped


def test_secret_of_several_lines_is_masked_in_a_checks_output() -> None:
    secret = "BEGIN-of-a-secret\nsecond-line-of-the-secret\nEND-of-the-secret"

    check = build_check_result(FAILED, secret.encode().split(b"\n"), Redactor([secret]))

    assert check is not None
    assert check.last_lines == MASK


def test_result_with_a_check_is_read_back() -> None:
    attempt = record()
    facts = RunFacts(session=attempt.session, container_exit_code=0, check=FAILED)
    check = build_check_result(FAILED, [b"1 failed"], Redactor())
    result = build(attempt, facts).model_copy(update={"check": check})

    assert AgentRunResult.model_validate_json(result.model_dump_json()) == result
    assert (result.error_code, result.cause) == (ErrorCode.CHECK_FAILED, None)
    assert (result.session_id, result.cost_usd, result.clear_session) == ("s1", 0.5, False)
    older = result.model_dump(mode="json", exclude={"check"})
    assert AgentRunResult.model_validate(older).check is None


COLLECTED = WorkResult(
    collected=True,
    base_commit="0" * 40,
    branch=f"fix-{SECRET}",
    commits=1,
    files_changed=2,
    files=(WorkFile(path=f"{SECRET}.txt", status="added", size_bytes=3, sha256="1" * 64),),
    left_out=(f"{SECRET}.bin is too large.",),
    bundle_key="a1/f1/work.bundle",
)


def test_work_that_was_not_to_be_collected_is_null() -> None:
    assert build_work_result(None, Redactor()) is None


def test_result_of_the_work_is_what_was_collected_without_secrets_in_its_names() -> None:
    work = build_work_result(WorkFacts(True, COLLECTED, keeper_waits=False), Redactor([SECRET]))

    assert work == COLLECTED.model_copy(
        update={
            "branch": f"fix-{MASK}",
            "files": (COLLECTED.files[0].model_copy(update={"path": f"{MASK}.txt"}),),
            "left_out": (f"{MASK}.bin is too large.",),
        }
    )


def test_result_of_work_that_could_not_be_collected_says_why_without_secrets() -> None:
    failed = WorkResult(collected=False, problem=f"No {SECRET}.")

    said = build_work_result(WorkFacts(True, failed, keeper_waits=True), Redactor([SECRET]))
    unknown = build_work_result(WorkFacts(True, None, keeper_waits=False), Redactor())

    assert said == WorkResult(collected=False, problem=f"No {MASK}.")
    assert unknown == WorkResult(collected=False, problem="Nothing is known of it.")


def test_result_with_work_is_read_back() -> None:
    attempt = record()
    facts = WorkFacts(True, COLLECTED, keeper_waits=False)
    result = build(
        attempt, RunFacts(session=attempt.session, container_exit_code=0, work=facts)
    ).model_copy(update={"work": build_work_result(facts, Redactor())})

    assert AgentRunResult.model_validate_json(result.model_dump_json()) == result
    assert result.error_code is None
    older = result.model_dump(mode="json", exclude={"work"})
    assert AgentRunResult.model_validate(older).work is None
