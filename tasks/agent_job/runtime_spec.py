"""Where and how an agent's Jobs run: `RuntimeSpec`, the values of an `AgentRuntime` block.

Defaults without a source in a comment are starting points, to be changed in the block.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from tasks.claude_code.agent_spec import AbsolutePath, DataKey, EnvName, ObjectName, SpecModel
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import INPUT_DIR, WORK_DIR

Quantity = Annotated[
    # Kubernetes' own pattern for the quantities in resource requests and limits.
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

# Ours, the Job controller's, and Prefect's: its worker claims every object that has its labels.
_RESERVED_PREFIX = re.compile(
    r"^((claude-jobs\.dev|app\.kubernetes\.io|batch\.kubernetes\.io|([^/]+\.)?prefect\.io)/.*"
    r"|job-name|controller-uid)$"
)


class Resources(SpecModel):
    """Requests and limits of the agent's container, as Kubernetes quantities."""

    cpu_request: Quantity = Field(default="1", description="CPU reserved for the agent.")
    cpu_limit: Quantity | None = Field(
        default="4", description="CPU the agent may use; no limit if empty."
    )
    memory_request: Quantity = Field(default="2Gi", description="Memory reserved for the agent.")
    memory_limit: Quantity = Field(
        default="8Gi",
        description="Memory the agent may use. Required, because it protects the node.",
    )
    ephemeral_storage_request: Quantity = Field(
        default="1Gi", description="Local disk reserved for the agent."
    )
    ephemeral_storage_limit: Quantity = Field(
        default="10Gi",
        description="Local disk the agent may use, including its home if there is no home claim.",
    )
    transcript_storage_limit: Quantity = Field(
        default="1Gi", description="Local disk for the copy of the transcript and the skills."
    )


class Toleration(SpecModel):
    """A node taint that the agent's pod tolerates."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; any if empty.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="How the taint is matched: by value, or by key alone."
    )
    value: str | None = Field(default=None, description="Value of the taint, for Equal only.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; any if empty."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, description="Seconds to tolerate a NoExecute taint; forever if empty."
    )


class DnsOption(SpecModel):
    """A resolver option, such as ndots."""

    name: str = Field(min_length=1, description="Name of the option.")
    value: str | None = Field(default=None, description="Value of the option, if it takes one.")


class Dns(SpecModel):
    """DNS settings, as in a pod's spec."""

    policy: Literal["ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"] = Field(
        default="ClusterFirst", description="The pod's dnsPolicy."
    )
    nameservers: tuple[str, ...] = Field(
        default=(), max_length=3, description="IP addresses of name servers, at most three."
    )
    searches: tuple[str, ...] = Field(default=(), description="DNS search domains.")
    options: tuple[DnsOption, ...] = Field(default=(), description="Resolver options.")


class ReadOnlyMount(SpecModel):
    """A Secret or ConfigMap mounted read-only as files."""

    kind: Literal["secret", "config_map"] = Field(description="Kind of object to mount.")
    name: ObjectName = Field(description="Name of the object, in the namespace of the agent's Job.")
    path: AbsolutePath = Field(description="Folder in the pod in which its keys appear as files.")


class EnvFromKey(SpecModel):
    """An environment variable from a Secret or ConfigMap; a plain value of that name wins."""

    env: EnvName = Field(description="Name of the environment variable.")
    kind: Literal["secret", "config_map"] = Field(description="Kind of object that holds the key.")
    name: ObjectName = Field(description="Name of the Secret or ConfigMap.")
    key: DataKey = Field(description="Key within the object.")
    optional: bool = Field(
        default=False, description="Start the agent even if the object or the key is missing."
    )


class GitClone(SpecModel):
    """How the run's repository is cloned before the agent starts."""

    image: Image = Field(description="Image with git and /bin/sh, and with ssh for ssh addresses.")
    image_pull_policy: PullPolicy = Field(
        default="IfNotPresent", description="When to pull the image."
    )
    path: AbsolutePath = Field(
        default="/workspace",
        description="Mount path of the clone's volume in the pod. The clone is in its subfolder "
        "`repo`, and the agent works there unless the run names another folder.",
    )
    depth: int = Field(
        default=1, ge=0, description="Number of commits to fetch; 0 fetches the whole history."
    )
    credentials_secret: ObjectName | None = Field(
        default=None,
        description="Kubernetes Secret of type kubernetes.io/basic-auth, or kubernetes.io/ssh-auth "
        "with an additional key known_hosts. Only the init container that clones can read it.",
    )
    storage_limit: Quantity = Field(
        default="10Gi", description="Local disk for the clone and for what the agent builds there."
    )


