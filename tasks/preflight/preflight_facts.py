"""What a preflight is asked, and what it has observed, before anything is made of it.

Whatever could not be read is an `Unread` in its place, so that every check says something.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Any

from pydantic import Field

from tasks.agent_job.needed_permissions import Permission
from tasks.agent_job.run_request import AgentRunRequest
from tasks.claude_code.agent_spec import SpecModel

LONGEST_OUTAGE_SECONDS = 28_800  # a night, after which somebody looks


class PreflightConfig(SpecModel):
    """The run that is to be possible, and what it has to outlive."""

    request: AgentRunRequest = Field(
        description="A run as one would start it; nothing of it is started."
    )
    longest_outage_seconds: int = Field(
        default=LONGEST_OUTAGE_SECONDS,
        ge=0,
        le=30 * 86_400,
        description="Longest time in seconds for which Prefect, or what executes flow runs, may be "
        "away without a result being lost.",
    )


class WhyUnread(StrEnum):
    """What kept a fact from being known."""

    NO_ANSWER = auto()
    UNAUTHORISED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    NAMESPACE_NOT_FOUND = auto()
    REFUSED = auto()
    NOT_ASKED = auto()


@dataclass(frozen=True, slots=True)
class Unread:
    """A fact that is not known.

    Attributes:
        message: Why, as a sentence.
    """

    why: WhyUnread
    message: str


@dataclass(frozen=True, slots=True)
class KubernetesVersion:
    """Which version answers; `text` as the server writes it."""

    major: int
    minor: int
    text: str


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """A PersistentVolumeClaim.

    Attributes:
        phase: `Bound`, `Pending` or `Lost`.
        access_modes: Of the volume where it is bound, else as asked for.
    """

    phase: str
    access_modes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuotaFacts:
    """One ResourceQuota that counts every pod.

    Attributes:
        hard: Most that may be used, as Kubernetes quantities by name.
        used: What is used now.
    """

    name: str
    hard: Mapping[str, str]
    used: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was seen of the cluster, in the namespace of the agents.

    Attributes:
        where: The connection, as people know it.
        namespace_source: Why it is this namespace.
        server_now: The API server's clock, in whole seconds.
        own_now: Our own clock at the same moment.
        permissions: Whether each verb is allowed to us.
        secrets: Of each Secret the size of what its keys hold, in bytes.
        claim: Of the homes; `None` where the runtime names none.
        job: The Job as the server would store it, with what its webhooks have changed.
        secret_accepted: `True`, or why the server would not store the run's Secret.
    """

    where: str
    namespace: str
    namespace_source: str
    version: KubernetesVersion | Unread
    server_now: datetime | None
    own_now: datetime
    permissions: Mapping[Permission, bool | Unread]
    secrets: Mapping[str, Mapping[str, int] | Unread]
    claim: ClaimFacts | Unread | None
    quotas: tuple[QuotaFacts, ...] | Unread
    job: Mapping[str, Any] | Unread
    secret_accepted: bool | Unread


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path lies, as Linux tells of it.

    Attributes:
        point: Where it is mounted.
        root: Which folder of the file system is mounted there.
        file_system: Its type, such as `ext4` or `tmpfs`.
    """

    point: str
    root: str
    file_system: str


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """The result storage.

    Attributes:
        description: Where people find it.
        mount: Of its folder; `None` where it is no folder here, or that is not known.
        in_pod: Whether this process is a pod's.
        problem: Why it could not be written and read again; else `None`.
    """

    description: str
    mount: Mount | None
    in_pod: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class PrefectFacts:
    """The Prefect API in use, and what of its settings matters to runs.

    Attributes:
        api_url: `None` where a temporary server would be started.
        is_cloud: Whether it is Prefect Cloud, which has versions and settings of its own.
        server_version: As it tells.
        client_version: Of the package that runs use.
        logs_to_api: Whether run logs are sent to Prefect.
        heartbeat_seconds: How often a flow run says that it is alive; `None` for never.
        lease_storage: Where the server keeps who holds a concurrency slot; `None` if not known.
        limited_deployments: Deployments of `run_agent` that have a concurrency limit.
    """

    api_url: str | None
    is_cloud: bool
    server_version: str | Unread
    client_version: str
    logs_to_api: bool
    heartbeat_seconds: int | None
    lease_storage: str | None
    limited_deployments: tuple[str, ...]
