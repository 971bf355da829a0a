"""The runtime's pod template in the pod of an attempt, and the Secrets it refers to."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.agent_job.pod_template_shape import Json, leaves, object_at, objects_at, text_at
from tasks.agent_job.strategic_merge import POD_TEMPLATE, merge_strategically
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import (
    AGENT_CONTAINER,
    CLONE_CONTAINER,
    KEEPER_CONTAINER,
    AgentId,
    is_run_secret,
)


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A Kubernetes Secret that a pod template refers to.

    Attributes:
        key: The one key that is used; `None` for all of them.
        optional: Whether the pod starts without it.
    """

    name: str
    key: str | None
    optional: bool


def apply_pod_template(
    pod: dict[str, Any], template: Json, *, without_env: Collection[str]
) -> dict[str, Any]:
    """Return a pod template with the runtime's own merged into it, as `kubectl patch` does.

    An init container that is nothing but the clone's name is left out where nothing is cloned, and
    what is said of the keeper where there is none.

    Args:
        pod: Metadata and spec of the attempt's pod.
        template: Accepted by `pod_template_problems`.
        without_env: Variables of the agent for which the template does not count.
    """
    spec = object_at(template, "spec")
    cloned = "initContainers" in pod["spec"]
    kept = any(container["name"] == KEEPER_CONTAINER for container in pod["spec"]["containers"])
    parts: dict[str, list[Any]] = {
        "containers": [
            _without(container, without_env) if container["name"] == AGENT_CONTAINER else container
            for container in objects_at(spec, "containers")
            if kept or container["name"] != KEEPER_CONTAINER
        ],
        "initContainers": [
            container
            for container in objects_at(spec, "initContainers")
            if cloned or container["name"] != CLONE_CONTAINER
        ],
    }
    counting = {name: parts.get(name, value) for name, value in spec.items()}
    return merge_strategically(pod, {**template, "spec": counting}, POD_TEMPLATE)


def _without(container: Json, names: Collection[str]) -> Json:
    if "env" not in container:
        return container
    kept = [entry for entry in objects_at(container, "env") if entry["name"] not in names]
    return {**container, "env": kept}


def agent_env_of(template: Json) -> dict[str, Json]:
    """Return the agent's env in a pod template, by name."""
    containers = objects_at(object_at(template, "spec"), "containers")
    return {
        variable["name"]: variable
        for container in containers
        if container["name"] == AGENT_CONTAINER
        for variable in objects_at(container, "env")
    }


def plain_env_by_container(template: Json) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the plain values in the env of each container of a pod template, with its name."""
    spec = object_at(template, "spec")
    for field in ("initContainers", "containers"):
        for container in objects_at(spec, field):
            env = {variable["name"]: variable for variable in objects_at(container, "env")}
            yield container["name"], values_of(env)


def values_of(variables: Mapping[str, Json]) -> dict[str, str]:
    """Return the plain values among variables, by name."""
    values = {name: text_at(variable, "value") for name, variable in variables.items()}
    return {name: value for name, value in values.items() if value}


def refuse_run_secrets(template: Json, agent_id: AgentId) -> None:
    """Refuse every mention of the Secrets with this agent's prompts.

    Raises:
        InputInvalid: Names the fields.
    """
    found = [
        path
        for path, value in leaves(template)
        if isinstance(value, str) and is_run_secret(agent_id, value)
    ]
    if found:
        raise InputInvalid(
            f"The runtime's pod_template is not valid: {', '.join(found)} names a Secret of the "
            "agent's runs, which only the agent's container may read."
        )


def secrets_of_template(template: Json) -> list[SecretUse]:
    """Return the Secrets of which a pod template uses values: in env and in volumes."""
    spec = object_at(template, "spec")
    found: list[SecretUse] = []
    for field in ("initContainers", "containers"):
        for container in objects_at(spec, field):
            found += _secrets_in_env(container)
    for volume in objects_at(spec, "volumes"):
        found += _secrets_in_volume(volume)
    return [use for use in found if use.name]


def pull_secrets_of_template(template: Json) -> list[str]:
    """Return the Secrets with registry credentials that a pod template adds."""
    spec = object_at(template, "spec")
    return [text_at(item, "name") for item in objects_at(spec, "imagePullSecrets")]


def _secrets_in_env(container: Json) -> Iterator[SecretUse]:
    for variable in objects_at(container, "env"):
        reference = object_at(object_at(variable, "valueFrom"), "secretKeyRef")
        yield _use(reference, "name", key=text_at(reference, "key"))
    for source in objects_at(container, "envFrom"):
        yield _use(object_at(source, "secretRef"), "name")


def _secrets_in_volume(volume: Json) -> Iterator[SecretUse]:
    yield _use(object_at(volume, "secret"), "secretName")
    for source in objects_at(object_at(volume, "projected"), "sources"):
        yield _use(object_at(source, "secret"), "name")


def _use(reference: Json, name: str, key: str | None = None) -> SecretUse:
    return SecretUse(text_at(reference, name), key, reference.get("optional") is True)
