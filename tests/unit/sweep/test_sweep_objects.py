"""The objects of a namespace, joined by Lease, flow run, owner and age into facts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
)
from tasks.observation.secret_snapshot import SecretSnapshot
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret
from tasks.sweep.run_standing import FlowRunRecord, judge_standing
from tasks.sweep.sweep_facts import (
    ObjectKind,
    ObjectState,
    Recognition,
    RunStanding,
    judge_job_state,
)
from tasks.sweep.sweep_objects import (
    NamespaceContents,
    SweepAges,
    find_swept_objects,
    named_flow_runs,
)
from tasks.sweep.sweep_recognition import recognise_job, recognise_lease, recognise_secret
from tasks.vocabulary import names
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, PodUid, job_name, lease_name

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINIMUM = timedelta(minutes=15)
AGES = SweepAges(MINIMUM, timedelta(days=7))
LONG_AGO = NOW - timedelta(days=30)
AGENT, RUN, OTHER_RUN = AgentId("a-1"), FlowRunId(str(UUID(int=1))), FlowRunId(str(UUID(int=2)))
JOB = JobSnapshot(
    name=job_name(AGENT, RUN, 1),
    uid=JobUid("job-uid"),
    version="1",
    agent_id=AGENT,
    flow_run_id=RUN,
    owner_flow_run_id=RUN,
    attempt=1,
    created_at=LONG_AGO,
)
LEASE = LeaseSnapshot(
    lease_name(AGENT),
    uid="lease-uid",
    agent_id=AGENT,
    renewed_at=LONG_AGO,
    duration_seconds=60,
    labels={names.LABEL_VERSION: "1"},
    annotations={names.ANNOTATION_AGENT_ID: AGENT},
)
SECRET = SecretSnapshot(
    name=JOB.name,
    uid="secret-uid",
    version="1",
    agent_id=AGENT,
    flow_run_id=RUN,
    attempt=1,
    job_uid=JOB.uid,
    job_name=JOB.name,
    created_at=LONG_AGO,
)
TOMBSTONE = replace(SECRET, agent_id=None, flow_run_id=None, attempt=None)
RUNNING_POD = PodSnapshot(
    name="pod",
    uid=PodUid("pod-uid"),
    job_uid=JOB.uid,
    agent_id=AGENT,
    containers=(ContainerSnapshot(names.AGENT_CONTAINER, running=ContainerRunning(NOW)),),
)
WAITING_POD = replace(RUNNING_POD, containers=())
MESH = ContainerSnapshot("mesh", running=ContainerRunning(LONG_AGO))


def _held_open(ended_at: datetime | None) -> PodSnapshot:
    """Return the pod of an agent that has ended beside a container that has not."""
    ended = ContainerSnapshot(
        names.AGENT_CONTAINER, terminated=ContainerTerminated(0, finished_at=ended_at)
    )
    return replace(RUNNING_POD, containers=(MESH, ended))


def _condition(kind: str, changed_at: datetime) -> tuple[Condition, ...]:
    return (Condition(kind, "True", changed_at=changed_at),)


@pytest.mark.parametrize(
    ("job", "recognition"),
    [
        pytest.param(JOB, Recognition.OURS, id="ours"),
        pytest.param(
            replace(JOB, name=JobName("copy")), Recognition.FOREIGN, id="under another name"
        ),
        pytest.param(replace(JOB, agent_id=None), Recognition.FOREIGN, id="of no agent"),
        pytest.param(replace(JOB, flow_run_id=None), Recognition.FOREIGN, id="of no flow run"),
        pytest.param(replace(JOB, attempt=None), Recognition.FOREIGN, id="without attempt"),
        pytest.param(replace(JOB, version=None), Recognition.FOREIGN, id="without version"),
        pytest.param(replace(JOB, version="2"), Recognition.OTHER_VERSION, id="later version"),
        pytest.param(
            replace(JOB, agent_id=AgentId("!")), Recognition.FOREIGN, id="id that names nothing"
        ),
    ],
)
def test_job_is_recognised(job: JobSnapshot, recognition: Recognition) -> None:
    assert recognise_job(job) is recognition


@pytest.mark.parametrize(
    ("secret", "recognition"),
    [
        pytest.param(SECRET, Recognition.OURS, id="ours"),
        pytest.param(
            replace(SECRET, job_uid=None, job_name=None), Recognition.OURS, id="ours without owner"
        ),
        pytest.param(TOMBSTONE, Recognition.OURS, id="tombstone"),
        pytest.param(replace(TOMBSTONE, name="x"), Recognition.FOREIGN, id="named by nobody"),
        pytest.param(replace(TOMBSTONE, job_name=None), Recognition.FOREIGN, id="of nobody"),
        pytest.param(replace(SECRET, name="copy"), Recognition.FOREIGN, id="under another name"),
        pytest.param(replace(SECRET, version=None), Recognition.FOREIGN, id="without version"),
        pytest.param(replace(SECRET, version="2"), Recognition.OTHER_VERSION, id="later version"),
    ],
)
def test_secret_is_recognised(secret: SecretSnapshot, recognition: Recognition) -> None:
    assert recognise_secret(secret) is recognition


@pytest.mark.parametrize(
    ("lease", "recognition"),
    [
        pytest.param(LEASE, Recognition.OURS, id="ours"),
        pytest.param(replace(LEASE, name="leader"), Recognition.FOREIGN, id="under another name"),
        pytest.param(replace(LEASE, agent_id=None), Recognition.FOREIGN, id="of no agent"),
        pytest.param(
            replace(LEASE, agent_id=AgentId("!")), Recognition.FOREIGN, id="id that names nothing"
        ),
        pytest.param(replace(LEASE, labels={}), Recognition.FOREIGN, id="without version"),
        pytest.param(
            replace(LEASE, labels={names.LABEL_VERSION: "2"}),
            Recognition.OTHER_VERSION,
            id="later version",
        ),
    ],
)
def test_lease_is_recognised(lease: LeaseSnapshot, recognition: Recognition) -> None:
    assert recognise_lease(lease) is recognition


@pytest.mark.parametrize(
    ("job", "pods", "secret", "state"),
    [
        pytest.param(JOB, [RUNNING_POD], RunSecret.PRESENT, ObjectState.LIVE, id="at work"),
        pytest.param(JOB, [WAITING_POD], RunSecret.PRESENT, ObjectState.LIVE, id="about to start"),
        pytest.param(JOB, [RUNNING_POD], RunSecret.ABSENT, ObjectState.LIVE, id="Secret lost"),
        pytest.param(JOB, [WAITING_POD], RunSecret.ABSENT, ObjectState.INERT, id="never prompted"),
        pytest.param(JOB, [], RunSecret.REVOKED, ObjectState.INERT, id="revoked"),
        pytest.param(
            replace(JOB, owner_flow_run_id=OTHER_RUN),
            [],
            RunSecret.ABSENT,
            ObjectState.LIVE,
            id="adopted",
        ),
        pytest.param(
            replace(JOB, conditions=_condition("Complete", NOW), ttl_seconds=60),
            [],
            RunSecret.PRESENT,
            ObjectState.FINISHED,
            id="ended",
        ),
        pytest.param(
            replace(JOB, conditions=_condition("Failed", LONG_AGO)),
            [],
            RunSecret.PRESENT,
            ObjectState.FINISHED,
            id="ended without TTL",
        ),
        pytest.param(
            replace(JOB, conditions=_condition("Failed", NOW), harvested_at=NOW),
            [],
            RunSecret.PRESENT,
            ObjectState.HARVESTED,
            id="harvested",
        ),
        pytest.param(
            replace(JOB, conditions=_condition("Failed", LONG_AGO), ttl_seconds=60),
            [],
            RunSecret.PRESENT,
            ObjectState.TTL_PASSED,
            id="TTL passed",
        ),
        pytest.param(
            replace(JOB, deletion_at=NOW),
            [RUNNING_POD],
            RunSecret.PRESENT,
            ObjectState.DELETING,
            id="deleted",
        ),
        pytest.param(
            replace(JOB, deletion_at=LONG_AGO),
            [RUNNING_POD],
            RunSecret.PRESENT,
            ObjectState.DELETION_STUCK,
            id="not deleted",
        ),
    ],
)
def test_job_is_as_far_as(
    job: JobSnapshot, pods: list[PodSnapshot], secret: RunSecret, state: ObjectState
) -> None:
    assert judge_job_state(job, pods, secret, server_now=NOW, minimum_age=MINIMUM) is state


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize(
    ("ended_before", "ttl_seconds", "outlived"),
    [
        (timedelta(0), 300, False),
        (timedelta(seconds=300), 300, False),
        (timedelta(seconds=300) + MINIMUM, 300, True),
        (timedelta(days=30), 86_400, True),
        (timedelta(days=30), None, False),
    ],
    ids=["just ended", "young", "over", "long over", "without TTL"],
)
def test_ttl_of_a_job_that_another_container_keeps_open_counts_from_its_agents_end(
    ended_before: timedelta, ttl_seconds: int | None, outlived: bool, stored: bool
) -> None:
    job = replace(JOB, ttl_seconds=ttl_seconds, harvested_at=NOW if stored else None)

    state = judge_job_state(
        job,
        [_held_open(NOW - ended_before)],
        RunSecret.PRESENT,
        server_now=NOW,
        minimum_age=MINIMUM,
    )

    expected = ObjectState.HARVESTED if stored else ObjectState.FINISHED
    assert state is (ObjectState.TTL_PASSED if outlived else expected)


def test_ttl_counts_from_when_the_result_was_stored_if_nobody_saw_the_agents_end() -> None:
    job = replace(JOB, ttl_seconds=300)
    pods, now = [_held_open(None)], NOW

    def judge(job: JobSnapshot) -> ObjectState:
        return judge_job_state(job, pods, RunSecret.PRESENT, server_now=now, minimum_age=MINIMUM)

    assert judge(job) is ObjectState.FINISHED
    assert judge(replace(job, harvested_at=NOW)) is ObjectState.HARVESTED
    assert judge(replace(job, harvested_at=LONG_AGO)) is ObjectState.TTL_PASSED


def test_job_names_the_containers_that_keep_it_open() -> None:
    def found(pod: PodSnapshot) -> tuple[str, ...]:
        return find_swept_objects(_contents(jobs=[JOB], pods=[pod]), {}, AGES)[0].still_running

    assert found(_held_open(NOW)) == ("mesh",)
    assert found(replace(RUNNING_POD, containers=(MESH, *RUNNING_POD.containers))) == ()


@pytest.mark.parametrize(
    ("record", "standing"),
    [
        ("SCHEDULED", RunStanding.WAITING),
        ("PENDING", RunStanding.WAITING),
        ("PAUSED", RunStanding.WAITING),
        ("A LATER ONE", RunStanding.WAITING),
        ("CANCELLING", RunStanding.CANCELLING),
        ("CANCELLED", RunStanding.CANCELLED),
        ("COMPLETED", RunStanding.OVER),
        ("FAILED", RunStanding.OVER),
        ("CRASHED", RunStanding.OVER),
        (FlowRunRecord("RUNNING", LONG_AGO, has_heartbeat=False), RunStanding.SILENT),
        (FlowRunRecord("RUNNING", LONG_AGO), RunStanding.RUNNING),
        (FlowRunRecord("RUNNING", NOW, has_heartbeat=False), RunStanding.RUNNING),
        (FlowRunRecord("RUNNING", has_heartbeat=False), RunStanding.RUNNING),
        (None, RunStanding.DELETED),
    ],
)
def test_flow_run_stands(record: FlowRunRecord | str | None, standing: RunStanding) -> None:
    if isinstance(record, str):
        record = FlowRunRecord(record, LONG_AGO)
    runs = {RUN: record} if record else {}

    assert judge_standing(RUN, runs, now=NOW, minimum_age=MINIMUM) is standing
    assert judge_standing(RUN, None, now=NOW, minimum_age=MINIMUM) is RunStanding.UNREADABLE


@pytest.mark.parametrize("run", [None, FlowRunId("no uuid")])
def test_flow_run_that_cannot_be_asked_for_is_unknown(run: FlowRunId | None) -> None:
    assert judge_standing(run, {}, now=NOW, minimum_age=MINIMUM) is RunStanding.UNKNOWN


def _contents(**lists: Any) -> NamespaceContents:
    return NamespaceContents("agents", NOW, **lists)


def test_every_object_and_every_named_flow_run_is_listed_once() -> None:
    job = replace(JOB, owner_flow_run_id=OTHER_RUN)
    lease = replace(LEASE, holder=f"{OTHER_RUN}/x", attempt_flow_run_id=RUN)
    contents = _contents(jobs=[job], secrets=[SECRET], leases=[lease], pods=[RUNNING_POD])
    silent = FlowRunRecord("RUNNING", LONG_AGO, has_heartbeat=False)
    runs = {RUN: FlowRunRecord("CRASHED", LONG_AGO), OTHER_RUN: silent}

    found = find_swept_objects(contents, runs, AGES)

    assert [(one.kind, one.name, one.flow_run_id, one.facts.state) for one in found] == [
        (ObjectKind.JOB, JOB.name, OTHER_RUN, ObjectState.LIVE),
        (ObjectKind.SECRET, JOB.name, RUN, ObjectState.PAIRED),
        (ObjectKind.LEASE, LEASE.name, OTHER_RUN, ObjectState.RESTING),
        (ObjectKind.FLOW_RUN, RUN, RUN, ObjectState.RECORDED),
        (ObjectKind.FLOW_RUN, OTHER_RUN, OTHER_RUN, ObjectState.RECORDED),
    ]
    assert [one.facts.run for one in found] == [
        RunStanding.SILENT,
        RunStanding.OVER,
        RunStanding.SILENT,
        RunStanding.OVER,
        RunStanding.SILENT,
    ]
    assert {one.agent_id for one in found} == {AGENT}
    assert named_flow_runs(contents) == {RUN: AGENT, OTHER_RUN: AGENT}


def test_flow_runs_are_left_out_while_prefect_cannot_be_read() -> None:
    found = find_swept_objects(_contents(jobs=[JOB], secrets=[SECRET]), None, AGES)

    assert [one.facts.run for one in found] == [RunStanding.UNREADABLE] * 2


def test_foreign_objects_name_no_flow_run() -> None:
    contents = _contents(
        jobs=[replace(JOB, name=JobName("copy"))],
        secrets=[replace(SECRET, name="copy")],
        leases=[replace(LEASE, name="copy", holder=f"{RUN}/x")],
    )

    assert named_flow_runs(contents) == {}
    assert [one.facts.recognition for one in find_swept_objects(contents, {}, AGES)] == [
        Recognition.FOREIGN
    ] * 3


@pytest.mark.parametrize(
    ("lease", "fresh", "old"),
    [
        pytest.param(None, False, True, id="none"),
        pytest.param(LEASE, False, True, id="released long ago"),
        pytest.param(replace(LEASE, renewed_at=NOW), False, False, id="released just now"),
        pytest.param(replace(LEASE, holder="r/x"), False, True, id="run out long ago"),
        pytest.param(
            replace(LEASE, holder="r/x", renewed_at=NOW - timedelta(seconds=61)),
            False,
            False,
            id="run out just now",
        ),
        pytest.param(
            replace(LEASE, holder="r/x", renewed_at=NOW - timedelta(seconds=59)),
            True,
            False,
            id="held",
        ),
        pytest.param(
            replace(LEASE, holder="r/x", renewed_at=NOW + timedelta(days=1)),
            True,
            False,
            id="renewed in the future",
        ),
        pytest.param(
            replace(LEASE, name="copy", holder="r/x", renewed_at=NOW), False, True, id="foreign"
        ),
        pytest.param(
            replace(LEASE, labels={names.LABEL_VERSION: "2"}, holder="r/x", renewed_at=NOW),
            True,
            False,
            id="held by a later version",
        ),
    ],
)
def test_job_is_judged_by_the_lease_of_its_agent(
    lease: LeaseSnapshot | None, fresh: bool, old: bool
) -> None:
    contents = _contents(jobs=[JOB], leases=[lease] if lease else [])

    facts = find_swept_objects(contents, {}, AGES)[0].facts

    assert (facts.lease_fresh, facts.old_enough) == (fresh, old)


def test_object_without_a_time_is_never_old() -> None:
    contents = _contents(jobs=[replace(JOB, created_at=None)])

    assert not find_swept_objects(contents, {}, AGES)[0].facts.old_enough


@pytest.mark.parametrize(
    ("change", "state"),
    [
        pytest.param({}, ObjectState.IDLE, id="nothing left"),
        pytest.param(
            {"leases": [replace(LEASE, renewed_at=None)]}, ObjectState.RESTING, id="never held"
        ),
        pytest.param(
            {"leases": [replace(LEASE, renewed_at=NOW - timedelta(days=6))]},
            ObjectState.RESTING,
            id="touched within days",
        ),
        pytest.param({"jobs": [JOB]}, ObjectState.RESTING, id="its agent has a Job"),
        pytest.param({"secrets": [SECRET]}, ObjectState.RESTING, id="its agent has a Secret"),
        pytest.param({"pods": [RUNNING_POD]}, ObjectState.RESTING, id="its agent has a pod"),
        pytest.param(
            {"leases": [replace(LEASE, annotations={f"{names.PREFIX}note": "of somebody"})]},
            ObjectState.RESTING,
            id="somebody's memory",
        ),
        pytest.param(
            {"leases": [replace(LEASE, annotations={"kubectl": "note"})]},
            ObjectState.IDLE,
            id="a tool's note",
        ),
    ],
)
def test_lease_is_idle_only_when_nothing_is_left_of_its_agent(
    change: dict[str, Any], state: ObjectState
) -> None:
    found = find_swept_objects(_contents(**{"leases": [LEASE], **change}), {}, AGES)

    assert [one.facts.state for one in found if one.kind is ObjectKind.LEASE] == [state]


@pytest.mark.parametrize(
    ("secrets", "state"),
    [
        pytest.param([], ObjectState.INERT, id="none"),
        pytest.param([SECRET], ObjectState.LIVE, id="its own"),
        pytest.param(
            [replace(SECRET, job_uid=JobUid("former"))], ObjectState.INERT, id="a former Job's"
        ),
        pytest.param([TOMBSTONE], ObjectState.INERT, id="tombstone"),
        pytest.param(
            [replace(SECRET, name=job_name(AGENT, RUN, 2), attempt=2)],
            ObjectState.INERT,
            id="another's",
        ),
    ],
)
def test_job_has_come_as_far_as_its_secret_says(
    secrets: list[SecretSnapshot], state: ObjectState
) -> None:
    assert (
        find_swept_objects(_contents(jobs=[JOB], secrets=secrets), {}, AGES)[0].facts.state is state
    )


def test_tombstone_is_kept_by_the_lease_that_names_its_job() -> None:
    held = replace(LEASE, holder="r/x", renewed_at=NOW, committed_job_name=JOB.name)

    found = find_swept_objects(_contents(secrets=[TOMBSTONE], leases=[held]), {}, AGES)[0]

    assert (found.agent_id, found.facts.lease_fresh) == (AGENT, True)


def test_secret_is_read_from_its_metadata() -> None:
    owner = {"kind": "Job", "name": JOB.name, "uid": JOB.uid}
    raw = {
        "metadata": {
            "name": JOB.name,
            "uid": "secret-uid",
            "resourceVersion": "7",
            "labels": {names.LABEL_VERSION: "1"},
            "annotations": {
                names.ANNOTATION_AGENT_ID: AGENT,
                names.ANNOTATION_FLOW_RUN_ID: RUN,
                names.ANNOTATION_ATTEMPT: "1",
            },
            "ownerReferences": [{"kind": "Other", "name": "x", "uid": "y"}, owner],
            "creationTimestamp": "2026-10-22T12:00:00Z",
        }
    }

    assert SecretSnapshot.from_api(raw) == replace(SECRET, resource_version="7")
    assert SecretSnapshot.from_api({}) == SecretSnapshot("", "")
