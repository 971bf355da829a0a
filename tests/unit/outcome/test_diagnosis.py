import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.claude_code.session_summary import SessionSummary
from tasks.observation.api_fields import Condition
from tasks.observation.cluster_evidence import NodeSnapshot
from tasks.observation.container_states import ContainerSnapshot, ContainerTerminated
from tasks.outcome.diagnosis_texts import BY_CAUSE, LEADS
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import CheckFacts, JobGone, PodReplacement, RunFacts, WorkFacts
from tasks.outcome.run_result import LineRange, TranscriptProof, WorkResult
from tasks.outcome.verdict import Outcome, judge_run
from tasks.text.quoting import quote
from tasks.transcript.line_grammar import CheckBegunLine, CheckEnd, Refusal, Trailer
from tasks.vocabulary.error_codes import Cause
from tests.unit.outcome.recordings import read_recording, summarise
from tests.unit.outcome.telling import told_of

WORKING = summarise(read_recording("killed_sigterm_during_tool").stdout)
NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
TRAILER_TEXT = (
    f"t 1 lines=3 bytes=10 sha256={'0' * 64} exit=1 timed_out=0 last_result=0 copied=0 "
    "stderr_lines=0 stderr_skipped=0 refused=-"
)


def _facts(**facts: Any) -> RunFacts:
    return RunFacts(session=WORKING, container_started=True, **facts)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        pytest.param(_facts(pod_gone=True), "the pod was gone before", id="gone"),
        pytest.param(_facts(pod_gone=False), "not reported as terminated", id="present"),
        pytest.param(_facts(), "; exit code unknown;", id="not looked for"),
        pytest.param(
            _facts(container_exit_code=137, container_reason="OOMKilled"),
            "exit code 137; signal 9 SIGKILL; container reason OOMKilled",
            id="out of memory",
        ),
        pytest.param(_facts(container_exit_code=139), "signal 11 SIGSEGV", id="crash"),
        pytest.param(_facts(container_exit_code=161), "signal 33;", id="signal without a name"),
        pytest.param(_facts(container_exit_code=255), "exit code 255; model", id="no signal"),
        pytest.param(
            _facts(container_exit_code=1, container_message="disk full"),
            "kubelet message “disk full”",
            id="kubelet message",
        ),
        pytest.param(
            _facts(
                container_exit_code=137,
                pod_name="agent-x",
                pod_phase="Failed",
                pod_reason="Evicted",
                pod_message="The node was low on resource: memory.",
                node_name="node-1",
            ),
            "pod agent-x, pod phase Failed, pod reason Evicted, “The node was low on resource: "
            "memory.”, node node-1",
            id="evicted pod",
        ),
        pytest.param(
            _facts(pod_replaced=PodReplacement("agent-1", "agent-2")),
            "pod replaced agent-1 was lost and replaced by agent-2",
            id="both pods",
        ),
        pytest.param(
            _facts(container_exit_code=1, model="opus"),
            "model claude-opus-5-5, requested as opus",
            id="another model",
        ),
        pytest.param(
            _facts(agent_timed_out=True, timeout_seconds=3600.0),
            "a time limit of 3,600 s was reached",
            id="timeout",
        ),
        pytest.param(_facts(stalled_seconds=1800.0), "printed nothing for 1,800 s", id="stalled"),
        pytest.param(
            _facts(cancelled=True, transcript=TranscriptProof(lines=4, stdout_bytes=4820)),
            "4 lines and 4,820 bytes of output had been read",
            id="cancelled",
        ),
        pytest.param(
            _facts(
                api_lost_seconds=601.0,
                api_failure="TLS with the Kubernetes API failed (x).",
                job_name="job-1",
            ),
            "has not answered for 601 s (TLS with the Kubernetes API failed (x)), so the state of "
            "Job job-1 is unknown",
            id="API lost",
        ),
        pytest.param(
            _facts(
                api_lost_seconds=601.0,
                api_failure="The Kubernetes API answered 403 Forbidden to list pods: x.",
                api_refused=True,
                job_name="job-1",
            ),
            "has refused every read for 601 s (The Kubernetes API answered 403 Forbidden to list "
            "pods: x), so the state of Job job-1 is unknown",
            id="API refuses",
        ),
        pytest.param(
            _facts(
                container_exit_code=1,
                transcript=TranscriptProof(
                    complete=False,
                    missing=tuple(LineRange(first=n, last=n + 1) for n in range(3, 33, 5)),
                ),
            ),
            "(missing lines 3–4, 8–9, 13–14, 18–19, 23–24 and more)",
            id="lines lost",
        ),
    ],
)
def test_outcome_tells_the_fact(facts: RunFacts, words: str) -> None:
    assert words in told_of(judge_run(facts))


