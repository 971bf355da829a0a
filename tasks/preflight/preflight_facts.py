"""The request of a preflight, and what it has observed, before it is judged.

A fact that could not be read is an `Unread`, so that every check has a result.
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
    """Why a fact is unknown."""

    NO_ANSWER = auto()
    UNAUTHORISED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    NAMESPACE_NOT_FOUND = auto()
    NAMESPACE_TERMINATING = auto()
    REFUSED = auto()
    NOT_ASKED = auto()


@dataclass(frozen=True, slots=True)
class Unread:
    """A fact that is unknown.

    Attributes:
        message: Why, as a sentence.
    """

    why: WhyUnread
    message: str


@dataclass(frozen=True, slots=True)
class KubernetesVersion:
    """Version of the API server; `text` as the server writes it."""

    major: int
    minor: int
    text: str


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """A PersistentVolumeClaim.

    Attributes:
        phase: `Bound`, `Pending` or `Lost`.
        access_modes: Those of the volume if it is bound, else as requested.
    """

    phase: str
    access_modes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuotaFacts:
    """One ResourceQuota that counts every pod.

    Attributes:
        hard: Limits, as Kubernetes quantities by name.
        used: Current usage.
    """

    name: str
    hard: Mapping[str, str]
    used: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was observed in the cluster, in the namespace of the agents.

    Attributes:
        where: The connection, in words.
        namespace_source: Why this namespace is used.
        server_now: The API server's clock, in whole seconds.
        own_now: Our own clock at the same time.
        permissions: Whether each permission is granted to us.
        secrets: Sizes of the values by key, in bytes, of each Secret.
        claim: The claim for homes; `None` if the runtime names none.
        job: The Job as the server would store it, including changes by webhooks.
        pod: The pod of that Job as the server would store it, including changes by webhooks.
        pod_as_sent: The same pod without any change by the cluster; `None` if there is no request.
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
    pod: Mapping[str, Any] | Unread
    secret_accepted: bool | Unread
    pod_as_sent: Mapping[str, Any] | None = None

    @property
    def shown_pod(self) -> Mapping[str, Any] | None:
        """The pod as it would be stored, or at least as it is sent."""
        return self.pod_as_sent if isinstance(self.pod, Unread) else self.pod


@dataclass(frozen=True, slots=True)
class Mount:
    """The mount that contains a path, as Linux reports it.

    Attributes:
        point: The mount point.
        root: The folder of the file system that is mounted there.
        file_system: The type, for example `ext4` or `tmpfs`.
    """

    point: str
    root: str
    file_system: str


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """The result storage.

    Attributes:
        description: Location of the storage, in words.
        mount: The mount of its folder; `None` if it is no local folder, or if unknown.
        in_pod: Whether this process runs in a pod.
        problem: Why writing and reading failed; `None` if they worked.
    """

    description: str
    mount: Mount | None
    in_pod: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class PrefectFacts:
    """The Prefect API in use, and the settings that matter to runs.

    Attributes:
        api_url: `None` if a temporary server would be started.
        is_cloud: Whether it is Prefect Cloud, which manages its own version and settings.
        server_version: As reported by the server.
        client_version: Version of the package that runs use.
        logs_to_api: Whether run logs are sent to Prefect.
        heartbeat_seconds: Interval of a flow run's heartbeats; `None` if there are none.
        lease_storage: Where the server keeps leases of concurrency slots; `None` if unknown.
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