class Limits(SpecModel):
    """Time limits of the stages, in seconds."""

    timeout_ceiling_seconds: int = Field(
        default=86_400,
        ge=1,
        le=30 * 86_400,
        description="Longest time an agent may run, and the default timeout of a run. "
        "3,600 to 14,400 suit most agents.",
    )
    # The kubelet and the Job controller act some seconds late.
    deadline_margin_seconds: int = Field(
        default=60,
        ge=10,
        le=3600,
        description="Seconds added to the sum of the other limits to get the Job's own deadline.",
    )
    scheduling_seconds: int = Field(
        # Adding a node takes cloud providers two to eight minutes.
        default=600,
        ge=1,
        le=86_400,
        description="Seconds a pod may wait for a node.",
    )
    start_seconds: int = Field(
        # Agent images are two to three gigabytes in size.
        default=300,
        ge=1,
        le=86_400,
        description="Seconds a scheduled pod may take to start: image, mounts, init containers.",
    )
    image_pull_backoff_seconds: int = Field(
        default=120,
        ge=0,
        le=86_400,
        description="Seconds to tolerate failing image pulls, since registries recover.",
    )
    completion_grace_seconds: int = Field(
        default=30,
        ge=1,
        le=600,
        description="Seconds the Job may take to finish after its container has ended.",
    )
    api_loss_seconds: int = Field(
        default=600,
        ge=30,
        le=86_400,
        description="Seconds without the Kubernetes API after which a run gives up on its Job.",
    )
    termination_grace_seconds: int = Field(
        # Prefect kills the flow's process 30 s after asking it to stop.
        default=20,
        ge=1,
        le=20,
        description="Seconds the agent has between SIGTERM and SIGKILL.",
    )
    acknowledgement_seconds: int = Field(
        default=120,
        ge=0,
        le=600,
        description="Seconds the pod waits after the agent has ended for its output to be read, "
        "if there is more than a log file holds. Set to 0 if exec is not permitted.",
    )
    stall_seconds: int | None = Field(
        # Hung processes held their pods for a day. Long tool calls are legitimate, so a tool's own
        # time limit and the delays of API retries come on top.
        default=3_600,
        ge=60,
        description="Seconds without output after which a run is ended as stalled; off if empty. "
        "The time limit of a tool at work comes on top.",
    )
    after_result_seconds: int | None = Field(
        # Claude Code itself waits 600 s for a shell in the background, and for ever for others.
        default=60,
        ge=1,
        le=86_400,
        description="Seconds that Claude Code may stay after its result before it is ended, which "
        "does not change the verdict; no limit if empty. Set 660 if agents may leave work in the "
        "background.",
    )


class Retention(SpecModel):
    """How long finished Jobs stay in the cluster."""

    keep: KeepPolicy = Field(
        default="on_failure",
        description="Finished Jobs to keep: none, failed, or all.",
    )
    unharvested_seconds: int = Field(
        # Longer than an outage of Prefect or its workers is expected to last.
        default=86_400,
        ge=300,
        description="Seconds a finished Job is kept if no run has stored its result yet.",
    )
    harvested_seconds: int = Field(
        default=300,
        ge=0,
        description="Seconds a Job is kept after its result was stored.",
    )
    kept_failure_seconds: int = Field(
        default=86_400,
        ge=0,
        description="Seconds a failed Job is kept if `keep` includes failed Jobs.",
    )


class WholeRunRetry(SpecModel):
    """When a failed attempt is followed by another one. Each attempt costs money."""

    codes: tuple[ErrorCode, ...] = Field(
        default=(),
        description="Error codes after which a new attempt resumes the session.",
    )
    max_attempts: int = Field(
        default=2, ge=1, le=10, description="Maximum attempts per run, including the first."
    )
    delay_seconds: int = Field(
        default=60, ge=0, le=86_400, description="Seconds to wait before the next attempt."
    )


