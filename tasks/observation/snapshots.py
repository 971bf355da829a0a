"""What the cluster said about an object at one instant.

Every `from_api` takes the object as the API server sent it and never raises for a missing field
(Kubernetes 1.32 and later). Absent and blank are `None`. Ids come from annotations, exact; label
values may be shortened and are not read as ids. Instants are UTC.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from tasks.observation.api_fields import (
    Condition,
    RawObject,
    conditions_at,
    instant_at,
    integer_at,
    object_at,
    objects_at,
    text_at,
    texts_at,
)
from tasks.observation.container_states import (
    ContainerSnapshot,
    find_failed,
    init_containers_at,
)
from tasks.vocabulary import names
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, PodUid, SessionId, TaskId

# Conditions of a Job come in pairs: FailureTarget as soon as the Job is given up, Failed once its
# pods have ended. Only the second is final.
JOB_FAILED = frozenset({"FailureTarget", "Failed"})


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """A pod of an agent's Job.

    Attributes:
        job_uid: Of the Job that owns it.
        deletion_at: When its grace ends, set as soon as somebody has asked for its deletion.
        grace_seconds: How long its containers have between SIGTERM and SIGKILL.
        containers: Statuses of ordinary containers; empty until the kubelet has reported.
        init_containers: Statuses of those before the agent's, native sidecars among them.
        own_volumes: Names of its volumes but claims, which the kubelet calls by their persistent
            volumes' names.
    """

    name: str
    uid: PodUid
    phase: str = "Unknown"
    reason: str | None = None
    message: str | None = None
    node_name: str | None = None
    job_uid: JobUid | None = None
    agent_id: AgentId | None = None
    flow_run_id: FlowRunId | None = None
    created_at: datetime | None = None
    deletion_at: datetime | None = None
    grace_seconds: int | None = None
    conditions: tuple[Condition, ...] = ()
    containers: tuple[ContainerSnapshot, ...] = ()
    init_containers: tuple[ContainerSnapshot, ...] = ()
    own_volumes: frozenset[str] = frozenset()

    @property
    def agent(self) -> ContainerSnapshot | None:
        """The agent's container, found by name; `None` until the kubelet has reported it."""
        found = (item for item in self.containers if item.name == names.AGENT_CONTAINER)
        return next(found, None)

    @property
    def failed_init_container(self) -> ContainerSnapshot | None:
        """The container before the agent's that did not end well, if one did not."""
        return find_failed(self.init_containers)

    @property
    def deleting(self) -> bool:
        """Whether somebody has asked for its deletion."""
        return self.deletion_at is not None

    @property
    def deletion_asked_at(self) -> datetime | None:
        """When somebody asked for its deletion, by the API server's clock."""
        if self.deletion_at is None:
            return None
        return self.deletion_at - timedelta(seconds=self.grace_seconds or 0)

    @property
    def ended(self) -> bool:
        """Whether no container of it runs or will run."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def agent_ended(self) -> bool:
        """Whether its agent's container has ended, whatever else runs in it."""
        return self.ended or (self.agent is not None and self.agent.terminated is not None)

    @property
    def disruption(self) -> Condition | None:
        """Why the cluster itself is ending the pod (preemption, eviction, taint), if it is."""
        found = self.condition("DisruptionTarget")
        return found if found is not None and found.is_true else None

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type, whatever its status."""
        return next((item for item in self.conditions if item.type == kind), None)

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a v1 Pod."""
        metadata, status = object_at(raw, "metadata"), object_at(raw, "status")
        annotations = object_at(metadata, "annotations")
        grace = integer_at(metadata, "deletionGracePeriodSeconds")
        if grace is None:
            grace = integer_at(object_at(raw, "spec"), "terminationGracePeriodSeconds")
        return cls(
            name=text_at(metadata, "name") or "",
            uid=PodUid(text_at(metadata, "uid") or ""),
            phase=text_at(status, "phase") or "Unknown",
            reason=text_at(status, "reason"),
            message=text_at(status, "message"),
            node_name=text_at(object_at(raw, "spec"), "nodeName"),
            job_uid=_owning_job(metadata),
            agent_id=_agent_id(annotations),
            flow_run_id=_flow_run_id(annotations, names.ANNOTATION_FLOW_RUN_ID),
            created_at=instant_at(metadata, "creationTimestamp"),
            deletion_at=instant_at(metadata, "deletionTimestamp"),
            grace_seconds=grace,
            conditions=conditions_at(status),
            containers=_containers(status, "containerStatuses"),
            init_containers=init_containers_at(object_at(raw, "spec"), status),
            own_volumes=_own_volumes(object_at(raw, "spec")),
        )


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A Job; ours when `agent_id` is set.

    Attributes:
        version: Protocol version of the objects, from its label.
        flow_run_id: The flow run that created it; `owner_flow_run_id` the one that owns it now.
        owner_epoch: `leaseTransitions` of the tenure in which it was created or adopted.
        harvested_at: When its result was stored.
        deletion_at: Set as soon as somebody has asked for its deletion.
        check_timeout_seconds: The time limit of the check that it was created with, if any.
        keeps_work: Its pod has a keeper, which outlives the agent and holds what it made.
        publish: Where its work is to be pushed, as the Job says; `None` where it is not to be.
        deadline_seconds: The Job's own deadline, from its start.
        started_at: When it was admitted last; anew each time it is no longer suspended.
        suspended: It may have no pod for now, most often because a queue has yet to admit it.
        queue_name: The queue of Kueue that admits it.
    """

    name: JobName
    uid: JobUid
    namespace: str = ""
    resource_version: str = ""
    version: str | None = None
    agent_id: AgentId | None = None
    task_id: TaskId | None = None
    session_id: SessionId | None = None
    flow_run_id: FlowRunId | None = None
    attempt: int | None = None
    line_token: str | None = None
    check_timeout_seconds: int | None = None
    keeps_work: bool = False
    publish: str | None = None
    manifest_sha256: str | None = None
    owner_flow_run_id: FlowRunId | None = None
    owner_epoch: int | None = None
    harvested_at: datetime | None = None
    created_at: datetime | None = None
    deletion_at: datetime | None = None
    ttl_seconds: int | None = None
    deadline_seconds: int | None = None
    started_at: datetime | None = None
    suspended: bool = False
    queue_name: str | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def final_condition(self) -> Condition | None:
        """The condition that ended the Job; Failed wins should both ever be true."""
        true = {item.type: item for item in self.conditions if item.is_true}
        return true.get("Failed") or true.get("Complete")

    @property
    def failure(self) -> Condition | None:
        """Why it has failed, or will have failed once its pods have ended."""
        true = {item.type: item for item in self.conditions if item.is_true}
        return true.get("Failed") or true.get("FailureTarget")

    @property
    def finished(self) -> bool:
        """Whether the Job has ended for good."""
        return self.final_condition is not None

    @property
    def failing(self) -> bool:
        """Whether it has failed, or will have failed once its pods have ended."""
        return self.failure is not None

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to wait for: it has finished or was harvested."""
        return self.finished or self.harvested_at is not None

    @property
    def deleting(self) -> bool:
        """Whether somebody has asked for its deletion."""
        return self.deletion_at is not None

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a batch/v1 Job."""
        metadata, status = object_at(raw, "metadata"), object_at(raw, "status")
        labels, notes = object_at(metadata, "labels"), object_at(metadata, "annotations")
        task_id = text_at(notes, names.ANNOTATION_TASK_ID)
        session_id = text_at(notes, names.ANNOTATION_SESSION_ID)
        return cls(
            name=JobName(text_at(metadata, "name") or ""),
            uid=JobUid(text_at(metadata, "uid") or ""),
            namespace=text_at(metadata, "namespace") or "",
            resource_version=text_at(metadata, "resourceVersion") or "",
            version=text_at(labels, names.LABEL_VERSION),
            agent_id=_agent_id(notes),
            task_id=TaskId(task_id) if task_id else None,
            session_id=SessionId(session_id) if session_id else None,
            flow_run_id=_flow_run_id(notes, names.ANNOTATION_FLOW_RUN_ID),
            attempt=integer_at(notes, names.ANNOTATION_ATTEMPT),
            line_token=text_at(notes, names.ANNOTATION_LINE_TOKEN),
            check_timeout_seconds=integer_at(notes, names.ANNOTATION_CHECK_TIMEOUT_SECONDS),
            keeps_work=text_at(notes, names.ANNOTATION_KEEPS_WORK) == "true",
            publish=text_at(notes, names.ANNOTATION_PUBLISH) or None,
            manifest_sha256=text_at(notes, names.ANNOTATION_MANIFEST_SHA256),
            owner_flow_run_id=_flow_run_id(notes, names.ANNOTATION_OWNER_FLOW_RUN_ID),
            owner_epoch=integer_at(notes, names.ANNOTATION_OWNER_EPOCH),
            harvested_at=instant_at(notes, names.ANNOTATION_HARVESTED_AT),
            created_at=instant_at(metadata, "creationTimestamp"),
            deletion_at=instant_at(metadata, "deletionTimestamp"),
            ttl_seconds=integer_at(object_at(raw, "spec"), "ttlSecondsAfterFinished"),
            deadline_seconds=integer_at(object_at(raw, "spec"), "activeDeadlineSeconds"),
            started_at=instant_at(status, "startTime"),
            suspended=object_at(raw, "spec").get("suspend") is True,
            queue_name=text_at(object_at(metadata, "labels"), names.LABEL_QUEUE),
            conditions=conditions_at(status),
        )


@dataclass(frozen=True, slots=True)
class LeaseSnapshot:
    """An agent's Lease.

    Attributes:
        holder: `<flow run id>/<process nonce>`, or empty when released.
        epoch: `leaseTransitions`: grows by one at every acquisition, never falls.
        committed_job_uid: The last Job that was committed under this Lease.
        attempt: The last attempt number that `attempt_flow_run_id` has created.
        labels: All of them, to be written back as they are.
        annotations: All of them, to be written back as they are.
    """

    name: str
    uid: str = ""
    resource_version: str = ""
    holder: str = ""
    epoch: int = 0
    duration_seconds: int | None = None
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    agent_id: AgentId | None = None
    committed_job_uid: JobUid | None = None
    committed_job_name: JobName | None = None
    attempt_flow_run_id: FlowRunId | None = None
    attempt: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    annotations: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a coordination.k8s.io/v1 Lease."""
        metadata, spec = object_at(raw, "metadata"), object_at(raw, "spec")
        annotations = texts_at(metadata, "annotations")
        job_uid = text_at(annotations, names.ANNOTATION_COMMITTED_JOB_UID)
        job_name = text_at(annotations, names.ANNOTATION_COMMITTED_JOB_NAME)
        return cls(
            name=text_at(metadata, "name") or "",
            uid=text_at(metadata, "uid") or "",
            resource_version=text_at(metadata, "resourceVersion") or "",
            holder=text_at(spec, "holderIdentity") or "",
            epoch=integer_at(spec, "leaseTransitions") or 0,
            duration_seconds=integer_at(spec, "leaseDurationSeconds"),
            acquired_at=instant_at(spec, "acquireTime"),
            renewed_at=instant_at(spec, "renewTime"),
            agent_id=_agent_id(annotations),
            committed_job_uid=JobUid(job_uid) if job_uid else None,
            committed_job_name=JobName(job_name) if job_name else None,
            attempt_flow_run_id=_flow_run_id(annotations, names.ANNOTATION_ATTEMPT_FLOW_RUN_ID),
            attempt=integer_at(annotations, names.ANNOTATION_ATTEMPT),
            labels=texts_at(metadata, "labels"),
            annotations=annotations,
        )


