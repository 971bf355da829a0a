from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
    ContainerWaiting,
)
from tasks.observation.snapshots import (
    JobSnapshot,
    KubernetesEventSnapshot,
    LeaseSnapshot,
    PodSnapshot,
    jobs_from_api,
    pods_from_api,
)
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, PodUid, SessionId, TaskId

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
NOON_TEXT = "2024-05-01T12:00:00Z"

RAW_JOB: dict[str, Any] = {
    "metadata": {
        "name": "reviewer-0123456789abcdef",
        "namespace": "agents",
        "uid": "job-uid",
        "resourceVersion": "77",
        "creationTimestamp": NOON_TEXT,
        "labels": {
            "app.kubernetes.io/managed-by": "claude-jobs",
            "claude-jobs.dev/agent-id": "shortened-0123456789",
            "claude-jobs.dev/task-id": "shortened-9876543210",
            "claude-jobs.dev/version": "1",
        },
        "annotations": {
            "claude-jobs.dev/agent-id": "Reviewer: exact",
            "claude-jobs.dev/task-id": "task/1",
            "claude-jobs.dev/session-id": "session-1",
            "claude-jobs.dev/flow-run-id": "run-1",
            "claude-jobs.dev/attempt": "2",
            "claude-jobs.dev/line-token": "0a1b2c3d",
            "claude-jobs.dev/check-timeout-seconds": "600",
            "claude-jobs.dev/keeps-work": "true",
            "claude-jobs.dev/manifest-sha256": "ff",
            "claude-jobs.dev/owner-flow-run-id": "run-2",
            "claude-jobs.dev/owner-epoch": "7",
            "claude-jobs.dev/harvested-at": "2024-05-01T14:00:00+02:00",
        },
    },
    "spec": {"ttlSecondsAfterFinished": 86400},
    "status": {
        "active": 1,
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
                "lastTransitionTime": NOON_TEXT,
            }
        ],
    },
}

RAW_POD: dict[str, Any] = {
    "metadata": {
        "name": "reviewer-0123456789abcdef-x7k2p",
        "uid": "pod-uid",
        "creationTimestamp": NOON_TEXT,
        "deletionTimestamp": "2024-05-01T12:00:20Z",
        "deletionGracePeriodSeconds": 20,
        "labels": {"batch.kubernetes.io/controller-uid": "label-uid"},
        "annotations": {
            "claude-jobs.dev/agent-id": "Reviewer: exact",
            "claude-jobs.dev/flow-run-id": "run-1",
        },
        "ownerReferences": [
            {"kind": "ReplicaSet", "uid": "other"},
            {"kind": "Job", "uid": "job-uid"},
        ],
    },
    "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 30},
    "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "The node was low on resource: memory.",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"},
        ],
        "initContainerStatuses": [{"name": "prepare", "state": {"running": {}}}],
        "containerStatuses": [
            {"name": "sidecar", "state": {"running": {"startedAt": NOON_TEXT}}},
            {
                "name": "agent",
                "image": "agent:dev",
                "restartCount": 0,
                "state": {
                    "terminated": {
                        "exitCode": 137,
                        "signal": 9,
                        "reason": "OOMKilled",
                        "message": "t 1 lines=3",
                        "startedAt": NOON_TEXT,
                        "finishedAt": "2024-05-01T12:00:05Z",
                        "containerID": "containerd://1",
                    }
                },
            },
        ],
    },
}


def test_job_is_read_whole_with_ids_from_annotations() -> None:
    assert JobSnapshot.from_api(RAW_JOB) == JobSnapshot(
        name=JobName("reviewer-0123456789abcdef"),
        uid=JobUid("job-uid"),
        namespace="agents",
        resource_version="77",
        version="1",
        agent_id=AgentId("Reviewer: exact"),
        task_id=TaskId("task/1"),
        session_id=SessionId("session-1"),
        flow_run_id=FlowRunId("run-1"),
        attempt=2,
        line_token="0a1b2c3d",
        check_timeout_seconds=600,
        keeps_work=True,
        manifest_sha256="ff",
        owner_flow_run_id=FlowRunId("run-2"),
        owner_epoch=7,
        harvested_at=NOON,
        created_at=NOON,
        ttl_seconds=86400,
        conditions=(
            Condition(
                "Failed",
                "True",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
                NOON,
            ),
        ),
    )


@pytest.mark.parametrize("annotations", [{}, {"claude-jobs.dev/keeps-work": "false"}])
def test_job_has_a_keeper_only_where_it_says_so(annotations: dict[str, str]) -> None:
    assert not JobSnapshot.from_api({"metadata": {"annotations": annotations}}).keeps_work