@pytest.mark.parametrize("fields", [b"", b',"error":"rate_limit","is_api_error_message":true'])
@pytest.mark.parametrize("before", [b"", read_recording("killed_sigterm_during_tool").stdout])
@pytest.mark.parametrize("exit_code", [0, 1, 137])
def test_what_the_cli_said_instead_of_a_result_is_quoted(
    before: bytes, fields: bytes, exit_code: int
) -> None:
    content = b'{"model":"<synthetic>","content":[{"type":"text","text":"You hit your limit"}]}'
    said = b'{"type":"assistant","message":%s%s}' % (content, fields)
    session = summarise(b'{"type":"system","subtype":"init"}\n' + before + b"\n" + said)
    facts = RunFacts(session=session, container_started=True, container_exit_code=exit_code)

    assert "“You hit your limit”" in judge_run(facts).message


@pytest.mark.parametrize(
    "errors",
    [
        '[{"foo":1},"Real cause"]',
        '[{"text":"Real cause"}]',
        '[{},{"detail":"Real cause"}]',
        '[{"type":"error","error":{"type":"invalid_request_error","message":"Real cause"}}]',
        '[{"code":"E1","error":{"message":"Real cause"}}]',
        '[0,false,[],"Real cause"]',
    ],
)
def test_error_that_says_something_is_quoted_before_one_that_does_not(errors: str) -> None:
    session = summarise(f'{{"type":"result","is_error":true,"errors":{errors}}}'.encode())

    assert "“Real cause”" in judge_run(RunFacts(session=session, container_exit_code=1)).message


def test_message_about_deleted_job_carries_forensics() -> None:
    facts = _facts(
        job_gone=JobGone("watch, then a second read", 61.4, 12),
        job_name="job-1",
        namespace="agents",
        job_conditions=(
            Condition("Suspended", "False", "JobResumed"),
            Condition("Failed", "False"),
        ),
        transcript=TranscriptProof(lines=4, stdout_bytes=4820),
    )

    message = told_of(judge_run(facts))

    assert judge_run(facts).message.startswith(
        "Job job-1 in namespace agents was deleted by somebody else"
    )
    assert "4 lines and 4,820 bytes" in message
    assert "404 from watch, then a second read, 61 s after the pod ran, 12 observations" in message
    assert "last conditions Suspended=False JobResumed, Failed=False" in message


def test_message_about_job_being_deleted_says_what_was_not_seen() -> None:
    seen = told_of(judge_run(_facts(job_deletion_seen=True)))
    gone = told_of(judge_run(_facts(job_gone=JobGone("a read"))))

    assert "it was being deleted, no condition seen before" in seen
    assert "the pod was never seen running, no condition" in gone


def test_trailer_in_the_message_of_the_container_is_not_quoted() -> None:
    facts = _facts(container_exit_code=1, container_message=TRAILER_TEXT)

    assert "kubelet message" not in told_of(judge_run(facts))


def test_killed_child_is_mentioned_after_success() -> None:
    session = summarise(read_recording("ok").stdout)
    facts = RunFacts(session=session, container_exit_code=0, container_reason="OOMKilled")

    outcome = judge_run(facts)

    assert outcome.code is None
    assert "only a child process was killed for its memory use" in told_of(outcome)


def test_refused_bundle_is_named() -> None:
    trailer = Trailer(1, 0, 0, None, 77, False, None, 0, 0, 0, Refusal.BUNDLE_MISMATCH)

    assert "could not be used (bundle_mismatch)" in judge_run(RunFacts(trailer=trailer)).message


def test_exit_code_tells_who_says_so() -> None:
    trailer = Trailer(1, 0, 0, None, 1, False, None, 0, 0, 0, None)

    outcome = judge_run(RunFacts(termination_trailer=trailer))

    assert "exit code 1 by the termination message" in told_of(outcome)
    assert "exit code 1 (termination message)" in outcome.facts_used