class RuntimeFields(BaseModel):
    """The fields that the runtime block and the frozen spec share."""

    image: Image = Field(
        description="Image with the `claude` command and /bin/sh. Pin a tag or digest."
    )
    namespace: DnsLabel | None = Field(
        default=None,
        description="Namespace of the agents' Jobs. If empty: the flow run's own pod's namespace, "
        "else that of the kubeconfig context, else `default`.",
    )
    image_pull_policy: PullPolicy = Field(
        default="IfNotPresent", description="When to pull the image."
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field(
        default=(), description="Kubernetes Secrets with image registry credentials."
    )
    service_account: ObjectName | None = Field(
        default=None, description="Service account of the agent's pod; `default` if empty."
    )
    automount_service_account_token: bool = Field(
        default=False, description="Give the agent that account's token for the Kubernetes API."
    )
    resources: Resources = Field(
        default=Resources(), description="CPU, memory and local disk for the agent."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels a node must have to run the agent."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Node taints that the agent's pod tolerates."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        description="Additional labels for Jobs and pods. Reserved prefixes are rejected.",
    )
    annotations: dict[LabelKey, str] = Field(
        default_factory=dict,
        description="Additional annotations for Jobs and pods. Reserved prefixes are rejected.",
    )
    dns: Dns = Field(default=Dns(), description="DNS settings of the agent's pod.")
    mounts: tuple[ReadOnlyMount, ...] = Field(
        default=(), description="Secrets and ConfigMaps to mount read-only as files."
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="Environment variables for the agent. Their values are visible in Prefect.",
    )
    env_from_keys: tuple[EnvFromKey, ...] = Field(
        default=(), description="Environment variables from Secrets and ConfigMaps."
    )
    home_path: AbsolutePath = Field(
        default="/home/agent", description="The agent's HOME in the pod."
    )
    home_claim: ObjectName | None = Field(
        default=None,
        description="PersistentVolumeClaim for the homes of all agents. Its volume must honour "
        "fsGroup or have a root that everybody may write to. Without a claim, sessions cannot be "
        "resumed.",
    )
    home_sub_path: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._/-]*$", max_length=512)
    ] = Field(
        default="agents",
        description="Folder on the claim's volume that holds one subfolder per agent.",
    )
    working_directory: AbsolutePath | None = Field(
        default=None,
        description="Folder to work in if the run names none; HOME if empty.",
    )
    git: GitClone | None = Field(
        default=None,
        description="Clone the repository of the run's workspace before the agent starts. "
        "If empty, the agent is only told the repository's address.",
    )
    run_as_user: int = Field(default=1000, ge=1, description="User id of the agent; not root.")
    run_as_group: int = Field(default=1000, ge=1, description="Group id of the agent.")
    fs_group: int = Field(default=1000, ge=1, description="Group id that owns the pod's volumes.")
    read_only_root_filesystem: bool = Field(
        default=False,
        description="Allow the agent to write only to its volumes, such as HOME and /tmp.",
    )
    limits: Limits = Field(default=Limits(), description="Time limits of the stages.")
    retention: Retention = Field(default=Retention(), description="How long finished Jobs stay.")
    retry: WholeRunRetry = Field(
        default=WholeRunRetry(), description="When a failed attempt is followed by another one."
    )
    reattach: bool = Field(
        default=True,
        description="Allow a run to take over the live Job of an earlier run that has no process.",
    )
    result_storage: str | None = Field(
        default=None,
        min_length=1,
        description="Storage for results and transcripts: an absolute path, or a Prefect block as "
        "block-type/block-name. If empty, they are stored with Prefect's local results.",
    )

    @model_validator(mode="after")
    def _check_runtime(self) -> Self:
        for field, keys in (("labels", self.labels), ("annotations", self.annotations)):
            reserved = sorted(key for key in keys if _RESERVED_PREFIX.fullmatch(key))
            if reserved:
                raise ValueError(f"{field}: reserved: {', '.join(reserved)}")
        clone = [self.git.path] if self.git is not None else []
        for path in (self.home_path, *clone, *(mount.path for mount in self.mounts)):
            if _overlaps(path, INPUT_DIR) or _overlaps(path, WORK_DIR):
                raise ValueError(f"{path} is used by the run itself")
        if ".." in self.home_sub_path.split("/"):
            raise ValueError("home_sub_path must not leave the volume")
        if self.dns.policy == "None" and not self.dns.nameservers:
            raise ValueError("dns: the policy None requires a name server")
        _refuse_duplicates("env_from_keys", [item.env for item in self.env_from_keys])
        paths = [self.home_path, *clone, *(mount.path for mount in self.mounts)]
        _refuse_duplicates("mounts", paths)
        return self


class RuntimeSpec(RuntimeFields, SpecModel):
    """One runtime, fully described and frozen."""


def _overlaps(path: str, folder: str) -> bool:
    """Return whether one of two folders contains the other."""
    one, other = f"{path.rstrip('/')}/", f"{folder}/"
    return one.startswith(other) or other.startswith(one)


def _refuse_duplicates(field: str, names: list[str]) -> None:
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"{field}: {', '.join(duplicates)} given more than once")
