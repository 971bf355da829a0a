"""Where and how an agent's Jobs run: `RuntimeSpec`, the values of an `AgentRuntime` block.

Numbers without a source in their comment are starting points that people change in the block.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from tasks.claude_code.agent_spec import AbsolutePath, DataKey, EnvName, ObjectName, SpecModel
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import INPUT_DIR, WORK_DIR

Quantity = Annotated[
    # Kubernetes' own pattern for quantities that a container may ask for.
    str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?$")
]
DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$")
]

Image = Annotated[str, StringConstraints(pattern=r"^[^\s]+$", max_length=1024)]
PullPolicy = Literal["IfNotPresent", "Always", "Never"]
KeepPolicy = Literal["never", "on_failure", "always"]

# Ours, the Job controller's, and Prefect's: its worker takes what bears its labels for its own.
_RESERVED_PREFIX = re.compile(
    r"^((claude-jobs\.dev|app\.kubernetes\.io|batch\.kubernetes\.io|([^/]+\.)?prefect\.io)/.*"
    r"|job-name|controller-uid)$"
)


class Resources(SpecModel):
    """What the agent's container asks for and may use, as Kubernetes quantities."""

    cpu_request: Quantity = Field(default="1", description="CPU that is kept free for the agent.")
    cpu_limit: Quantity | None = Field(
        default="4", description="CPU that the agent may use; no limit where empty."
    )
    memory_request: Quantity = Field(
        default="2Gi", description="Memory that is kept free for the agent."
    )
    memory_limit: Quantity = Field(
        default="8Gi",
        description="Memory that the agent may use; without a limit the node would be hit.",
    )
    ephemeral_storage_request: Quantity = Field(
        default="1Gi", description="Local disk that is kept free for the agent."
    )
    ephemeral_storage_limit: Quantity = Field(
        default="10Gi",
        description="Local disk that the agent may use, its home included when there is no claim.",
    )
    transcript_storage_limit: Quantity = Field(
        default="1Gi", description="Local disk for the copy of the transcript and the skills."
    )


class Toleration(SpecModel):
    """A taint of nodes that the agent's pod tolerates."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; all where empty.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="How the value is compared."
    )
    value: str | None = Field(default=None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; all where empty."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, description="Seconds to stay under a NoExecute taint; ever where empty."
    )


class DnsOption(SpecModel):
    """A resolver option, such as ndots."""

    name: str = Field(min_length=1, description="Name of the option.")
    value: str | None = Field(default=None, description="Its value, where it has one.")


class Dns(SpecModel):
    """How names are resolved in the agent's pod."""

    policy: Literal["ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"] = Field(
        default="ClusterFirst", description="Kubernetes' dnsPolicy."
    )
    nameservers: tuple[str, ...] = Field(
        default=(), max_length=3, description="Addresses of name servers, at most three."
    )
    searches: tuple[str, ...] = Field(default=(), description="Domains that names are searched in.")
    options: tuple[DnsOption, ...] = Field(default=(), description="Resolver options.")


class ReadOnlyMount(SpecModel):
    """A Secret or ConfigMap that the agent finds as files; it cannot write there."""

    kind: Literal["secret", "config_map"] = Field(description="What is mounted.")
    name: ObjectName = Field(description="Its name, in the namespace of the agent's Job.")
    path: AbsolutePath = Field(description="Folder in the pod where its keys appear as files.")


class EnvFromKey(SpecModel):
    """A key of a Secret or ConfigMap for the agent's env; a plain value of that name wins."""

    env: EnvName = Field(description="Name in the agent's env.")
    kind: Literal["secret", "config_map"] = Field(description="Where the key is.")
    name: ObjectName = Field(description="Name of the Secret or ConfigMap.")
    key: DataKey = Field(description="Key within it.")
    optional: bool = Field(
        default=False, description="Start without it when the object or the key is missing."
    )


class GitClone(SpecModel):
    """How the repository of a run is cloned before its agent starts."""

    image: Image = Field(description="Image with git and /bin/sh; with ssh for ssh addresses.")
    image_pull_policy: PullPolicy = Field(
        default="IfNotPresent", description="When the image is pulled."
    )
    path: AbsolutePath = Field(
        default="/workspace",
        description="Folder of the clone's volume in the pod; the clone is `repo` in it, and the "
        "agent works there when the run names no folder.",
    )
    depth: int = Field(
        default=1, ge=0, description="How many commits of history are fetched; 0 for all of them."
    )
    credentials_secret: ObjectName | None = Field(
        default=None,
        description="Kubernetes Secret of type kubernetes.io/basic-auth, or kubernetes.io/ssh-auth "
        "with known_hosts beside the key; only the container that clones sees it.",
    )
    storage_limit: Quantity = Field(
        default="10Gi", description="Local disk for the clone and what the agent builds in it."
    )