def test_what_was_not_observed_is_listed() -> None:
    nothing = judge_run(RunFacts())
    everything = judge_run(
        replace(
            _facts(container_exit_code=0),
            session=summarise(read_recording("ok").stdout),
            trailer=Trailer(1, 3, 5722, "0" * 64, 0, False, 3, 3, 0, 0, None),
            transcript=TranscriptProof(complete=True, lines=3, stdout_bytes=5722),
            pod_phase="Succeeded",
            job_conditions=(Condition("Complete", "True"),),
        )
    )

    assert nothing.not_observed == (
        "exit code",
        "result event",
        "trailer of the run script",
        "proof that the transcript is complete",
        "whether the container started",
        "pod phase",
        "final Job condition",
    )
    assert everything.not_observed == ()


def test_model_without_a_name_that_can_be_read_is_called_so() -> None:
    session = SessionSummary(model='{"type":"x"}')

    assert "model (unreadable)" in told_of(judge_run(RunFacts(session=session)))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param(None, "", id="nothing"),
        pytest.param("  \n", "", id="blank"),
        pytest.param("two\n lines", "“two lines”", id="one line"),
        pytest.param("red \x1b[31m", "“red \\x1b[31m”", id="control characters"),
        pytest.param('{"foo":1}', '“{"foo":1}”', id="JSON of another kind"),
        pytest.param('{"type":"result","result":"x"}', "", id="an event"),
        pytest.param('ult":"x","session_id":"s"}', "", id="the end of an event"),
        pytest.param('say {"type":', "“say”", id="the beginning of an event"),
        pytest.param(
            'API Error: 400 {"type":"error","error":{"message":"prompt is too long"}}',
            "“API Error: 400 prompt is too long”",
            id="message in JSON",
        ),
        pytest.param('Error {"type":"error","error":"no"}', "“Error”", id="JSON without message"),
        pytest.param("x" * 400, "“" + "x" * 300 + "…”", id="long"),
    ],
)
def test_quote_is_one_safe_line_without_stream_json(text: str | None, quoted: str) -> None:
    assert quote(text) == quoted


SILENT_START = RunFacts(container_started=True, container_exit_code=255)
EXEC_FORMAT = "exec /bin/sh: exec format error"
NODE = NodeSnapshot("node-1", architecture="arm64")


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"foreign_line": EXEC_FORMAT}, id="runtime's line in the log"),
        pytest.param({"stderr_line": f"run.sh: claude: {EXEC_FORMAT}"}, id="claude itself"),
        pytest.param({"container_message": EXEC_FORMAT}, id="runtime's message"),
    ],
)
def test_program_of_another_architecture_is_quoted_and_the_nodes_is_named(
    facts: dict[str, Any],
) -> None:
    outcome = judge_run(replace(SILENT_START, node=NODE, **facts))

    assert "exec format error" in told_of(outcome)
    assert "the node's architecture is arm64" in told_of(outcome)
    assert "architecture" in (outcome.advice or "")
    unread = judge_run(replace(SILENT_START, **facts))
    assert "exec format error" in told_of(unread)
    assert "arm64" not in told_of(unread)


def test_architecture_is_not_named_where_nothing_speaks_of_it() -> None:
    assert "arm64" not in told_of(judge_run(replace(SILENT_START, node=NODE)))


LACKS_LINES = TranscriptProof(complete=False, missing=(LineRange(first=1, last=9),))
KUBELET_SAYS = "The kubelet has no log to show: unable to retrieve container logs."


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(
            _facts(
                transcript=TranscriptProof(complete=False, missing=(LineRange(first=1, last=9),))
            ),
            id="lines missing",
        ),
        pytest.param(RunFacts(container_started=True), id="nothing known"),
        pytest.param(
            _facts(transcript=TranscriptProof(complete=None), container_exit_code=137), id="killed"
        ),
    ],
)
def test_refused_log_is_told_with_its_reason(facts: RunFacts) -> None:
    outcome = judge_run(replace(facts, log_refusal=KUBELET_SAYS))

    assert "could not be read: “The kubelet has no log to show" in told_of(outcome)
    assert "without printing anything" not in told_of(outcome)


def test_refused_log_asks_for_no_permission_that_would_not_have_helped() -> None:
    lost = _facts(transcript=LACKS_LINES)

    assert "kubelet" in (judge_run(replace(lost, log_refusal=KUBELET_SAYS)).advice or "")
    assert "kubelet" not in (judge_run(lost).advice or "")


def test_refused_log_is_not_told_where_the_output_is_whole() -> None:
    whole = _facts(transcript=TranscriptProof(complete=True), log_refusal=KUBELET_SAYS)

    assert "could not be read" not in told_of(judge_run(whole))


