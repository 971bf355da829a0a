"""Where and how an agent's Jobs run: `RuntimeSpec`, the values of an `AgentRuntime` block.

Defaults without a source in a comment are starting points, to be changed in the block.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tasks.agent_job.pod_settings import (
    Dns,
    EnvFromKey,
    GitClone,
    Image,
    LabelKey,
    LabelValue,
    PullPolicy,
    ReadOnlyMount,
    Resources,
    Toleration,
)
from tasks.agent_job.pod_template_rules import TakenPaths, pod_template_problems
from tasks.agent_job.publish_settings import Publish
from tasks.agent_job.reserved_names import folder_of, reserved_keys, why_not_mountable
from tasks.claude_code.agent_spec import (
    CONTROLS,
    AbsolutePath,
    CheckedText,
    EnvName,
    ObjectName,
    SpecModel,
    refuse_duplicates,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import AGENT_CONTAINER, TMP_DIR

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
StorageReference = Annotated[
    str, StringConstraints(pattern=rf"^[^{CONTROLS}]+$", max_length=4096, strip_whitespace=True)
]
KeepPolicy = Literal["never", "on_failure", "always"]

POD_TEMPLATE_EXAMPLE: dict[str, Any] = {
    "spec": {
        "runtimeClassName": "gvisor",
        "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["git.internal"]}],
        "containers": [
            {
                "name": AGENT_CONTAINER,
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
            }
        ],
        "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "5Gi"}}],
    }
}
"""Shown in the block's form, to be copied."""


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
    queue_seconds: int = Field(
        # Queues hold work back for hours on purpose, and a Job that waits in one costs nothing.
        default=86_400,
        ge=1,
        le=30 * 86_400,
        description="Seconds a Job may be suspended by a queue such as Kueue before its agent "
        "starts. This time does not count against the other limits.",
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
    keeper_patience_seconds: int = Field(
        default=3_600,
        ge=60,
        le=86_400,
        description="Seconds the pod waits after the agent has ended for its work to be collected, "
        "if it is to be. It ends as soon as that is done.",
    )
    checkpoint_seconds: int = Field(
        default=60,
        ge=0,
        le=3_600,
        description="Seconds between two checkpoints of an agent's work, if it is to be collected "
        "and changes. They outlive the loss of the node. 0 collects it at the end only.",
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
        description="Seconds Claude Code may keep running after its result; then it is stopped. "
        "The verdict stays. No limit if empty. Set 660 if agents may leave work in the background.",
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
        description="Error codes after which the run makes another attempt, in the same session "
        "if it can be resumed.",
    )
    max_attempts: int = Field(
        default=2, ge=1, le=10, description="Maximum attempts per run, including the first."
    )
    delay_seconds: int = Field(
        default=60, ge=0, le=86_400, description="Seconds to wait before the next attempt."
    )


class RuntimeFields(CheckedText):
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
    job_annotations: dict[LabelKey, str] = Field(
        default_factory=dict,
        description="Additional annotations for Jobs alone. Reserved prefixes are rejected.",
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
    publish: Publish | None = Field(
        default=None,
        description="Where and how the work of agents is pushed that are to deliver it so.",
    )
    run_as_user: int | None = Field(
        default=1000,
        ge=1,
        description="User id of the agent; not root. If null: the one that the cluster assigns, as "
        "OpenShift does, else the image's, which must be a number.",
    )
    run_as_group: int | None = Field(
        default=1000,
        ge=1,
        description="Group id of the agent; if null, the cluster's or the image's.",
    )
    fs_group: int | None = Field(
        default=1000,
        ge=1,
        description="Group id that owns the pod's volumes; if null, the cluster's, if any.",
    )
    read_only_root_filesystem: bool = Field(
        default=False,
        description="Allow the agent to write only to its volumes, such as HOME and /tmp.",
    )
    pod_template: dict[str, Any] = Field(
        default_factory=dict,
        description="Kubernetes PodTemplateSpec with what has no field here. Example: "
        f"`{json.dumps(POD_TEMPLATE_EXAMPLE)}`. It is merged into the agent's pod as `kubectl "
        "patch --type strategic` does. The agent's container is called "
        f"`{AGENT_CONTAINER}`. What the run itself must control is rejected by name.",
        examples=[POD_TEMPLATE_EXAMPLE],
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
    credential_plugin_seconds: int = Field(
        default=60,
        ge=1,
        le=600,
        description="Longest time a kubeconfig's credential plugin may take.",
    )
    strict_x509: bool = Field(
        default=False,
        description="Refuse certificates of the cluster that lack what RFC 5280 asks for.",
    )
    result_storage: StorageReference | None = Field(
        default=None,
        description="Storage for results and transcripts: an absolute path, or a Prefect block as "
        "block-type/block-name. If empty, they are stored with Prefect's local results.",
    )

    @model_validator(mode="after")
    def _check_runtime(self) -> Self:
        for field in ("labels", "annotations", "job_annotations"):
            if reserved := reserved_keys(getattr(self, field)):
                raise ValueError(f"{field}: reserved: {', '.join(reserved)}")
        for path in (self.home_path, *self._mount_paths()):
            if reason := why_not_mountable(path, self.home_path):
                raise ValueError(f"{path} cannot be mounted: {reason}")
        if ".." in self.home_sub_path.split("/"):
            raise ValueError("home_sub_path must not leave the volume")
        if self.dns.policy == "None" and not self.dns.nameservers:
            raise ValueError("dns: the policy None requires a name server")
        refuse_duplicates("env_from_keys", [item.env for item in self.env_from_keys])
        paths = [path.rstrip("/") for path in (self.home_path, *self._mount_paths())]
        refuse_duplicates("mounts", paths)
        if self.read_only_root_filesystem and folder_of(TMP_DIR) in map(folder_of, paths):
            raise ValueError(
                f"{TMP_DIR} cannot be mounted: with read_only_root_filesystem it is a volume of "
                "the run's own"
            )
        self._check_pod_template()
        return self

    def _mount_paths(self) -> list[str]:
        clone = [self.git.path] if self.git is not None else []
        return [*clone, *(mount.path for mount in self.mounts)]

    def _check_pod_template(self) -> None:
        others = self._mount_paths()
        if self.git is not None:
            others.append(self.git.tree)
        if self.read_only_root_filesystem:
            others.append(TMP_DIR)
        taken = TakenPaths(self.home_path, tuple(others))
        if problems := pod_template_problems(self.pod_template, taken):
            raise ValueError(f"pod_template: {'; '.join(problems)}")


class RuntimeSpec(RuntimeFields, SpecModel):
    """One runtime, fully described and frozen."""