def test_job_with_labels_only_has_no_ids() -> None:
    raw = {"metadata": {"labels": RAW_JOB["metadata"]["labels"]}}

    job = JobSnapshot.from_api(raw)

    assert (job.agent_id, job.task_id, job.session_id, job.flow_run_id) == (None,) * 4
    assert job.version == "1"


def test_blank_ids_count_as_absent() -> None:
    keys = ("agent-id", "task-id", "session-id", "flow-run-id", "owner-flow-run-id", "attempt")
    notes = {f"claude-jobs.dev/{key}": " " if key == "task-id" else "" for key in keys}

    job = JobSnapshot.from_api({"metadata": {"annotations": notes}})

    assert job == JobSnapshot(name=JobName(""), uid=JobUid(""))


@pytest.mark.parametrize(
    ("conditions", "final"),
    [
        pytest.param([], None, id="none"),
        pytest.param([("Complete", "True")], "Complete", id="complete"),
        pytest.param([("Failed", "True")], "Failed", id="failed"),
        pytest.param([("Complete", "False")], None, id="complete false"),
        pytest.param([("Failed", "Unknown")], None, id="failed unknown"),
        pytest.param([("Suspended", "True")], None, id="suspended"),
        pytest.param([("FailureTarget", "True")], None, id="about to fail"),
        pytest.param([("SuccessCriteriaMet", "True")], None, id="about to complete"),
        pytest.param([("FailureTarget", "True"), ("Failed", "True")], "Failed", id="last of two"),
        pytest.param([("Complete", "True"), ("Failed", "True")], "Failed", id="both"),
        pytest.param([("Failed", "False"), ("Complete", "True")], "Complete", id="only one true"),
    ],
)
def test_job_is_finished_by_a_true_final_condition_only(
    conditions: list[tuple[str, str]], final: str | None
) -> None:
    raw = {"status": {"conditions": [{"type": kind, "status": s} for kind, s in conditions]}}

    job = JobSnapshot.from_api(raw)

    assert (job.final_condition.type if job.final_condition else None) == final
    assert job.finished is (final is not None)


def test_job_being_deleted_is_told() -> None:
    job = JobSnapshot.from_api({"metadata": {"deletionTimestamp": NOON_TEXT}})

    assert job.deleting
    assert not JobSnapshot.from_api(RAW_JOB).deleting


def test_pod_is_read_whole_with_its_agent_found_by_name() -> None:
    agent = ContainerSnapshot(
        name="agent",
        image="agent:dev",
        terminated=ContainerTerminated(
            exit_code=137,
            signal=9,
            reason="OOMKilled",
            message="t 1 lines=3",
            started_at=NOON,
            finished_at=datetime(2024, 5, 1, 12, 0, 5, tzinfo=UTC),
        ),
    )
    pod = PodSnapshot.from_api(RAW_POD)

    assert pod == PodSnapshot(
        name="reviewer-0123456789abcdef-x7k2p",
        uid=PodUid("pod-uid"),
        phase="Failed",
        reason="Evicted",
        message="The node was low on resource: memory.",
        node_name="node-1",
        job_uid=JobUid("job-uid"),
        agent_id=AgentId("Reviewer: exact"),
        flow_run_id=FlowRunId("run-1"),
        created_at=NOON,
        deletion_at=datetime(2024, 5, 1, 12, 0, 20, tzinfo=UTC),
        grace_seconds=20,
        conditions=(
            Condition("PodScheduled", "True"),
            Condition("DisruptionTarget", "True", "TerminationByKubelet"),
        ),
        containers=(ContainerSnapshot("sidecar", running=ContainerRunning(NOON)), agent),
        init_containers=(ContainerSnapshot("prepare", running=ContainerRunning()),),
    )
    assert pod.agent == agent
    assert pod.deleting
    assert pod.ended
    assert pod.disruption == Condition("DisruptionTarget", "True", "TerminationByKubelet")


def test_pod_that_the_kubelet_has_not_reported_is_read() -> None:
    pod = PodSnapshot.from_api(
        {
            "metadata": {
                "name": "p",
                "uid": "u",
                "labels": {"batch.kubernetes.io/controller-uid": "job-uid"},
            },
            "spec": {"terminationGracePeriodSeconds": 30},
        }
    )

    assert pod == PodSnapshot("p", PodUid("u"), job_uid=JobUid("job-uid"), grace_seconds=30)
    assert pod.agent is None
    assert pod.disruption is None
    assert not pod.deleting
    assert not pod.ended


def test_pod_whose_disruption_is_not_true_has_none() -> None:
    pod = PodSnapshot("p", PodUid("u"), conditions=(Condition("DisruptionTarget", "False"),))

    assert pod.disruption is None


