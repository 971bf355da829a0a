"""The metadata of a run's Secret, as it was listed; its content stays on the server."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from tasks.observation.api_fields import (
    RawObject,
    instant_at,
    integer_at,
    object_at,
    objects_at,
    text_at,
)
from tasks.vocabulary import names
from tasks.vocabulary.names import AgentId, FlowRunId, JobUid


@dataclass(frozen=True, slots=True)
class SecretSnapshot:
    """The metadata of a Secret.

    Attributes:
        version: Protocol version of the objects, from its label.
        agent_id: Exact; a tombstone has none.
        job_name: Of the Job that owns it.
    """

    name: str
    uid: str
    resource_version: str = ""
    version: str | None = None
    agent_id: AgentId | None = None
    flow_run_id: FlowRunId | None = None
    attempt: int | None = None
    job_uid: JobUid | None = None
    job_name: str | None = None
    created_at: datetime | None = None

    @property
    def is_tombstone(self) -> bool:
        """Whether it has the metadata of one that stands in the place of a run's Secret."""
        return self.agent_id is None and self.job_name == self.name

    @classmethod
    def from_api(cls, raw: RawObject) -> Self:
        """Read a v1 Secret, or its metadata alone."""
        metadata = object_at(raw, "metadata")
        notes = object_at(metadata, "annotations")
        owners = objects_at(metadata, "ownerReferences")
        nobody: RawObject = {}
        owner = next((one for one in owners if one.get("kind") == "Job"), nobody)
        agent_id = text_at(notes, names.ANNOTATION_AGENT_ID)
        flow_run_id = text_at(notes, names.ANNOTATION_FLOW_RUN_ID)
        job_uid = text_at(owner, "uid")
        return cls(
            name=text_at(metadata, "name") or "",
            uid=text_at(metadata, "uid") or "",
            resource_version=text_at(metadata, "resourceVersion") or "",
            version=text_at(object_at(metadata, "labels"), names.LABEL_VERSION),
            agent_id=AgentId(agent_id) if agent_id else None,
            flow_run_id=FlowRunId(flow_run_id) if flow_run_id else None,
            attempt=integer_at(notes, names.ANNOTATION_ATTEMPT),
            job_uid=JobUid(job_uid) if job_uid else None,
            job_name=text_at(owner, "name"),
            created_at=instant_at(metadata, "creationTimestamp"),
        )
