"""The environment, command and paths of a container, from its manifest. Pure."""

import base64
import re
from collections.abc import Callable, Mapping

from deployments.local.objects import listed, mapped
from deployments.local.quantities import format_resource
from deployments.local.resources import JsonObject

Lookup = Callable[[str], JsonObject | None]
"""From an object's name to the object, in the pod's namespace."""

_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_VARIABLE_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigError(Exception):
    """The container cannot be made from its manifest; waiting reason CreateContainerConfigError."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is a dollar sign, unknown names stay as they are."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)


class PathRewriter:
    """Replaces mount paths by the directories behind them, where nothing can be mounted.

    A path is replaced wherever it stands as a whole path or as the beginning of a longer one; the
    longest mount path wins.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = {path.rstrip("/") or "/": place for path, place in places.items()}
        paths = sorted(self._places, key=len, reverse=True)
        alternatives = "|".join(re.escape(path) for path in paths)
        self._pattern = re.compile(rf"(?<![\w./-])(?:{alternatives})(?![\w.-])") if paths else None

    def rewrite(self, text: str) -> str:
        """Return `text` with every mount path replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._places[match[0]], text)


class EnvironmentBuilder:
    """Builds the environment of one pod's containers.

    Args:
        pod: The pod as it is now.
        secrets: Finds Secrets.
        config_maps: Finds ConfigMaps.
    """

    def __init__(self, pod: JsonObject, secrets: Lookup, config_maps: Lookup) -> None:
        self._pod = pod
        self._secrets = secrets
        self._config_maps = config_maps

    def build(self, container: JsonObject) -> dict[str, str]:
        """Return the variables of `envFrom` and `env`, references expanded.

        Raises:
            ConfigError: A Secret, ConfigMap or key that is not optional is missing.
        """
        variables: dict[str, str] = {}
        for source in listed(container, "envFrom"):
            variables.update(self._from_source(source))
        for entry in listed(container, "env"):
            if "valueFrom" not in entry:
                variables[entry["name"]] = expand(entry.get("value", ""), variables)
                continue
            value = self._value_from(container, entry["valueFrom"])
            if value is not None:
                variables[entry["name"]] = value
        return variables

    def _from_source(self, source: JsonObject) -> dict[str, str]:
        for field in ("secretRef", "configMapRef"):
            reference = mapped(source, field)
            if reference:
                values = self._values(field.removesuffix("Ref"), reference)
                prefix = source.get("prefix", "")
                return {
                    f"{prefix}{key}": value
                    for key, value in (values or {}).items()
                    if _VARIABLE_NAME.fullmatch(f"{prefix}{key}")
                }
        return {}

    def _values(self, kind: str, reference: JsonObject) -> dict[str, str] | None:
        name = reference.get("name", "")
        obj = self._secrets(name) if kind == "secret" else self._config_maps(name)
        if obj is None:
            if reference.get("optional"):
                return None
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        if kind == "secret":
            return {
                key: base64.b64decode(value).decode(errors="replace")
                for key, value in mapped(obj, "data").items()
            }
        return mapped(obj, "data")

    def _value_from(self, container: JsonObject, source: JsonObject) -> str | None:
        if "fieldRef" in source:
            return pod_field(self._pod, source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return format_resource(container, source["resourceFieldRef"])
        kind = "secret" if "secretKeyRef" in source else "configMap"
        reference = source[f"{kind}KeyRef"]
        values = self._values(kind, reference)
        if values is None:
            return None
        if reference["key"] in values:
            return values[reference["key"]]
        if reference.get("optional"):
            return None
        namespace = self._pod["metadata"]["namespace"]
        label = "Secret" if kind == "secret" else "ConfigMap"
        raise ConfigError(
            f"couldn't find key {reference['key']} in {label} {namespace}/{reference['name']}"
        )


def pod_field(pod: JsonObject, path: str) -> str:
    """Return a field of the downward API; unknown ones are empty."""
    match = _KEYED_FIELD.fullmatch(path)
    if match:
        return mapped(pod["metadata"], match[1]).get(match[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        values = mapped(pod["metadata"], path.partition(".")[2])
        return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))
    section, _, field = path.partition(".")
    return str(mapped(pod, section).get(field, ""))


def container_argv(container: JsonObject, variables: Mapping[str, str]) -> list[str]:
    """Return command and arguments, references expanded."""
    words = [*listed(container, "command"), *listed(container, "args")]
    return [expand(word, variables) for word in words]
