"""What no combination of facts may bring about."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.observation.api_fields import Condition
from tasks.observation.cluster_evidence import NodeSnapshot
from tasks.observation.container_states import (
    ContainerSnapshot,
    ContainerTerminated,
    ContainerWaiting,
)
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.run_facts import (
    CheckFacts,
    JobGone,
    PodReplacement,
    RunFacts,
    WorkFacts,
    read_ending,
)
from tasks.outcome.run_result import LineRange, TranscriptProof, WorkResult
from tasks.outcome.verdict import judge_run
from tasks.transcript.line_grammar import CheckBegunLine, CheckEnd, Refusal, Trailer
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tests.unit.outcome.recordings import summarise

EXIT_CODES = st.sampled_from([None, 0, 1, 76, 77, 124, 127, 137, 139, 143, 255])
WORDS = st.sampled_from(
    [
        None,
        "",
        "plain words\x1b[31m\nand more",
        '{"type":"assistant","message":{"content":[]},"uuid":"u"}',
        'torn ","session_id":"s","uuid":"u"}',
        'API Error: 400 {"type":"error","error":{"message":"too long"}}',
    ]
)


def _event(**fields: Any) -> bytes:
    return json.dumps({key: value for key, value in fields.items() if value != "absent"}).encode()


RESULTS = st.builds(
    _event,
    type=st.just("result"),
    subtype=st.sampled_from(["success", "error_max_turns", "error_during_execution", "absent"]),
    is_error=st.sampled_from([True, False, None, "false", 0, "absent"]),
    terminal_reason=st.sampled_from(["completed", "api_error", "max_turns", "absent"]),
    result=st.sampled_from(["Done", "", " \n", 7, None, "absent"]),
    api_error_status=st.sampled_from([None, 401, 429, 500, "absent"]),
    num_turns=st.sampled_from([0, 1, "absent"]),
)
LINES = st.lists(
    st.one_of(
        RESULTS,
        st.sampled_from(
            [
                b'{"type":"system","subtype":"init","model":"m","session_id":"s"}',
                b'{"type":"assistant","message":{"content":[{"type":"text","text":"hi"}]}}',
                b'{"type":"assistant","error":"rate_limit","is_api_error_message":true,'
                b'"message":{"model":"<synthetic>","content":[]}}',
                b'{"type":"assistant"}',
                b"plain words",
                b'{"type":"resu',
                b"",
            ]
        ),
    ),
    max_size=4,
)
TRAILERS = st.none() | st.builds(
    Trailer,
    version=st.just(1),
    lines=st.sampled_from([0, 3]),
    stdout_bytes=st.just(100),
    sha256=st.none(),
    exit_code=EXIT_CODES.filter(lambda code: code is not None),
    timed_out=st.booleans(),
    last_result_line=st.sampled_from([None, 2, 3]),
    copied_lines=st.just(0),
    stderr_lines=st.just(0),
    stderr_skipped=st.just(0),
    refused=st.sampled_from([None, *Refusal]),
)
REASONS = st.sampled_from(
    [
        None,
        "Completed",
        "Error",
        "OOMKilled",
        "ContainerStatusUnknown",
        "ErrImagePull",
        "StartError",
        "Evicted",
        "Preempting",
        "NodeLost",
        "DeadlineExceeded",
        "EvictionByEvictionAPI",
    ]
)
CONDITIONS = st.lists(
    st.builds(
        Condition,
        type=st.sampled_from(["Failed", "Complete", "DisruptionTarget", "PodScheduled"]),
        status=st.sampled_from(["True", "False", "Unknown"]),
        reason=REASONS,
    ),
    max_size=2,
).map(tuple)
PROOFS = st.sampled_from(
    [
        TranscriptProof(),
        TranscriptProof(complete=True, lines=3, stdout_bytes=100),
        TranscriptProof(complete=False, missing=(LineRange(first=2, last=2),)),
    ]
)
RARELY = st.sampled_from([False, False, False, True])
EVENTS = st.lists(
    st.builds(
        KubernetesEventSnapshot,
        reason=st.sampled_from(
            [
                "Preempted",
                "Evicted",
                "TaintManagerEviction",
                "NodeNotReady",
                "FailedScheduling",
                "DeadlineExceeded",
                "Killing",
            ]
        ),
        message=WORDS.map(lambda words: words or ""),
        type=st.sampled_from(["Normal", "Warning"]),
        about_kind=st.sampled_from(["Pod", "Job"]),
        about_name=st.sampled_from(["agent-x", "another"]),
    ),
    max_size=2,
).map(tuple)
INIT_CONTAINERS = st.lists(
    st.builds(
        ContainerSnapshot,
        name=st.just("fetch"),
        terminated=st.none()
        | st.builds(
            ContainerTerminated,
            exit_code=st.sampled_from([None, 0, 3, 137]),
            reason=REASONS,
            message=WORDS,
        ),
        waiting=st.none() | st.builds(ContainerWaiting, reason=REASONS),
    ),
    max_size=1,
).map(tuple)
NODES = st.none() | st.builds(
    NodeSnapshot,
    name=st.just("n1"),
    conditions=st.sampled_from(
        [
            (),
            (Condition("Ready", "True"),),
            (Condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting."),),
            (Condition("MemoryPressure", "True"),),
        ]
    ),
)
CHECKS = st.none() | st.builds(
    CheckFacts,
    timeout_seconds=st.sampled_from([None, 600]),
    begun=st.sampled_from(
        [None, CheckBegunLine(1, 0, False, 600, 0), CheckBegunLine(1, 143, True, 600, 0)]
    ),
    end=st.none()
    | st.builds(
        CheckEnd,
        exit_code=st.sampled_from([None, 0, 1, 124, 137]),
        timed_out=st.booleans(),
        seconds=st.just(3),
        lines=st.just(1),
        skipped=st.just(0),
    ),
    line=WORDS,
)
COUNTS = st.sampled_from([None, 0, 1])
WORK = st.none() | st.builds(
    WorkFacts,
    expect_changes=st.booleans(),
    result=st.none()
    | st.builds(
        WorkResult,
        collected=st.sampled_from([True, True, False]),
        problem=WORDS,
        commits=COUNTS,
        files_changed=COUNTS,
        insertions=COUNTS,
        deletions=COUNTS,
        left_out=st.lists(WORDS.map(lambda words: words or ""), max_size=2).map(tuple),
    ),
    keeper_waits=st.booleans(),
)
FACTS = st.builds(
    RunFacts,
    session=LINES.map(b"\n".join).map(summarise),
    transcript=PROOFS,
    resume_requested=st.booleans(),
    check=CHECKS,
    work=WORK,
    stderr_line=WORDS,
    trailer=TRAILERS,
    termination_trailer=TRAILERS,
    container_started=st.sampled_from([None, True, False]),
    container_exit_code=EXIT_CODES,
    container_signal=st.sampled_from([None, 0, 9, 15]),
    container_reason=REASONS,
    container_message=WORDS,
    init_containers=INIT_CONTAINERS,
    pod_name=st.just("agent-x") | WORDS,
    pod_deleting=RARELY,
    job_name=st.just("agent-x"),
    kubernetes_events=EVENTS,
    node=NODES,
    pod_phase=st.sampled_from([None, "Running", "Succeeded", "Failed", "Unknown"]),
    pod_reason=REASONS,
    pod_message=WORDS,
    pod_gone=st.sampled_from([None, True, False]),
    pod_conditions=CONDITIONS,
    pod_replaced=st.none() | st.just(PodReplacement("a", "b")),
    job_conditions=CONDITIONS,
    job_gone=st.none() | st.just(JobGone("a read")),
    job_deletion_seen=RARELY,
    cancelled=RARELY,
    agent_timed_out=RARELY,
    flow_deadline_reached=RARELY,
    stalled_seconds=st.none() | st.just(1800.0),
    api_lost_seconds=st.none() | st.just(601.0),
    api_refused=RARELY,
    model=WORDS,
)


@settings(max_examples=300, deadline=None)
@given(FACTS)
def test_success_needs_exit_zero_and_a_good_result_with_an_answer(facts: RunFacts) -> None:
    outcome = judge_run(facts)

    result = facts.session.last_result
    needs = {
        "exit code": outcome.exit_code == 0,
        "its source": read_ending(facts).source is not None,
        "good result": result is not None and result.raw.get("is_error") is False,
        "answer": bool(facts.session.answer),
        "nobody cancelled it": not facts.cancelled,
        "passed check": facts.check is None or facts.check.exit_code == 0,
        "collected work": facts.work is None or facts.work.is_collected,
    }
    assert outcome.code is not None or all(needs.values()), needs


@settings(max_examples=150, deadline=None)
@given(FACTS)
def test_cause_is_named_with_its_fact_or_unknown(facts: RunFacts) -> None:
    outcome = judge_run(facts)

    # The deciding fact, and the cause's own or the exit code's.
    assert outcome.cause in {None, Cause.UNKNOWN} or any(
        _supports(outcome.cause, fact) for fact in outcome.facts_used
    )


@settings(max_examples=150, deadline=None)
@given(FACTS.filter(lambda facts: "OOMKilled" not in _reasons_of_containers(facts)))
def test_no_run_is_out_of_memory_whose_containers_are_not(facts: RunFacts) -> None:
    assert judge_run(facts).cause is not Cause.OOM_KILLED


@settings(max_examples=150, deadline=None)
@given(FACTS)
def test_run_that_ended_with_zero_is_not_out_of_memory(facts: RunFacts) -> None:
    outcome = judge_run(facts)

    is_of_check = outcome.code is ErrorCode.CHECK_FAILED
    assert outcome.exit_code != 0 or outcome.cause is not Cause.OOM_KILLED or is_of_check


def _reasons_of_containers(facts: RunFacts) -> set[str | None]:
    ended = [item.terminated for item in facts.init_containers if item.terminated]
    return {facts.container_reason, *(item.reason for item in ended)}


def _supports(cause: Cause | None, fact: str) -> bool:
    words: dict[Cause, str] = {
        Cause.APP_EXIT: r"(^|ended with )exit code \d+",
        Cause.HEAP_EXHAUSTED: "V8 reports that it is out of memory",
        Cause.SIGKILL: r"^signal 9$",
        Cause.SIGTERM: r"^signal 15$",
        Cause.OOM_KILLED: "OOMKilled",
        Cause.EVICTED: "Evict|TaintManager|DisruptionTarget|was disrupted",
        Cause.PREEMPTED: "Preempt",
        Cause.NODE_LOST: "NodeLost|phase Unknown|not ready|NodeNotReady",
        Cause.POD_REPLACED: "replaced|other than the first|was deleted at",
        Cause.JOB_DELETED: "the Job was",
        Cause.DEADLINE_EXCEEDED: "DeadlineExceeded|time limit",
        Cause.IMAGE_PULL: "ErrImagePull",
        Cause.CONFIG_ERROR: "StartError|refused",
        Cause.UNSCHEDULABLE: "PodScheduled|FailedScheduling",
    }
    return cause is not None and re.search(words[cause], fact) is not None


@settings(max_examples=150, deadline=None)
@given(FACTS)
def test_message_is_one_safe_sentence_without_stream_json(facts: RunFacts) -> None:
    outcome = judge_run(facts)
    message = outcome.message

    assert '"type"' not in (outcome.cluster_said or "")
    assert (outcome.cluster_said or "x").isprintable()
    assert message.isprintable()
    assert all(warning.isprintable() for warning in outcome.warnings)
    assert message.endswith(".")
    assert '"uuid"' not in message
    assert '"type"' not in message
    # Facts of the cluster stand in the table, which is as safe.
    assert dict(outcome.observed)["Exit code"]
    assert not re.search(r"exit code \d|pod phase|container reason|\bnode-1\b", message)
    for name, value in outcome.observed:
        assert (name + value).isprintable()
        assert '"type"' not in value
        assert '"uuid"' not in value


@settings(max_examples=150, deadline=None)
@given(FACTS)
def test_session_is_cleared_by_one_code_alone(facts: RunFacts) -> None:
    outcome = judge_run(facts)

    assert outcome.clear_session == (outcome.code is ErrorCode.CLAUDE_MAX_TURNS)
