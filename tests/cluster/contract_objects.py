"""Objects that the contract tests create, and where servers of different versions differ."""

import uuid
from typing import Any

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.read_only import ServerVersion, list_pods

IMAGE = "busybox:1.36"

# Everything that the tests expect differently from version to version:
# name -> (first version with the new behaviour, before it, from it on).
DIFFERENCES: dict[str, tuple[tuple[int, int], Any, Any]] = {
    # The handshake of a websocket is a GET. From about here on servers ask for `create` as well:
    # 1.36 does, for the releases between it was read.
    "exec by get alone": ((1, 35), True, False),
}


def expected(name: str, version: ServerVersion) -> Any:
    """Return what a server of this version does, by the table."""
    since, before, after = DIFFERENCES[name]
    return after if (version.major, version.minor) >= since else before


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


class PodGone(LookupError):
    """There is no pod of this name."""


async def pod_named(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    """Return one pod, or raise `PodGone`; the product never reads a pod by its name."""
    found = await list_pods(client, namespace, label_selector="")
    for pod in found.items:
        if pod["metadata"]["name"] == name:
            return pod
    raise PodGone(name)


def lease(name: str, holder: str = "me") -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "labels": {"test": name}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "leaseTransitions": 0},
    }


def secret(name: str, owner: dict[str, Any] | None = None, **data: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": {"test": name}}
    if owner is not None:
        reference = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        metadata["ownerReferences"] = [reference]
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def job(name: str, script: str = "exit 0", *, secret_name: str = "", **spec: Any) -> dict[str, Any]:
    """Return a Job of one pod whose only container `agent` runs `script`.

    Args:
        name: The Job's name, also its label `test`, and its pod's.
        script: For sh.
        secret_name: A Secret that the pod mounts at /input.
        spec: Further fields of the Job's spec.
    """
    container: dict[str, Any] = {
        "name": "agent",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
    }
    pod_spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    if secret_name:
        pod_spec["volumes"] = [{"name": "input", "secret": {"secretName": secret_name}}]
        container["volumeMounts"] = [{"name": "input", "mountPath": "/input", "readOnly": True}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"test": name}, "annotations": {"owner": "me"}},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"test": name}}, "spec": pod_spec},
            **spec,
        },
    }


# Ends at once on SIGTERM, as an agent does, and leaves word of it.
UNTIL_TERM = (
    "trap 'echo stopped; echo by-signal > /dev/termination-log; exit 143' TERM; "
    "echo started; while :; do sleep 0.1; done"
)