@pytest.mark.parametrize("how", [{"agent_timed_out": True}, {"stalled_seconds": 3600.0}])
def test_limit_reached_after_the_result_says_so_and_asks_for_no_more_time(
    how: dict[str, Any],
) -> None:
    session = summarise(read_recording("ok").stdout)

    outcome = judge_run(RunFacts(session=session, container_exit_code=143, **how))

    assert "it had printed a result by then, with a cost of $0.0" in outcome.message
    assert "answer is in the report" in (outcome.advice or "")
    assert "longer" not in (outcome.advice or "")


INIT = '{"type":"system","subtype":"init"}'


def _hook(name: str, output: str = "", **fields: Any) -> str:
    line = {"type": "system", "subtype": "hook_response", "hook_name": name, "output": output}
    return json.dumps({**line, **fields})


def _result(**fields: Any) -> str:
    line = {"type": "result", "subtype": "success", "is_error": False, "result": "Done."}
    return json.dumps({**line, **fields})


def _judged(*lines: str, exit_code: int = 0) -> Outcome:
    session = summarise("\n".join(lines).encode())
    return judge_run(
        RunFacts(session=session, container_started=True, container_exit_code=exit_code)
    )


STOPS = json.dumps({"continue": False})


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        ((_hook("PreToolUse:Bash", STOPS), _hook("Stop")), "was done: PreToolUse:Bash"),
        (
            (_hook("PreToolUse:Bash", exit_code=2), _hook("PostToolUse:Read")),
            "was done; the last hook was PostToolUse:Read",
        ),
        ((_hook("SessionStart"),), "before the work was done"),
        ((), "before the work was done"),
    ],
)
def test_hook_is_named_as_the_one_that_stopped_the_run_only_where_it_did(
    hooks: tuple[str, ...], words: str
) -> None:
    outcome = _judged(INIT, *hooks, _result(terminal_reason="stop_hook_prevented", result=""))

    assert outcome.reason is Reason.HOOK_STOPPED
    assert words in outcome.message


@pytest.mark.parametrize(
    ("fields", "words", "is_answered"),
    [
        ({}, "printed a successful result", True),
        ({"is_error": None}, "printed a result", True),
        ({"result": ""}, "printed an empty result", False),
    ],
)
def test_process_that_failed_after_its_result_says_no_more_than_the_result(
    fields: dict[str, Any], words: str, is_answered: bool
) -> None:
    outcome = _judged(INIT, _result(**fields), exit_code=1)

    assert outcome.reason is Reason.EXIT_AFTER_RESULT
    assert words in outcome.message
    assert ("answer" in (outcome.advice or "")) is is_answered


def test_limit_reached_after_a_failed_turn_promises_no_answer() -> None:
    session = summarise(
        "\n".join([INIT, _result(), _result(is_error=True, api_error_status=500)]).encode()
    )

    outcome = judge_run(RunFacts(session=session, container_exit_code=143, agent_timed_out=True))

    assert "answer" not in (outcome.advice or "")


def test_unknown_word_of_the_prompts_own_result_is_warned_of_behind_a_notification() -> None:
    outcome = _judged(
        INIT,
        _result(terminal_reason="brand_new"),
        _result(origin={"kind": "task-notification"}),
    )

    assert outcome.code is None
    assert [warning for warning in outcome.warnings if "brand_new" in warning]


@pytest.mark.parametrize("name", ["api_error_500", "max_turns", "killed_sigterm_during_tool"])
def test_failing_verdict_quotes_stderr(name: str) -> None:
    session = summarise(read_recording(name).stdout)
    facts = RunFacts(session=session, container_exit_code=1, stderr_line="disk quota exceeded")

    assert "stderr “disk quota exceeded”" in judge_run(facts).message


