"""Taking over a live Job: recorded cases of another adapter, all of which hold, and our own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.guard_verdicts import Blocked, Reattach
from tasks.ownership.orphans import RunIdentity, decide_orphan
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, SessionId, TaskId

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "cases" / "orphan.json").read_text()
)
DECISIONS = {
    "reattach": None,
    "block_task_unknown": ErrorCode.ORPHAN_TASK_UNKNOWN,
    "block_task_mismatch": ErrorCode.CONCURRENT_RUN_BLOCKED,
    "block_session_mismatch": ErrorCode.ORPHAN_SESSION_MISMATCH,
}


def run(task: str | None, session: str | None) -> RunIdentity:
    return RunIdentity(
        AgentId("agent-1"),
        FlowRunId("run-2"),
        TaskId(task) if task is not None else None,
        SessionId(session) if session is not None else None,
    )


def decision(job: JobSnapshot, me: RunIdentity) -> ErrorCode | None:
    match decide_orphan(job, me):
        case Blocked(code=code):
            return code
        case Reattach(job=found, secret_missing=missing):
            assert found is job
            assert not missing
            return None


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_recorded_case_holds_with_ids_from_annotations(case: dict[str, Any]) -> None:
    theirs = case["input"]["job"]["metadata"]
    raw = {
        "metadata": {
            "name": theirs["name"],
            "annotations": {
                key.replace("paperclip.io/", "claude-jobs.dev/"): value
                for key, value in theirs["labels"].items()
            },
        }
    }
    expected = case["input"]["expected"]

    found = decision(JobSnapshot.from_api(raw), run(expected["taskId"], expected["sessionId"]))

    assert found == DECISIONS[case["expect"]]


@pytest.mark.parametrize("session", [None, "", "s", "other"])
@pytest.mark.parametrize("job_session", [None, "s"])
@pytest.mark.parametrize("task", [None, "", " ", "t", "T"])
@pytest.mark.parametrize("job_task", [None, "t"])
def test_takeover_needs_the_same_known_task_and_no_other_session(
    job_task: str | None, task: str | None, job_session: str | None, session: str | None
) -> None:
    job = JobSnapshot(
        JobName("job-1"),
        JobUid("u"),
        task_id=TaskId(job_task) if job_task else None,
        session_id=SessionId(job_session) if job_session else None,
    )

    if job_task is None or task in {None, "", " "}:
        expected = ErrorCode.ORPHAN_TASK_UNKNOWN
    elif task != job_task:
        expected = ErrorCode.CONCURRENT_RUN_BLOCKED
    elif job_session == "s" and session == "other":
        expected = ErrorCode.ORPHAN_SESSION_MISMATCH
    else:
        expected = None
    assert decision(job, run(task, session)) == expected


def test_refused_takeover_says_what_differs_and_what_to_do() -> None:
    job = JobSnapshot(JobName("job-1"), JobUid("u"), task_id=TaskId("t"))

    assert decide_orphan(job, run("other", None)) == Blocked(
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        "Job job-1 of the same agent blocks this run: it works on task t, not other.",
        "Wait until that Job has finished, or delete it if you do not need its work.",
    )
    unknown = decide_orphan(job, run(None, None))
    assert "this run names no task" in unknown.reason
    silent = decide_orphan(JobSnapshot(JobName("job-1"), JobUid("u")), run("t", None))
    assert "it names no task" in silent.reason
