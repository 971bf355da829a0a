"""What a pod template must leave to the run, each with its reason.

The run's invariants rest on these: one pod that is never restarted, a transcript without a gap, an
ending that is known, a prompt that only the agent sees. Everything else is the template's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.agent_job.pod_template_shape import (
    Json,
    object_at,
    objects_at,
    shape_problems,
    text_at,
)
from tasks.agent_job.reserved_names import (
    folder_of,
    is_credential,
    is_own_volume,
    reserved_keys,
    why_not_mountable,
    why_reserved,
)
from tasks.vocabulary.names import (
    AGENT_CONTAINER,
    CLONE_CONTAINER,
    KEEPER_CONTAINER,
    WORKSPACE_VOLUME,
)

_FIRST_PROCESS = "the run script must be the first process of its container"
_HOST_NAME = "the pod is found by the name that its Job gives it"
_POD_FIELDS = {
    "restartPolicy": "an agent is never restarted, because paid work must not repeat by itself",
    "activeDeadlineSeconds": "the Job has a deadline that leaves room for the agent's last words; "
    "set the runtime's `limits`",
    "terminationGracePeriodSeconds": "set the runtime's `limits.termination_grace_seconds`",
    "shareProcessNamespace": _FIRST_PROCESS,
    "hostPID": _FIRST_PROCESS,
    "hostname": _HOST_NAME,
    "hostnameOverride": _HOST_NAME,
    "subdomain": _HOST_NAME,
    "setHostnameAsFQDN": _HOST_NAME,
    "ephemeralContainers": "they can only be added to a pod that runs",
}
# Each holds something of the run's.
_NOT_REMOVED = ("containers", "initContainers", "securityContext", "volumes")

# The others restart every container of the pod, the agent's among them.
_RESTARTS_ITSELF_ALONE = "Restart"

_NOT_AS_ROOT = "Claude Code refuses to work unattended as root"
_FED_BY_THE_RUN = "the run script gives the agent its input"
_TRAILER = "it holds how the agent ended"
_PROBES = "a failed probe would kill the agent; set the runtime's `limits`"
_AGENT_FIELDS = {
    "image": "set the runtime's `image`",
    "command": "the run script starts the agent",
    "args": "the run script starts the agent",
    "workingDir": "set the runtime's `working_directory` or the run's `workspace.cwd`",
    "stdin": _FED_BY_THE_RUN,
    "stdinOnce": _FED_BY_THE_RUN,
    "tty": _FED_BY_THE_RUN,
    "terminationMessagePath": _TRAILER,
    "terminationMessagePolicy": _TRAILER,
    "restartPolicy": _POD_FIELDS["restartPolicy"],
    "restartPolicyRules": _POD_FIELDS["restartPolicy"],
    "lifecycle": "the run script starts and ends the agent",
    "livenessProbe": _PROBES,
    "readinessProbe": _PROBES,
    "startupProbe": _PROBES,
}
# Others are refused: what Kubernetes adds to containers may break what the run relies on.
_AGENT_MAY_HAVE = frozenset(
    {
        "name",
        "env",
        "envFrom",
        "imagePullPolicy",
        "ports",
        "resizePolicy",
        "resources",
        "securityContext",
        "volumeDevices",
        "volumeMounts",
    }
)
# What a cluster may want of every container; the rest is how the agent's work is kept.
_KEEPER_MAY_HAVE = frozenset(
    {"name", "imagePullPolicy", "resizePolicy", "resources", "securityContext"}
)
_KEEPER_FIELDS = {"image": "set the runtime's `git.image`"}
_KEEPER_NOT_AS_ROOT = "it reads what the agent made, which nobody trusts"


@dataclass(frozen=True, slots=True)
class TakenPaths:
    """Folders of the agent's container that the runtime's other fields mount.

    Attributes:
        home: The agent's HOME.
        others: The clone's volume and the clone, the runtime's `mounts`, `/tmp` where it is one.
    """

    home: str
    others: tuple[str, ...]


def pod_template_problems(template: Json, taken: TakenPaths) -> list[str]:
    """Name every field that a pod template must not set, and why; empty if it is accepted.

    Each text begins with the field, such as `spec.containers[agent].command`; none has a value.
    """
    # What has another shape cannot be looked into.
    if problems := shape_problems(template):
        return problems
    spec = object_at(template, "spec")
    volumes = frozenset(text_at(volume, "name") for volume in objects_at(spec, "volumes"))
    problems += [
        *_removed(template, ("metadata", "spec")),
        *_metadata_problems(object_at(template, "metadata")),
        *(f"spec.{name}: {reason}" for name, reason in _POD_FIELDS.items() if name in spec),
        *_removed(spec, _NOT_REMOVED, "spec"),
        *_pod_security_problems(object_at(spec, "securityContext")),
        *(
            f"spec.volumes[{name}]: the run itself has a volume of this name"
            for name in sorted(volumes)
            if name == WORKSPACE_VOLUME or is_own_volume(name)
        ),
    ]
    for field in ("containers", "initContainers"):
        for container in objects_at(spec, field):
            path = f"spec.{field}[{container['name']}]"
            if (field, container["name"]) == ("containers", AGENT_CONTAINER):
                problems += _agent_problems(container, path, volumes, taken)
            elif (field, container["name"]) == ("containers", KEEPER_CONTAINER):
                problems += _keeper_problems(container, path)
            else:
                is_clone = container == {"name": CLONE_CONTAINER} and field == "initContainers"
                problems += [] if is_clone else _other_problems(container, path, volumes)
    return problems


def _metadata_problems(metadata: Json) -> Iterator[str]:
    for name in metadata:
        if name not in {"annotations", "labels"}:
            yield f"metadata.{name}: a template may set labels and annotations only"
    for name in ("annotations", "labels"):
        if name in metadata and metadata[name] is None:
            yield f"metadata.{name}: cannot be removed"
        values = object_at(metadata, name)
        yield from (f"metadata.{name}[{key}]: reserved" for key in reserved_keys(values))
        for key, value in values.items():
            if not isinstance(value, str | None):
                yield f"metadata.{name}[{key}]: must be a text, in quotes"


def _removed(value: Json, names: Iterable[str], path: str = "") -> Iterator[str]:
    for name in names:
        if name in value and value[name] is None:
            yield f"{path}.{name}: cannot be removed".removeprefix(".")


def _pod_security_problems(context: Json) -> Iterator[str]:
    path = "spec.securityContext"
    if "fsGroup" in context:
        yield f"{path}.fsGroup: set the runtime's `fs_group`, by which the agent reads its prompt"
    yield from _root_problems(context, path, _NOT_AS_ROOT)


def _root_problems(context: Json, path: str, reason: str) -> Iterator[str]:
    if context.get("runAsNonRoot", True) is not True:
        yield f"{path}.runAsNonRoot: {reason}"
    if context.get("runAsUser") == 0:
        yield f"{path}.runAsUser: {reason}"


def _agent_problems(
    agent: Json, path: str, volumes: frozenset[str], taken: TakenPaths
) -> Iterator[str]:
    for name in agent:
        if name not in _AGENT_MAY_HAVE:
            reason = _AGENT_FIELDS.get(name, "no template may set it for the agent's container")
            yield f"{path}.{name}: {reason}"
    yield from _removed(agent, ("env", "resources", "securityContext", "volumeMounts"), path)
    resources = object_at(agent, "resources")
    yield from _removed(resources, ("limits",), f"{path}.resources")
    yield from _removed(object_at(resources, "limits"), ("memory",), f"{path}.resources.limits")
    context = object_at(agent, "securityContext")
    yield from _root_problems(context, f"{path}.securityContext", _NOT_AS_ROOT)
    if "readOnlyRootFilesystem" in context:
        yield (
            f"{path}.securityContext.readOnlyRootFilesystem: set the runtime's "
            "`read_only_root_filesystem`, which also gives the agent a /tmp"
        )
    for variable in objects_at(agent, "env"):
        if reason := why_reserved(variable["name"]):
            yield f"{path}.env[{variable['name']}]: {reason}"
    yield from _credential_problems(agent, path)
    for mount in objects_at(agent, "volumeMounts"):
        at = f"{path}.volumeMounts[{mount['mountPath']}]"
        if reason := _why_taken(mount["mountPath"], taken):
            yield f"{at}: {reason}"
        yield from _volume_problems(mount, at, volumes)


def _why_taken(path: str, taken: TakenPaths) -> str | None:
    if reason := why_not_mountable(path, taken.home):
        return reason
    if folder_of(path) == folder_of(taken.home):
        return "it is the runtime's `home_path`"
    if folder_of(path) in map(folder_of, taken.others):
        return "the runtime mounts another volume there"
    return None


def _keeper_problems(keeper: Json, path: str) -> Iterator[str]:
    for name in keeper:
        if name not in _KEEPER_MAY_HAVE:
            reason = _KEEPER_FIELDS.get(name, "no template may set it for the run's own container")
            yield f"{path}.{name}: {reason}"
    yield from _removed(keeper, ("securityContext",), path)
    context = object_at(keeper, "securityContext")
    yield from _root_problems(context, f"{path}.securityContext", _KEEPER_NOT_AS_ROOT)


def _other_problems(container: Json, path: str, volumes: frozenset[str]) -> Iterator[str]:
    name = container["name"]
    if name == AGENT_CONTAINER:
        yield f"{path}: only the agent's container has this name"
    elif name == CLONE_CONTAINER:
        yield f"{path}: set the runtime's `git`; with its name alone it stands for its place"
    elif name == KEEPER_CONTAINER:
        yield f"{path}: only the container that keeps the agent's work has this name"
    for number, rule in enumerate(objects_at(container, "restartPolicyRules")):
        if rule.get("action") != _RESTARTS_ITSELF_ALONE:
            yield f"{path}.restartPolicyRules[{number}].action: {_POD_FIELDS['restartPolicy']}"
    yield from _credential_problems(container, path)
    for mount in objects_at(container, "volumeMounts"):
        at = f"{path}.volumeMounts[{mount['mountPath']}]"
        yield from _volume_problems(mount, at, volumes | {WORKSPACE_VOLUME})


def _credential_problems(container: Json, path: str) -> Iterator[str]:
    for variable in objects_at(container, "env"):
        if is_credential(variable["name"]) and variable.get("value"):
            yield f"{path}.env[{variable['name']}].value: a credential; refer to a Secret instead"


def _volume_problems(mount: Json, path: str, volumes: frozenset[str]) -> Iterator[str]:
    name = text_at(mount, "name")
    if is_own_volume(name):
        yield f"{path}.name: the volume {name} is the run's own"
    elif name not in volumes:
        yield f"{path}.name: the template has no volume of this name"