@dataclass(frozen=True, slots=True)
class KubernetesEventSnapshot:
    """A Kubernetes Event about a Job or pod.

    Attributes:
        last_at: When it was last seen; repeated ones are counted in one object.
        about_uid: Of the object it is about.
    """

    reason: str
    message: str = ""
    type: str = "Normal"
    count: int = 1
    last_at: datetime | None = None
    about_kind: str | None = None
    about_name: str | None = None
    about_uid: str | None = None

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a v1 Event."""
        series, about = object_at(raw, "series"), object_at(raw, "involvedObject")
        return cls(
            reason=text_at(raw, "reason") or "",
            message=text_at(raw, "message") or "",
            type=text_at(raw, "type") or "Normal",
            count=integer_at(series, "count") or integer_at(raw, "count") or 1,
            last_at=instant_at(series, "lastObservedTime")
            or instant_at(raw, "lastTimestamp")
            or instant_at(raw, "eventTime")
            or instant_at(object_at(raw, "metadata"), "creationTimestamp"),
            about_kind=text_at(about, "kind"),
            about_name=text_at(about, "name"),
            about_uid=text_at(about, "uid"),
        )


def jobs_from_api(items: Iterable[RawObject]) -> tuple[JobSnapshot, ...]:
    """Read the Jobs of a list, newest first."""
    jobs = [JobSnapshot.from_api(item) for item in items]
    return tuple(sorted(jobs, key=lambda job: _age_key(job.created_at, job.name)))


def pods_from_api(items: Iterable[RawObject]) -> tuple[PodSnapshot, ...]:
    """Read the pods of a list, newest first."""
    pods = [PodSnapshot.from_api(item) for item in items]
    return tuple(sorted(pods, key=lambda pod: _age_key(pod.created_at, pod.name)))


def _age_key(created_at: datetime | None, name: str) -> tuple[float, str]:
    # The name makes the order stable where two were created within the API's second.
    return (-created_at.timestamp() if created_at else 0.0, name)


def _containers(status: RawObject, key: str) -> tuple[ContainerSnapshot, ...]:
    return tuple(ContainerSnapshot.from_api(item) for item in objects_at(status, key))


def _own_volumes(spec: RawObject) -> frozenset[str]:
    return frozenset(
        text_at(item, "name") or ""
        for item in objects_at(spec, "volumes")
        if not {"persistentVolumeClaim", "ephemeral"} & item.keys()
    )


def _agent_id(annotations: RawObject) -> AgentId | None:
    found = text_at(annotations, names.ANNOTATION_AGENT_ID)
    return AgentId(found) if found else None


def _flow_run_id(annotations: RawObject, key: str) -> FlowRunId | None:
    found = text_at(annotations, key)
    return FlowRunId(found) if found else None


def _owning_job(metadata: RawObject) -> JobUid | None:
    owners = objects_at(metadata, "ownerReferences")
    found = next((text_at(item, "uid") for item in owners if item.get("kind") == "Job"), None)
    found = found or text_at(object_at(metadata, "labels"), "batch.kubernetes.io/controller-uid")
    return JobUid(found) if found else None