@pytest.mark.parametrize(
    ("state", "expected", "has_run"),
    [
        pytest.param(None, ContainerSnapshot("agent"), False, id="no state"),
        pytest.param(
            {"waiting": {"reason": "ContainerCreating"}},
            ContainerSnapshot("agent", waiting=ContainerWaiting("ContainerCreating")),
            False,
            id="waiting",
        ),
        pytest.param(
            {"waiting": {}},
            ContainerSnapshot("agent", waiting=ContainerWaiting()),
            False,
            id="waiting without a reason",
        ),
        pytest.param(
            {"running": {"startedAt": NOON_TEXT}},
            ContainerSnapshot("agent", running=ContainerRunning(NOON)),
            True,
            id="running",
        ),
        pytest.param(
            {"terminated": {"exitCode": 0, "reason": "Completed"}},
            ContainerSnapshot("agent", terminated=ContainerTerminated(0, reason="Completed")),
            True,
            id="completed",
        ),
        pytest.param(
            {"terminated": {"exitCode": 0, "startedAt": NOON_TEXT}},
            ContainerSnapshot("agent", terminated=ContainerTerminated(0, started_at=NOON)),
            True,
            id="ended without a reason",
        ),
        pytest.param(
            {"terminated": {"exitCode": 3}},
            ContainerSnapshot("agent", terminated=ContainerTerminated(3)),
            True,
            id="exit code alone",
        ),
        pytest.param(
            {"terminated": {"exitCode": 0}},
            ContainerSnapshot("agent", terminated=ContainerTerminated(ran=None)),
            None,
            id="empty placeholder of an old kubelet",
        ),
        pytest.param(
            {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "?"}},
            ContainerSnapshot(
                "agent",
                terminated=ContainerTerminated(
                    reason="ContainerStatusUnknown", message="?", ran=None
                ),
            ),
            None,
            id="placeholder of a current kubelet",
        ),
        pytest.param(
            {
                "terminated": {
                    "exitCode": 137,
                    "reason": "ContainerStatusUnknown",
                    "startedAt": NOON_TEXT,
                }
            },
            ContainerSnapshot(
                "agent",
                terminated=ContainerTerminated(reason="ContainerStatusUnknown", started_at=NOON),
            ),
            True,
            id="placeholder of a container that had started",
        ),
        pytest.param(
            {
                "terminated": {
                    "exitCode": 128,
                    "reason": "StartError",
                    "startedAt": "1970-01-01T00:00:00Z",
                    "finishedAt": NOON_TEXT,
                }
            },
            ContainerSnapshot(
                "agent",
                terminated=ContainerTerminated(
                    128, reason="StartError", finished_at=NOON, ran=False
                ),
            ),
            False,
            id="never started",
        ),
    ],
)
def test_container_state_says_only_what_was_observed(
    state: dict[str, Any] | None, expected: ContainerSnapshot, has_run: bool | None
) -> None:
    container = ContainerSnapshot.from_api({"name": "agent", "state": state})

    assert container == expected
    assert container.has_run is has_run


def test_lease_is_read_whole() -> None:
    annotations = {
        "claude-jobs.dev/agent-id": "Reviewer: exact",
        "claude-jobs.dev/committed-job-uid": "job-uid",
        "claude-jobs.dev/committed-job-name": "job-1",
        "claude-jobs.dev/attempt-flow-run-id": "run-1",
        "claude-jobs.dev/attempt": "3",
        "somebody.else/key": "kept",
    }
    raw = {
        "metadata": {
            "name": "claude-jobs-reviewer",
            "uid": "lease-uid",
            "resourceVersion": "9",
            "labels": {"a": "b"},
            "annotations": annotations,
        },
        "spec": {
            "holderIdentity": "run-1/abc",
            "leaseDurationSeconds": 60,
            "acquireTime": "2024-05-01T12:00:00.000000Z",
            "renewTime": "2024-05-01T12:00:00.250000Z",
            "leaseTransitions": 5,
        },
    }

    assert LeaseSnapshot.from_api(raw) == LeaseSnapshot(
        name="claude-jobs-reviewer",
        uid="lease-uid",
        resource_version="9",
        holder="run-1/abc",
        epoch=5,
        duration_seconds=60,
        acquired_at=NOON,
        renewed_at=NOON.replace(microsecond=250_000),
        agent_id=AgentId("Reviewer: exact"),
        committed_job_uid=JobUid("job-uid"),
        committed_job_name=JobName("job-1"),
        attempt_flow_run_id=FlowRunId("run-1"),
        attempt=3,
        labels={"a": "b"},
        annotations=annotations,
    )


def test_lease_without_spec_reads_as_released() -> None:
    assert LeaseSnapshot.from_api({"metadata": {"name": "l"}}) == LeaseSnapshot("l")