class Limits(SpecModel):
    """How long each stage may take, in seconds, and how much output is copied in the pod."""

    timeout_ceiling_seconds: int = Field(
        default=86_400,
        ge=1,
        le=30 * 86_400,
        description="Longest time an agent may run, in seconds; also the timeout of runs that "
        "name none. 3,600 to 14,400 suit most agents.",
    )
    # Kubelet and Job controller act some seconds late.
    deadline_margin_seconds: int = Field(
        default=60,
        ge=10,
        le=3600,
        description="Seconds between the end of all other limits and the Job's own deadline.",
    )
    scheduling_seconds: int = Field(
        # Adding a node takes cloud providers two to eight minutes.
        default=600,
        ge=1,
        le=86_400,
        description="Seconds a pod may wait for a node.",
    )
    start_seconds: int = Field(
        # Images with agents have two to three gigabytes.
        default=300,
        ge=1,
        le=86_400,
        description="Seconds a scheduled pod may take to start: image, mounts, init containers.",
    )
    image_pull_backoff_seconds: int = Field(
        default=120,
        ge=0,
        le=86_400,
        description="Seconds that failing image pulls are tolerated; registries recover.",
    )
    completion_grace_seconds: int = Field(
        default=30,
        ge=1,
        le=600,
        description="Seconds the Job may take to notice that its container has ended.",
    )
    api_loss_seconds: int = Field(
        default=600,
        ge=30,
        le=86_400,
        description="Seconds without the Kubernetes API after which a run gives up on its Job.",
    )
    termination_grace_seconds: int = Field(
        # Prefect kills the flow's process 30 s after it was asked to stop.
        default=20,
        ge=1,
        le=20,
        description="Seconds between SIGTERM and SIGKILL for the agent.",
    )
    acknowledgement_seconds: int = Field(
        default=120,
        ge=0,
        le=600,
        description="Seconds an ended agent's pod waits for its output to be read, when there is "
        "more of it than a log file holds; 0 where exec is not permitted.",
    )
    stall_seconds: int | None = Field(
        # Long tools are legitimate, and retries of the model's API are silent for 40 s.
        default=None,
        ge=60,
        description="Seconds of silence after which a run is ended as stalled; off where empty. "
        "1,800 is a good start.",
    )


class Retention(SpecModel):
    """How long ended Jobs stay in the cluster."""

    keep: KeepPolicy = Field(
        default="on_failure",
        description="Which ended Jobs outlive their report: never any, failures, or always all.",
    )
    unharvested_seconds: int = Field(
        # Longer than outages of the flows' side are expected to be.
        default=86_400,
        ge=300,
        description="Seconds an ended Job waits for a run that stores its result.",
    )
    harvested_seconds: int = Field(
        default=300,
        ge=0,
        description="Seconds a Job stays after its result was stored.",
    )
    kept_failure_seconds: int = Field(
        default=86_400,
        ge=0,
        description="Seconds a failed Job stays when failures are kept.",
    )


class WholeRunRetry(SpecModel):
    """Which endings are answered by another attempt; each one costs money again."""

    codes: tuple[ErrorCode, ...] = Field(
        default=(),
        description="Error codes after which the session is resumed in a new attempt.",
    )
    max_attempts: int = Field(
        default=2, ge=1, le=10, description="Attempts of one run in all, the first included."
    )
    delay_seconds: int = Field(
        default=60, ge=0, le=86_400, description="Seconds to wait before another attempt."
    )


