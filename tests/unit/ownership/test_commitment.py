from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.snapshots import JobSnapshot
from tasks.ownership.commitment import (
    NameTaken,
    RefusedAdoption,
    is_owned,
    judge_refused_adoption,
    judge_taken_name,
)
from tasks.vocabulary.names import FlowRunId, JobName, JobUid

CREATED = JobSnapshot(
    JobName("job-1"),
    JobUid("uid-1"),
    flow_run_id=FlowRunId("run-1"),
    attempt=2,
    owner_epoch=7,
    manifest_sha256="ff",
)


LATE, OURS, FOREIGN, OF_SUCCESSOR = (
    NameTaken.LATE,
    NameTaken.OURS,
    NameTaken.FOREIGN,
    NameTaken.OF_SUCCESSOR,
)
FINISHED = (Condition("Failed", "True"),)
NOON = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        pytest.param(CREATED, OURS, id="ours, and the answer was lost"),
        pytest.param(replace(CREATED, flow_run_id=FlowRunId("run-2")), FOREIGN, id="another run"),
        pytest.param(replace(CREATED, attempt=1), FOREIGN, id="another attempt"),
        pytest.param(replace(CREATED, manifest_sha256="00"), FOREIGN, id="another manifest"),
        pytest.param(replace(CREATED, conditions=FINISHED), FOREIGN, id="finished"),
        pytest.param(replace(CREATED, deletion_at=NOON), FOREIGN, id="being deleted"),
        pytest.param(replace(CREATED, owner_epoch=None), FOREIGN, id="without an epoch"),
        pytest.param(replace(CREATED, owner_epoch=6), LATE, id="posted late by our predecessor"),
        pytest.param(
            replace(CREATED, owner_epoch=6, deletion_at=NOON), LATE, id="posted late, going already"
        ),
        pytest.param(
            replace(CREATED, owner_epoch=6, manifest_sha256="00"), LATE, id="late, another prompt"
        ),
        pytest.param(
            replace(CREATED, owner_epoch=6, owner_flow_run_id=FlowRunId("run-2")),
            FOREIGN,
            id="adopted by another run before",
        ),
        pytest.param(replace(CREATED, owner_epoch=8), OF_SUCCESSOR, id="made by our successor"),
        pytest.param(
            replace(CREATED, owner_epoch=8, owner_flow_run_id=FlowRunId("run-2")),
            OF_SUCCESSOR,
            id="adopted by our successor",
        ),
    ],
)
def test_taken_name_tells_whose_the_job_is(existing: JobSnapshot, expected: NameTaken) -> None:
    found = replace(existing, owner_flow_run_id=existing.owner_flow_run_id or existing.flow_run_id)
    judged = judge_taken_name(
        found, flow_run_id=FlowRunId("run-1"), attempt=2, owner_epoch=7, manifest_sha256="ff"
    )
    assert judged is expected


OWNED = replace(CREATED, owner_flow_run_id=FlowRunId("run-1"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(OWNED, True, id="as we left it"),
        pytest.param(replace(OWNED, uid=JobUid("uid-2")), False, id="another Job of this name"),
        pytest.param(replace(OWNED, owner_flow_run_id=FlowRunId("run-2")), False, id="adopted"),
        pytest.param(replace(OWNED, owner_epoch=8), False, id="adopted by the same flow run"),
        pytest.param(replace(OWNED, owner_epoch=None), False, id="without an epoch"),
    ],
)
def test_job_is_owned_only_in_our_own_tenure(found: JobSnapshot, expected: bool) -> None:
    owned = is_owned(found, uid=JobUid("uid-1"), flow_run_id=FlowRunId("run-1"), epoch=7)
    assert owned is expected


AGAIN, LOST = RefusedAdoption.AGAIN, RefusedAdoption.LOST
BY_US, BY_LATER = RefusedAdoption.OURS, RefusedAdoption.OF_SUCCESSOR


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(OWNED, BY_US, id="ours, and the answer was lost"),
        pytest.param(replace(OWNED, deletion_at=NOON), BY_US, id="ours, and going"),
        pytest.param(replace(OWNED, owner_epoch=6), AGAIN, id="a former owner wrote late"),
        pytest.param(
            replace(OWNED, owner_epoch=6, owner_flow_run_id=FlowRunId("run-2")),
            AGAIN,
            id="another former owner wrote late",
        ),
        pytest.param(replace(OWNED, owner_epoch=8), BY_LATER, id="a later process of this run"),
        pytest.param(
            replace(OWNED, owner_epoch=8, owner_flow_run_id=FlowRunId("run-2")),
            BY_LATER,
            id="a later run",
        ),
        pytest.param(
            replace(OWNED, owner_epoch=8, deletion_at=NOON), BY_LATER, id="a later run ended it"
        ),
        pytest.param(
            replace(OWNED, owner_flow_run_id=FlowRunId("run-2")), LOST, id="two of one epoch"
        ),
        pytest.param(replace(OWNED, owner_epoch=None), LOST, id="without an epoch"),
        pytest.param(replace(OWNED, uid=JobUid("uid-2")), LOST, id="another Job"),
        pytest.param(replace(OWNED, owner_epoch=6, deletion_at=NOON), LOST, id="going"),
    ],
)
def test_refused_adoption_is_tried_again_over_earlier_owners_only(
    found: JobSnapshot, expected: RefusedAdoption
) -> None:
    judged = judge_refused_adoption(
        found, uid=JobUid("uid-1"), flow_run_id=FlowRunId("run-1"), epoch=7
    )
    assert judged is expected