OOM = {"container_exit_code": 137, "container_reason": "OOMKilled"}
CUT_SHORT = (
    "The agent's output ended without a result while it was working, after 4 lines of output."
)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        pytest.param(
            RunFacts(session=summarise(read_recording("ok").stdout), container_exit_code=0),
            "Finished and answered.",
            id="success",
        ),
        pytest.param(
            _facts(**OOM, memory_limit="8Gi"),
            f"Killed: out of memory (limit 8Gi). {CUT_SHORT}",
            id="out of memory",
        ),
        pytest.param(_facts(**OOM), f"Killed: out of memory. {CUT_SHORT}", id="unknown limit"),
        pytest.param(
            _facts(container_exit_code=137, memory_limit="8Gi"),
            f"Killed (SIGKILL): by whom is unknown. {CUT_SHORT}",
            id="killed",
        ),
        pytest.param(_facts(container_exit_code=3, memory_limit="8Gi"), CUT_SHORT, id="exit"),
        pytest.param(
            _facts(
                container_exit_code=137, pod_name="agent-x", pod_reason="Evicted", node_name="n"
            ),
            f"Evicted: the cluster removed the pod from its node. {CUT_SHORT}",
            id="evicted",
        ),
    ],
)
def test_message_is_a_sentence_for_people(facts: RunFacts, message: str) -> None:
    assert judge_run(facts).message == message


def test_limit_of_the_agents_container_is_not_named_for_an_init_container() -> None:
    killed = ContainerSnapshot("clone", terminated=ContainerTerminated(137, reason="OOMKilled"))

    outcome = judge_run(
        RunFacts(container_started=False, init_containers=(killed,), memory_limit="8Gi")
    )

    assert (outcome.cause, "8Gi" in outcome.message) == (Cause.OOM_KILLED, False)
    assert "init container clone ended with exit code 137" in told_of(outcome)


def test_init_container_that_could_not_be_started_is_told_without_an_exit_code() -> None:
    never = ContainerTerminated(128, reason="StartError", message="no such file", ran=False)
    clone = ContainerSnapshot("clone", terminated=never)

    outcome = judge_run(RunFacts(container_started=False, init_containers=(clone,)))

    assert outcome.cause is Cause.CONFIG_ERROR
    assert "init container clone could not be started" in told_of(outcome)
    assert "128" not in told_of(outcome)


@pytest.mark.parametrize(
    ("ended_at", "words"),
    [(None, "before its agent was seen to end"), (NOON, "before its agent had ended")],
)
def test_deletion_of_a_pod_is_told_with_what_was_seen_of_its_agents_end(
    ended_at: datetime | None, words: str
) -> None:
    facts = RunFacts(
        container_started=True, pod_deletion_asked_at=NOON, container_ended_at=ended_at
    )

    assert f"the pod was deleted at 12:00:00 UTC, {words}" in judge_run(facts).facts_used


def test_every_cause_that_explains_an_ending_has_a_sentence() -> None:
    assert set(LEADS) == set(BY_CAUSE)


BEGUN = CheckBegunLine(1, 0, False, 600, 0)


@pytest.mark.parametrize(
    ("check", "message", "row"),
    [
        pytest.param(
            CheckFacts(600, BEGUN, CheckEnd(1, False, 72, 3, 0), "1 failed, 2 passed"),
            "The agent finished, but its check failed with exit code 1: “1 failed, 2 passed”.",
            "exit code 1 after 1 min 12 s",
            id="failed",
        ),
        pytest.param(
            CheckFacts(600, BEGUN, CheckEnd(137, False, 2, 0, 0)),
            "The agent finished, but its check failed with exit code 137 (signal 9 SIGKILL).",
            "exit code 137 after 2 s",
            id="killed",
        ),
        pytest.param(
            CheckFacts(600, BEGUN, CheckEnd(124, True, 600, 1, 0), "waiting for the server"),
            "The agent finished, but its check did not end within its limit of 600 s: “waiting for "
            "the server”.",
            "stopped at its time limit, after 10 min 00 s",
            id="timed out",
        ),
        pytest.param(
            CheckFacts(600, None, CheckEnd(None, False, 0, 0, 0)),
            "The agent finished, but the result of its check is unknown: it did not run.",
            "did not run",
            id="not run",
        ),
        pytest.param(
            CheckFacts(600, BEGUN),
            "The agent finished, but the result of its check is unknown: it began, and was not "
            "seen to end.",
            "unknown: it began, and was not seen to end",
            id="cut short",
        ),
        pytest.param(
            CheckFacts(600),
            "The agent finished, but the result of its check is unknown: the run script's account "
            "of it could not be read.",
            "unknown: the run script's account of it could not be read",
            id="no account",
        ),
        pytest.param(
            CheckFacts(),
            "The agent finished, but the result of its check is unknown: the Job was created "
            "without a check.",
            "unknown: the Job was created without a check",
            id="older Job",
        ),
    ],
)
def test_check_is_told_in_a_sentence_without_the_agents_stderr(
    check: CheckFacts, message: str, row: str
) -> None:
    answered = summarise(read_recording("ok").stdout)

    outcome = judge_run(
        RunFacts(
            session=answered, container_exit_code=0, stderr_line="a warning of its", check=check
        )
    )

    assert outcome.message == message
    assert ("Check", row) in outcome.observed
    assert None not in (outcome.check, outcome.advice)
    assert ("result of the check" in outcome.not_observed) is (check.end is None)
    assert outcome.clear_session is False


