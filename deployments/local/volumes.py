"""Directories behind a pod's volumes."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

from deployments.local.containers import Mount
from deployments.local.environment import Lookup, pod_field
from deployments.local.objects import listed, mapped
from deployments.local.resources import JsonObject

TokenIssuer = Callable[[JsonObject, int], str]


class MountError(Exception):
    """A volume cannot be mounted yet; the text is that of the FailedMount event."""


class PodVolumes:
    """The volumes of one pod.

    Args:
        pod: The pod.
        folder: The pod's own directory.
        secrets: Finds Secrets.
        config_maps: Finds ConfigMaps.
        claims: From a claim's name to its directory, or None while it is unbound.
        issue_token: Makes a ServiceAccount token for a projected volume.
    """

    def __init__(
        self,
        pod: JsonObject,
        folder: Path,
        secrets: Lookup,
        config_maps: Lookup,
        claims: Callable[[str], Path | None],
        issue_token: TokenIssuer,
    ) -> None:
        self._pod = pod
        self._folder = folder / "volumes"
        self._secrets = secrets
        self._config_maps = config_maps
        self._claims = claims
        self._issue_token = issue_token
        self._places: dict[str, Path] = {}

    def mount_all(self) -> None:
        """Make every volume's directory.

        Raises:
            MountError: One of them is not ready.
        """
        for volume in listed(self._pod["spec"], "volumes"):
            name = volume["name"]
            if name not in self._places:
                self._places[name] = self._make(volume)

    def mounts_of(self, container: JsonObject) -> Iterator[Mount]:
        """Yield the container's mounts."""
        for mount in listed(container, "volumeMounts"):
            source = self._places[mount["name"]]
            sub_path = mount.get("subPath") or ""
            if sub_path:
                source = source / sub_path
                if not source.exists():
                    source.mkdir(parents=True)
            yield Mount(source, mount["mountPath"], bool(mount.get("readOnly")))

    def _make(self, volume: JsonObject) -> Path:
        name = volume["name"]
        if "hostPath" in volume:
            return _host_path(volume["hostPath"])
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            place = self._claims(claim)
            if place is None:
                raise MountError(f'persistentvolumeclaim "{claim}" is not bound')
            return place
        files: dict[str, tuple[bytes, int]] = {}
        if "emptyDir" not in volume:
            files = dict(self._files(volume, name))
        place = self._folder / name
        place.mkdir(parents=True)
        for path, (content, mode) in files.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(mode)
        return place

    def _files(self, volume: JsonObject, name: str) -> Iterator[tuple[str, tuple[bytes, int]]]:
        for kind in ("secret", "configMap", "downwardAPI"):
            if kind in volume:
                yield from self._source_files(kind, volume[kind], volume[kind], name)
        projected = mapped(volume, "projected")
        for source in listed(projected, "sources"):
            for kind, part in source.items():
                yield from self._source_files(kind, part, projected, name)

    def _source_files(
        self, kind: str, source: JsonObject, defaults: JsonObject, volume: str
    ) -> Iterator[tuple[str, tuple[bytes, int]]]:
        mode: int = defaults.get("defaultMode", 0o644)
        match kind:
            case "downwardAPI":
                for item in listed(source, "items"):
                    value = pod_field(self._pod, mapped(item, "fieldRef").get("fieldPath", ""))
                    yield item["path"], (value.encode(), item.get("mode", mode))
            case "serviceAccountToken":
                token = self._issue_token(self._pod, source["expirationSeconds"])
                yield source["path"], (token.encode(), mode)
            case _:
                values = self._values(kind, source, volume)
                everything: list[JsonObject] = [{"key": key, "path": key} for key in values]
                for item in listed(source, "items") or everything:
                    if item["key"] not in values:
                        if source.get("optional"):
                            continue
                        raise MountError(
                            f'MountVolume.SetUp failed for volume "{volume}" : references '
                            f"non-existent {'secret' if kind == 'secret' else 'config'} key: "
                            f"{item['key']}"
                        )
                    yield item["path"], (values[item["key"]], item.get("mode", mode))

    def _values(self, kind: str, source: JsonObject, volume: str) -> dict[str, bytes]:
        is_secret = kind == "secret"
        name = source.get("secretName") or source.get("name", "")
        obj = self._secrets(name) if is_secret else self._config_maps(name)
        if obj is None:
            if source.get("optional"):
                return {}
            raise MountError(
                f'MountVolume.SetUp failed for volume "{volume}" : '
                f'{"secret" if is_secret else "configmap"} "{name}" not found'
            )
        encoded = mapped(obj, "data" if is_secret else "binaryData")
        values = {key: base64.b64decode(value) for key, value in encoded.items()}
        if not is_secret:
            values.update({key: value.encode() for key, value in mapped(obj, "data").items()})
        return values


def _host_path(source: JsonObject) -> Path:
    place = Path(source["path"])
    match source.get("type", ""):
        case "DirectoryOrCreate":
            place.mkdir(parents=True, exist_ok=True)
        case "FileOrCreate":
            place.touch()
        case "Directory" if not place.is_dir():
            raise MountError(f"hostPath type check failed: {place} is not a directory")
        case _:
            pass
    return place
