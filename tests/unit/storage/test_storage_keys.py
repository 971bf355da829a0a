import pytest

from tasks.observation.snapshots import JobSnapshot
from tasks.storage.storage_keys import (
    attempt_folder,
    own_attempt_folder,
    result_key,
    transcript_key,
)
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid

AGENT, RUN = AgentId("reviewer"), FlowRunId("run-1")


def job(flow_run_id: str, attempt: int | None) -> JobSnapshot:
    return JobSnapshot(
        JobName("job-1"), JobUid("u"), flow_run_id=FlowRunId(flow_run_id), attempt=attempt
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(job("run-1", 2), "reviewer/run-1/2", id="own"),
        pytest.param(job("run-1", None), "reviewer/run-1/1", id="own-without-number"),
        pytest.param(job("run-0", 2), "reviewer/run-1/adopted-job-1", id="adopted"),
    ],
)
def test_attempts_of_a_run_and_jobs_it_took_over_never_share_a_folder(
    found: JobSnapshot, expected: str
) -> None:
    assert attempt_folder(AGENT, RUN, found) == expected


def test_id_with_a_path_in_it_does_not_leave_its_folder() -> None:
    folder = own_attempt_folder(AgentId("../../etc"), FlowRunId("a/b"), 1)

    assert folder == "%2E%2E%2F%2E%2E%2Fetc/a%2Fb/1"
    assert result_key(folder) == f"{folder}/result.json"
    assert transcript_key(folder) == f"{folder}/transcript.jsonl.gz"