UNCHANGED = WorkResult(collected=True, commits=0, files_changed=0)
CHANGED = WorkResult(collected=True, commits=1, files_changed=1200, insertions=34_000, deletions=5)
REFUSED = WorkResult(
    collected=False, problem='The API refused to exec (403)\x1b[1m: {"message": "no"}.', commits=2
)


@pytest.mark.parametrize(
    ("work", "message", "row", "advice"),
    [
        pytest.param(
            WorkFacts(True, UNCHANGED, keeper_waits=False),
            "The agent finished, but it changed nothing in its repository.",
            "nothing changed; collected",
            "without `expect_changes`",
            id="unchanged",
        ),
        pytest.param(
            WorkFacts(
                True,
                UNCHANGED.model_copy(update={"left_out": ("a.bin is too large.",)}),
                keeper_waits=False,
            ),
            "The agent finished, but it changed nothing in its repository that could be collected.",
            "nothing changed; collected",
            "without `expect_changes`",
            id="unchanged but for what was left out",
        ),
        pytest.param(
            WorkFacts(False, REFUSED, keeper_waits=True),
            "The agent finished, but its work could not be collected. The API refused to exec "
            "(403)\\x1b[1m: no. The Job's keeper still waits with it.",
            "2 commits; not collected: The API refused to exec (403)\\x1b[1m: no",
            "while the keeper waits",
            id="keeper waits",
        ),
        pytest.param(
            WorkFacts(False, CHANGED.model_copy(update={"collected": False}), keeper_waits=False),
            "The agent finished, but its work could not be collected. Nothing is known of it.",
            "1 commit, 1,200 changed files, +34,000 −5 lines; not collected: Nothing is known of "
            "it",
            "resume the session",
            id="nobody says why",
        ),
        pytest.param(
            WorkFacts(True, None, keeper_waits=False),
            "The agent finished, but its work could not be collected. Nothing is known of it.",
            "not collected: Nothing is known of it",
            "resume the session",
            id="never tried",
        ),
    ],
)
def test_work_is_told_in_a_sentence_without_the_agents_stderr(
    work: WorkFacts, message: str, row: str, advice: str
) -> None:
    answered = summarise(read_recording("ok").stdout)

    outcome = judge_run(
        RunFacts(session=answered, container_exit_code=0, stderr_line="a warning of its", work=work)
    )

    assert outcome.message == message
    assert ("Work", row) in outcome.observed
    assert outcome.check is not None
    assert advice in (outcome.advice or "")
    assert ("what the agent changed" in outcome.not_observed) is (work.result is None)


def test_work_of_a_failed_agent_is_a_row_beside_its_own_ending() -> None:
    outcome = judge_run(_facts(container_exit_code=1, work=WorkFacts(True, CHANGED, False)))

    assert outcome.reason is Reason.NO_RESULT
    assert dict(outcome.observed)["Work"].startswith("1 commit, 1,200 changed files")


@pytest.mark.parametrize(
    ("left_out", "warnings"),
    [
        ((), ()),
        (
            ("a\nb is too large.",),
            ("Not all of the agent's work was collected. a b is too large.",),
        ),
        (
            ("a is too large.", "b cannot be read.", "c is a submodule."),
            (
                "Not all of the agent's work was collected. a is too large. And 2 more, in the "
                "report.",
            ),
        ),
    ],
    ids=["nothing", "one", "several"],
)
def test_what_was_left_out_of_collected_work_is_a_warning(
    left_out: tuple[str, ...], warnings: tuple[str, ...]
) -> None:
    work = WorkFacts(True, CHANGED.model_copy(update={"left_out": left_out}), keeper_waits=False)
    answered = summarise(read_recording("ok").stdout)

    outcome = judge_run(RunFacts(session=answered, container_exit_code=0, work=work))

    assert (outcome.code, outcome.warnings) == (None, warnings)
    assert outcome.facts_used[0].endswith("an answer, and its work was collected")
