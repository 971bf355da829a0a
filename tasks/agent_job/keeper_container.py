"""The container that keeps what an agent made until its flow has collected it.

It runs beside the agent's container and outlives it. The work is seen read-only, and nothing of it
is trusted: the keeper has no credential, and a volume of its own that the agent never sees. Of the
run's Secret it sees its own script alone.
"""

from collections.abc import Mapping
from typing import Any

from tasks.agent_job.pod_settings import GitClone, Resources
from tasks.agent_job.quantities import quantity_bytes
from tasks.agent_job.reserved_names import PREFIX
from tasks.claude_code.command_line import escape_for_kubernetes
from tasks.vocabulary.names import (
    ALIVE_FILE,
    KEEPER_CONTAINER,
    KEEPER_DIR,
    KEEPER_SCRIPT,
    KEEPER_SCRIPT_DIR,
    KEEPER_SCRIPT_FILE,
    KEEPER_SCRIPT_VOLUME,
    KEEPER_VOLUME,
    WORK_DIR,
    WORK_VOLUME,
    WORKSPACE_VOLUME,
)

_MEBIBYTE = 2**20


def build_keeper_container(
    clone: GitClone,
    resources: Resources,
    *,
    patience_seconds: int,
    checkpoint_seconds: int,
    security_context: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the container; it holds no reference to a Secret.

    Args:
        clone: How the repository was cloned, whose image has git.
        resources: The agent container's own, and how much is collected at most.
        patience_seconds: How long it waits for a flow after the agent's end.
        checkpoint_seconds: Between two checkpoints while the agent works; 0 for none.
        security_context: The agent container's own.
    """
    environment = {
        "HOME": KEEPER_DIR,
        # The root file system is read-only, and the shell writes here-documents to a file.
        "TMPDIR": KEEPER_DIR,
        f"{PREFIX}KEEPER_TREE": clone.tree,
        f"{PREFIX}KEEPER_DIR": KEEPER_DIR,
        f"{PREFIX}KEEPER_ALIVE_FILE": ALIVE_FILE,
        f"{PREFIX}KEEPER_PATIENCE_SECONDS": str(patience_seconds),
        f"{PREFIX}KEEPER_CHECKPOINT_SECONDS": str(checkpoint_seconds),
        f"{PREFIX}KEEPER_LIMIT_BYTES": str(quantity_bytes(resources.work_limit)),
    }
    return {
        "name": KEEPER_CONTAINER,
        "image": clone.image,
        "imagePullPolicy": clone.image_pull_policy,
        "command": ["/bin/sh", KEEPER_SCRIPT],
        "env": [
            {"name": name, "value": escape_for_kubernetes(value)}
            for name, value in environment.items()
        ],
        "workingDir": KEEPER_DIR,
        "resources": _keeper_resources(resources),
        "securityContext": {**security_context, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": KEEPER_SCRIPT_VOLUME, "mountPath": KEEPER_SCRIPT_DIR, "readOnly": True},
            {"name": WORK_VOLUME, "mountPath": WORK_DIR, "readOnly": True},
            {"name": WORKSPACE_VOLUME, "mountPath": clone.path, "readOnly": True},
            keeper_mount(),
        ],
    }


def keeper_mount() -> dict[str, Any]:
    """Return the mount of the keeper's own volume, for writing."""
    return {"name": KEEPER_VOLUME, "mountPath": KEEPER_DIR}


def keeper_volumes(resources: Resources, *, secret_name: str, mode: int) -> list[dict[str, Any]]:
    """Return the keeper's own volume, and the one with its script.

    Args:
        resources: How much is collected at most.
        secret_name: The run's Secret.
        mode: Of the script's file.
    """
    script = {
        "secretName": secret_name,
        "items": [{"key": KEEPER_SCRIPT_FILE, "path": KEEPER_SCRIPT_FILE}],
        "defaultMode": mode,
        "optional": False,
    }
    return [
        {"name": KEEPER_VOLUME, "emptyDir": {"sizeLimit": _volume_limit(resources)}},
        {"name": KEEPER_SCRIPT_VOLUME, "secret": script},
    ]


def _volume_limit(resources: Resources) -> str:
    # The pack, what it is made of, and a checkpoint that is sent while the next one is made.
    size = 3 * quantity_bytes(resources.work_limit) + 64 * _MEBIBYTE
    return f"{-(-size // _MEBIBYTE)}Mi"


def _keeper_resources(resources: Resources) -> dict[str, Any]:
    # A quota for a kind of limit admits no pod with a container that has none; so the keeper has
    # those that the agent has.
    cpu = {"cpu": "1"} if resources.cpu_limit is not None else {}
    return {
        "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "64Mi"},
        # What lies in a pod's volumes counts against the sum of its containers' limits, so this one
        # makes room for the keeper's volume.
        "limits": {**cpu, "memory": "512Mi", "ephemeral-storage": _volume_limit(resources)},
    }
