"""What people set for the pod of an agent: resources, tolerations, DNS, mounts, env, the clone.

Defaults without a source in a comment are starting points, to be changed in the block.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tasks.agent_job.quantities import quantity_bytes
from tasks.agent_job.reserved_names import is_credential, is_reserved_for_clone, overlaps
from tasks.claude_code.agent_spec import (
    CONTROLS,
    AbsolutePath,
    DataKey,
    EnvName,
    ObjectName,
    SpecModel,
)
from tasks.vocabulary.names import CREDENTIALS_DIR, KEEPER_DIR, KEEPER_SCRIPT_DIR

Quantity = Annotated[
    # Kubernetes' own pattern for the quantities in resource requests and limits.
    str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?$")
]
LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$")
]

Image = Annotated[str, StringConstraints(pattern=rf"^[^\s{CONTROLS}]+$", max_length=1024)]
# Of /etc/resolv.conf, whose lines are words.
DnsWord = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=253)]
PullPolicy = Literal["IfNotPresent", "Always", "Never"]


# Guessed: what a pack at least needs, and what an exec still carries in reasonable time.
_LEAST_WORK_BYTES, _MOST_WORK_BYTES = 2**20, 4 * 2**30


def _check_work_limit(quantity: str) -> str:
    if not _LEAST_WORK_BYTES <= quantity_bytes(quantity) <= _MOST_WORK_BYTES:
        raise ValueError("must be at least 1Mi and at most 4Gi")
    return quantity


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
    work_limit: Annotated[Quantity, AfterValidator(_check_work_limit)] = Field(
        default="256Mi",
        description="Most that is collected of an agent's work, where it is: 1Mi to 4Gi. The pod "
        "may use three times as much local disk for it.",
    )


class Toleration(SpecModel):
    """A node taint that the agent's pod tolerates."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; any if empty.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="How the taint is matched: by value, or by key alone."
    )
    value: LabelValue | None = Field(
        default=None, description="Value of the taint, for Equal only."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; any if empty."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, description="Seconds to tolerate a NoExecute taint; forever if empty."
    )


class DnsOption(SpecModel):
    """A resolver option, such as ndots."""

    name: DnsWord = Field(description="Name of the option.")
    value: DnsWord | None = Field(default=None, description="Value of the option, if it takes one.")


class Dns(SpecModel):
    """DNS settings, as in a pod's spec."""

    policy: Literal["ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"] = Field(
        default="ClusterFirst", description="The pod's dnsPolicy."
    )
    nameservers: tuple[DnsWord, ...] = Field(
        default=(), max_length=3, description="IP addresses of name servers, at most three."
    )
    searches: tuple[DnsWord, ...] = Field(default=(), description="DNS search domains.")
    options: tuple[DnsOption, ...] = Field(default=(), description="Resolver options.")


class ReadOnlyMount(SpecModel):
    """A Secret or ConfigMap mounted read-only as files."""

    kind: Literal["secret", "config_map"] = Field(description="Kind of object to mount.")
    name: ObjectName = Field(description="Name of the object, in the namespace of the agent's Job.")
    path: AbsolutePath = Field(description="Folder in the pod in which its keys appear as files.")
    optional: bool = Field(
        default=False, description="Start the agent even if the object is missing."
    )


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
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="Environment variables for git, such as HTTPS_PROXY, NO_PROXY or "
        "GIT_SSL_CAINFO. Their values are visible in Prefect.",
    )
    env_from_keys: tuple[EnvFromKey, ...] = Field(
        default=(), description="Environment variables for git from Secrets and ConfigMaps."
    )
    mounts: tuple[ReadOnlyMount, ...] = Field(
        default=(),
        description="Secrets and ConfigMaps to mount read-only as files for git, such as a CA.",
    )

    @property
    def tree(self) -> str:
        """Where the clone lies.

        A folder in the volume, not its root: that belongs to another user, and git uses no such
        clone.
        """
        return f"{self.path.rstrip('/')}/repo"

    @model_validator(mode="after")
    def _check_clone(self) -> Self:
        names = [*self.env, *(item.env for item in self.env_from_keys)]
        for name in names:
            if is_reserved_for_clone(name):
                raise ValueError(f"env: {name} is set by the run itself")
            if names.count(name) > 1:
                raise ValueError(f"env: {name} given more than once")
        for name in self.env:
            if is_credential(name):
                raise ValueError(f"env: {name} is a credential; use env_from_keys")
        return self

    @model_validator(mode="after")
    def _check_folders(self) -> Self:
        for folder in (KEEPER_DIR, KEEPER_SCRIPT_DIR):
            if overlaps(self.path, folder):
                raise ValueError(f"path: {self.path} is used by the run itself")
        for mount in self.mounts:
            for folder in (CREDENTIALS_DIR, KEEPER_DIR, self.path):
                if overlaps(mount.path, folder):
                    raise ValueError(f"mounts: {mount.path} is used by the run itself")
        return self


def mount_source(mount: ReadOnlyMount) -> dict[str, Any]:
    """Return where a volume for a mount comes from, as in a pod's spec."""
    optional = {"optional": True} if mount.optional else {}
    if mount.kind == "secret":
        return {"secret": {"secretName": mount.name, **optional}}
    return {"configMap": {"name": mount.name, **optional}}


def key_reference(item: EnvFromKey) -> dict[str, Any]:
    """Return a variable that is a key's value, as in a container's env."""
    reference: dict[str, Any] = {"name": item.name, "key": item.key}
    if item.optional:
        reference["optional"] = True
    kind = "secretKeyRef" if item.kind == "secret" else "configMapKeyRef"
    return {"name": item.env, "valueFrom": {kind: reference}}