@pytest.mark.parametrize(
    ("times", "last_at"),
    [
        pytest.param({"lastTimestamp": NOON_TEXT}, NOON, id="last"),
        pytest.param({"lastTimestamp": None, "eventTime": NOON_TEXT}, NOON, id="event time"),
        pytest.param({"metadata": {"creationTimestamp": NOON_TEXT}}, NOON, id="created"),
        pytest.param(
            {
                "series": {"count": 4, "lastObservedTime": NOON_TEXT},
                "eventTime": "2020-01-01T00:00Z",
            },
            NOON,
            id="series",
        ),
        pytest.param({}, None, id="no time"),
    ],
)
def test_kubernetes_event_has_the_time_it_was_last_seen(
    times: dict[str, Any], last_at: datetime | None
) -> None:
    event = KubernetesEventSnapshot.from_api({"reason": "FailedCreate", **times})

    assert event.last_at == last_at
    assert event.count == (4 if "series" in times else 1)


def test_kubernetes_event_is_read_whole() -> None:
    raw = {
        "reason": "FailedCreate",
        "message": "exceeded quota",
        "type": "Warning",
        "count": 3,
        "lastTimestamp": NOON_TEXT,
        "involvedObject": {"kind": "Job", "name": "job-1", "uid": "job-uid"},
    }

    assert KubernetesEventSnapshot.from_api(raw) == KubernetesEventSnapshot(
        "FailedCreate", "exceeded quota", "Warning", 3, NOON, "Job", "job-1", "job-uid"
    )


@pytest.mark.parametrize(
    "read",
    [
        JobSnapshot.from_api,
        PodSnapshot.from_api,
        LeaseSnapshot.from_api,
        ContainerSnapshot.from_api,
        Condition.from_api,
        KubernetesEventSnapshot.from_api,
    ],
)
@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": None, "spec": None, "status": None},
        {"metadata": [], "spec": 3, "status": ["x"], "state": 1, "series": [], "involvedObject": 0},
        {
            "metadata": {"annotations": {"claude-jobs.dev/attempt": None}, "labels": []},
            "status": {"conditions": [None, 3], "containerStatuses": {}},
            "state": {"waiting": None, "running": 3, "terminated": []},
        },
        {"metadata": {"creationTimestamp": "yesterday"}, "spec": {"leaseTransitions": True}},
    ],
    ids=["empty", "null", "other types", "other types inside", "unreadable values"],
)
def test_snapshot_of_a_strange_object_is_the_same_as_of_an_empty_one(
    read: Any, raw: dict[str, Any]
) -> None:
    assert read(raw) == read({})


@pytest.mark.parametrize("text", ["-1", "1.5", "\u0663", "one", "", "1" * 5000])
def test_attempt_that_is_no_number_reads_as_absent(text: str) -> None:
    raw = {"metadata": {"annotations": {"claude-jobs.dev/attempt": text}}}

    assert JobSnapshot.from_api(raw).attempt is None
    assert LeaseSnapshot.from_api(raw).attempt is None


def test_instant_without_a_zone_is_taken_for_utc() -> None:
    event = KubernetesEventSnapshot.from_api({"lastTimestamp": "2024-05-01T12:00:00"})

    assert event.last_at == NOON


def test_instant_before_the_first_that_there_is_reads_as_absent() -> None:
    event = KubernetesEventSnapshot.from_api({"lastTimestamp": "0001-01-01T00:00:00+14:00"})

    assert event.last_at is None


def test_lists_are_sorted_newest_first_then_by_name() -> None:
    items = [
        {"metadata": {"name": "b", "creationTimestamp": "2024-05-01T12:00:00Z"}},
        {"metadata": {"name": "undated"}},
        {"metadata": {"name": "new", "creationTimestamp": "2024-05-01T12:00:01Z"}},
        {"metadata": {"name": "a", "creationTimestamp": "2024-05-01T12:00:00Z"}},
    ]

    assert [job.name for job in jobs_from_api(items)] == ["new", "a", "b", "undated"]
    assert [pod.name for pod in pods_from_api(items)] == ["new", "a", "b", "undated"]


def test_container_that_the_kubelet_lost_is_not_taken_for_one_that_never_ran() -> None:
    lost = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
    waiting: dict[str, object] = {"waiting": {"reason": "ContainerCreating"}}

    found = ContainerSnapshot.from_api({"name": "agent", "state": waiting, "lastState": lost})

    assert found.has_run is None
    assert ContainerSnapshot.from_api({"name": "agent", "state": waiting}).has_run is False


def test_pod_names_its_own_volumes_and_no_claims() -> None:
    volumes: list[dict[str, Any]] = [
        {"name": "run", "secret": {"secretName": "job-1"}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "home", "persistentVolumeClaim": {"claimName": "home"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
    ]

    assert PodSnapshot.from_api({"spec": {"volumes": volumes}}).own_volumes == {"run", "tmp"}
