from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.agent_job.commitment import is_own_create
from tasks.agent_job.conditions import Condition
from tasks.agent_job.names import FlowRunId, JobName, JobUid
from tasks.agent_job.snapshots import JobSnapshot

CREATED = JobSnapshot(
    JobName("job-1"),
    JobUid("uid-1"),
    flow_run_id=FlowRunId("run-1"),
    attempt=2,
    owner_epoch=7,
    manifest_sha256="ff",
)


def is_own(found: JobSnapshot) -> bool:
    return is_own_create(
        found,
        flow_run_id=FlowRunId("run-1"),
        attempt=2,
        owner_epoch=7,
        manifest_sha256="ff",
    )


def test_job_with_all_our_marks_is_our_own_create() -> None:
    assert is_own(CREATED)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(replace(CREATED, flow_run_id=FlowRunId("run-2")), id="another run"),
        pytest.param(replace(CREATED, attempt=1), id="another attempt"),
        pytest.param(replace(CREATED, owner_epoch=6), id="posted late by an earlier process"),
        pytest.param(replace(CREATED, manifest_sha256="00"), id="another manifest"),
        pytest.param(replace(CREATED, conditions=(Condition("Failed", "True"),)), id="finished"),
        pytest.param(
            replace(CREATED, deletion_at=datetime(2024, 5, 1, tzinfo=UTC)), id="being deleted"
        ),
    ],
)
def test_job_that_differs_in_one_mark_is_not(found: JobSnapshot) -> None:
    assert not is_own(found)