class RuntimeFields(BaseModel):
    """The fields that a runtime's block and its frozen spec share."""

    image: Image = Field(
        description="Image with the `claude` command and /bin/sh; a pinned tag or digest."
    )
    namespace: DnsLabel | None = Field(
        default=None,
        description="Namespace of the agents' Jobs; where empty the pod's own, else the "
        "kubeconfig context's, else default.",
    )
    image_pull_policy: PullPolicy = Field(
        default="IfNotPresent", description="When the image is pulled."
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field(
        default=(), description="Kubernetes Secrets with credentials of image registries."
    )
    service_account: ObjectName | None = Field(
        default=None, description="Service account of the agent's pod; the default one where empty."
    )
    automount_service_account_token: bool = Field(
        default=False, description="Let the agent talk to the Kubernetes API as that account."
    )
    resources: Resources = Field(
        default=Resources(), description="CPU, memory and local disk of the agent."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that the agent's node must have."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Taints that the agent's node may have."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        description="More labels for Jobs and pods; reserved prefixes are refused.",
    )
    annotations: dict[LabelKey, str] = Field(
        default_factory=dict,
        description="More annotations for Jobs and pods; reserved prefixes are refused.",
    )
    dns: Dns = Field(default=Dns(), description="How names are resolved.")
    mounts: tuple[ReadOnlyMount, ...] = Field(
        default=(), description="Secrets and ConfigMaps that the agent finds as files."
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="Plain values for the agent's env; they are visible in Prefect.",
    )
    env_from_keys: tuple[EnvFromKey, ...] = Field(
        default=(), description="Keys of Secrets and ConfigMaps for the agent's env."
    )
    home_path: AbsolutePath = Field(
        default="/home/agent", description="The agent's HOME in the pod."
    )
    home_claim: ObjectName | None = Field(
        default=None,
        description="PersistentVolumeClaim with the homes of all agents. Its volume honours "
        "fsGroup, or everybody may write to its root. Without a claim sessions cannot be resumed.",
    )
    home_sub_path: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._/-]*$", max_length=512)
    ] = Field(
        default="agents",
        description="Folder of the claim's volume that holds one sub-folder per agent.",
    )
    working_directory: AbsolutePath | None = Field(
        default=None,
        description="Where agents work when the run names no folder; HOME where empty.",
    )
    git: GitClone | None = Field(
        default=None,
        description="Clone the repository that a run's workspace names before its agent starts; "
        "where empty the agent only knows its address.",
    )
    run_as_user: int = Field(default=1000, ge=1, description="User id of the agent; never root.")
    run_as_group: int = Field(default=1000, ge=1, description="Group id of the agent.")
    fs_group: int = Field(default=1000, ge=1, description="Group id that volumes are handed to.")
    read_only_root_filesystem: bool = Field(
        default=False,
        description="Let the agent write to its HOME and /tmp only.",
    )
    limits: Limits = Field(default=Limits(), description="How long each stage may take.")
    retention: Retention = Field(default=Retention(), description="What becomes of ended Jobs.")
    retry: WholeRunRetry = Field(
        default=WholeRunRetry(), description="Which endings are answered by another attempt."
    )
    reattach: bool = Field(
        default=True,
        description="Let a run take over the live Job of an earlier run whose process is gone.",
    )
    result_storage: str | None = Field(
        default=None,
        min_length=1,
        description="Where results and transcripts are kept: an absolute path, or a Prefect block "
        "as block-type/block-name; beside Prefect's own local results where empty.",
    )

    @model_validator(mode="after")
    def _check_runtime(self) -> Self:
        for field, keys in (("labels", self.labels), ("annotations", self.annotations)):
            reserved = sorted(key for key in keys if _RESERVED_PREFIX.fullmatch(key))
            if reserved:
                raise ValueError(f"{field}: {', '.join(reserved)} is reserved")
        clone = [self.git.path] if self.git is not None else []
        for path in (self.home_path, *clone, *(mount.path for mount in self.mounts)):
            if _overlaps(path, INPUT_DIR) or _overlaps(path, WORK_DIR):
                raise ValueError(f"{path} is needed by the run itself")
        if ".." in self.home_sub_path.split("/"):
            raise ValueError("home_sub_path leaves the volume")
        if self.dns.policy == "None" and not self.dns.nameservers:
            raise ValueError("dns: the policy None needs a name server")
        _refuse_doubles("env_from_keys", [item.env for item in self.env_from_keys])
        paths = [self.home_path, *clone, *(mount.path for mount in self.mounts)]
        _refuse_doubles("mounts", paths)
        return self


class RuntimeSpec(RuntimeFields, SpecModel):
    """One runtime, fully described; does not change once built."""


def _overlaps(path: str, folder: str) -> bool:
    """Tell whether one of two folders lies in the other."""
    one, other = f"{path.rstrip('/')}/", f"{folder}/"
    return one.startswith(other) or other.startswith(one)


def _refuse_doubles(field: str, names: list[str]) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"{field}: {', '.join(doubles)} given more than once")
