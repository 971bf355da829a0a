"""The pod of an attempt, by the restricted Pod Security Standard."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.agent_job.git_clone import build_clone_container, clone_volumes, clones_repository
from tasks.agent_job.keeper_container import build_keeper_container, keeper_volumes
from tasks.agent_job.pod_settings import Dns, Resources, Toleration, mount_source
from tasks.agent_job.prepared_run import RUN_SCRIPT_FILE
from tasks.agent_job.run_request import Workspace
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.command_line import INPUT_REFERENCE
from tasks.vocabulary.names import (
    AGENT_CONTAINER,
    HOME_VOLUME,
    INPUT_DIR,
    INPUT_VOLUME,
    TMP_DIR,
    TMP_VOLUME,
    WORK_DIR,
    WORK_VOLUME,
    WORKSPACE_VOLUME,
    AgentId,
    label_value,
)

# Read by the pod's group, which is the volume's, and by nobody else.
_MODE_FOR_THE_GROUP = 0o440
# Where the pod may have no group; only containers with the volume see it.
_MODE_FOR_ALL = 0o444


def build_pod_spec(
    runtime: RuntimeSpec,
    *,
    agent_id: AgentId,
    secret_name: str,
    arguments: Sequence[str],
    working_directory: str,
    environment: Sequence[Mapping[str, Any]],
    workspace: Workspace,
    collects_work: bool,
) -> dict[str, Any]:
    """Return the pod's spec; it holds references to Secrets, never their content.

    Args:
        runtime: Where and how it runs.
        agent_id: Names the agent's own folder on the claim.
        secret_name: The run's Secret; the pod waits for it.
        arguments: The agent's command line, for the run script.
        working_directory: Where the agent works.
        environment: The container's `env`.
        workspace: What the agent works on; cloned first where the runtime says so.
        collects_work: Whether a keeper holds what the agent makes of the clone.
    """
    security_context = _container_security(runtime)
    resources = _resources(runtime.resources)
    container: dict[str, Any] = {
        "name": AGENT_CONTAINER,
        "image": runtime.image,
        "imagePullPolicy": runtime.image_pull_policy,
        "command": ["/bin/sh", f"{INPUT_REFERENCE}/{RUN_SCRIPT_FILE}"],
        "args": list(arguments),
        "workingDir": working_directory,
        "env": list(environment),
        "resources": resources,
        "securityContext": security_context,
        "volumeMounts": _volume_mounts(runtime, agent_id),
    }
    containers = [container]
    volumes = _volumes(runtime, secret_name)
    before: dict[str, Any] = {}
    if runtime.git is not None and clones_repository(runtime.git, workspace):
        container["volumeMounts"].append({"name": WORKSPACE_VOLUME, "mountPath": runtime.git.path})
        volumes += clone_volumes(runtime.git, mode=_file_mode(runtime))
        clone = build_clone_container(
            runtime.git,
            workspace,
            security_context=security_context,
            resources=resources,
            has_keeper=collects_work,
        )
        before = {"initContainers": [clone]}
        if collects_work:
            keeper = build_keeper_container(
                runtime.git,
                runtime.resources,
                patience_seconds=runtime.limits.keeper_patience_seconds,
                checkpoint_seconds=runtime.limits.checkpoint_seconds,
                security_context=security_context,
            )
            containers.append(keeper)
            volumes += keeper_volumes(
                runtime.resources, secret_name=secret_name, mode=_file_mode(runtime)
            )
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": runtime.limits.termination_grace_seconds,
        "automountServiceAccountToken": runtime.automount_service_account_token,
        # Else the env would name every Service of the namespace.
        "enableServiceLinks": False,
        "securityContext": _pod_security(runtime),
        **before,
        "containers": containers,
        "volumes": volumes,
        **_dns(runtime.dns),
        **_placement(runtime),
    }


def _file_mode(runtime: RuntimeSpec) -> int:
    return _MODE_FOR_ALL if runtime.fs_group is None else _MODE_FOR_THE_GROUP


def _container_security(runtime: RuntimeSpec) -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": runtime.read_only_root_filesystem,
        "runAsNonRoot": True,
    }


def _pod_security(runtime: RuntimeSpec) -> dict[str, Any]:
    ids = {
        "runAsUser": runtime.run_as_user,
        "runAsGroup": runtime.run_as_group,
        "fsGroup": runtime.fs_group,
    }
    return {
        "runAsNonRoot": True,
        **{name: number for name, number in ids.items() if number is not None},
        # Walking a home of many files would take longer than starting the agent.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _placement(runtime: RuntimeSpec) -> dict[str, Any]:
    placement = {
        "serviceAccountName": runtime.service_account,
        "imagePullSecrets": [{"name": name} for name in runtime.image_pull_secrets],
        "nodeSelector": dict(runtime.node_selector),
        "tolerations": [_toleration(toleration) for toleration in runtime.tolerations],
    }
    return {field: value for field, value in placement.items() if value}


def _toleration(toleration: Toleration) -> dict[str, Any]:
    fields = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
        "tolerationSeconds": toleration.toleration_seconds,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _dns(dns: Dns) -> dict[str, Any]:
    config = {
        "nameservers": list(dns.nameservers),
        "searches": list(dns.searches),
        "options": [option.model_dump(exclude_none=True) for option in dns.options],
    }
    given = {field: value for field, value in config.items() if value}
    return {"dnsPolicy": dns.policy, **({"dnsConfig": given} if given else {})}


def _resources(resources: Resources) -> dict[str, Any]:
    limits = {
        "cpu": resources.cpu_limit,
        "memory": resources.memory_limit,
        "ephemeral-storage": resources.ephemeral_storage_limit,
    }
    return {
        "requests": {
            "cpu": resources.cpu_request,
            "memory": resources.memory_request,
            "ephemeral-storage": resources.ephemeral_storage_request,
        },
        "limits": {name: limit for name, limit in limits.items() if limit is not None},
    }


def _volume_mounts(runtime: RuntimeSpec, agent_id: AgentId) -> list[dict[str, Any]]:
    home: dict[str, Any] = {"name": HOME_VOLUME, "mountPath": runtime.home_path}
    if runtime.home_claim is not None:
        # The kubelet keeps an agent inside of its folder, so that it cannot read other homes.
        home["subPath"] = f"{runtime.home_sub_path.strip('/')}/{label_value(agent_id)}"
    mounts = [
        {"name": INPUT_VOLUME, "mountPath": INPUT_DIR, "readOnly": True},
        {"name": WORK_VOLUME, "mountPath": WORK_DIR},
        home,
    ]
    if runtime.read_only_root_filesystem:
        mounts.append({"name": TMP_VOLUME, "mountPath": TMP_DIR})
    for number, mount in enumerate(runtime.mounts, start=1):
        name = f"mount-{number}"
        mounts.append({"name": name, "mountPath": mount.path, "readOnly": True})
    return mounts


def _volumes(runtime: RuntimeSpec, secret_name: str) -> list[dict[str, Any]]:
    resources, mode = runtime.resources, _file_mode(runtime)
    local_home = {"emptyDir": {"sizeLimit": resources.ephemeral_storage_limit}}
    claim = {"persistentVolumeClaim": {"claimName": runtime.home_claim}}
    volumes: list[dict[str, Any]] = [
        {
            "name": INPUT_VOLUME,
            "secret": {"secretName": secret_name, "defaultMode": mode, "optional": False},
        },
        {
            "name": WORK_VOLUME,
            "emptyDir": {"sizeLimit": resources.transcript_storage_limit},
        },
        {"name": HOME_VOLUME, **(claim if runtime.home_claim is not None else local_home)},
    ]
    if runtime.read_only_root_filesystem:
        volumes.append(
            {"name": TMP_VOLUME, "emptyDir": {"sizeLimit": resources.ephemeral_storage_limit}}
        )
    for number, mount in enumerate(runtime.mounts, start=1):
        volumes.append({"name": f"mount-{number}", **mount_source(mount)})
    return volumes
