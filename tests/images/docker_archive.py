"""Docker archives made without Docker: one more layer on an image that exists as a file.

No container engine is needed, and the new layer's digest depends on its content alone, so a node
that has the base image unpacks the new layer only.

Source:
    Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LayerFile:
    """One regular file or symbolic link of a layer, owned by root.

    Attributes:
        path: Absolute path in the image.
        source: The file on this machine with its content, or the link to take over as it is.
        mode: Permission bits in the image.
    """

    path: PurePosixPath
    source: Path
    mode: int = 0o644


@dataclass(frozen=True)
class ImageConfig:
    """What an image sets for its containers beyond its base; empty means as the base.

    Attributes:
        user: `UID:GID`.
        working_directory: Absolute path in the image.
        env: Variables, those of the base replaced by name.
    """

    user: str = ""
    working_directory: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str])


def write_layer(target: Path, files: Iterable[LayerFile]) -> str:
    """Write an uncompressed layer of `files` and return its SHA-256, its diff id, in hex.

    The same files give the same bytes on any machine: order, owner and times are fixed.
    """
    ordered = sorted(files, key=lambda file: str(file.path))
    folders = {parent for file in ordered for parent in file.path.parents if parent.name}
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as layer:
        for folder in sorted(folders, key=str):
            entry = tarfile.TarInfo(str(folder).lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        for file in ordered:
            entry = tarfile.TarInfo(str(file.path).lstrip("/"))
            if file.source.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(file.source.readlink())
                layer.addfile(entry)
                continue
            entry.size, entry.mode = file.source.stat().st_size, file.mode
            with file.source.open("rb") as content:
                layer.addfile(entry, content)
    with target.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def append_layer(
    base: Path,
    target: Path,
    reference: str,
    files: Iterable[LayerFile],
    config: ImageConfig | None = None,
) -> None:
    """Write `target`, an archive of `base`'s image plus one layer, under the name `reference`.

    An unfinished target never stands under its name.

    Args:
        base: Archive of one image.
        target: The archive to write.
        reference: Name of the new image.
        files: The new layer.
        config: What changes for the containers; nothing when absent.

    Raises:
        ValueError: `base` does not hold exactly one image.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    with TemporaryDirectory(dir=target.parent) as scratch, tarfile.open(base) as archive:
        layer = Path(scratch, "layer.tar")
        diff_id = write_layer(layer, files)
        images: list[dict[str, Any]] = json.load(_member(archive, "manifest.json"))
        if len(images) != 1:
            message = f"{base} holds {len(images)} images, expected one"
            raise ValueError(message)
        config_bytes = _config_with_layer(
            _member(archive, images[0]["Config"]).read(), diff_id, config or ImageConfig()
        )
        config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
        layer_name = f"{diff_id}/layer.tar"
        base_layers: list[str] = images[0]["Layers"]
        manifest = [
            {"Config": config_name, "RepoTags": [reference], "Layers": [*base_layers, layer_name]}
        ]
        with _writing(unfinished) as out:
            _add_bytes(out, "manifest.json", json.dumps(manifest).encode())
            _add_bytes(out, config_name, config_bytes)
            for name in base_layers:
                entry = tarfile.TarInfo(name)
                entry.size = archive.getmember(name).size
                out.addfile(entry, _member(archive, name))
            entry = tarfile.TarInfo(layer_name)
            entry.size = layer.stat().st_size
            with layer.open("rb") as content:
                out.addfile(entry, content)
    unfinished.replace(target)


def _config_with_layer(base_config: bytes, diff_id: str, changes: ImageConfig) -> bytes:
    config: dict[str, Any] = json.loads(base_config)
    container: dict[str, Any] = config.setdefault("config", {})
    if changes.user:
        container["User"] = changes.user
    if changes.working_directory:
        container["WorkingDir"] = changes.working_directory
    if changes.env:
        base_env: list[str] = container.get("Env") or []
        kept = [entry for entry in base_env if entry.partition("=")[0] not in changes.env]
        container["Env"] = [*kept, *(f"{name}={value}" for name, value in changes.env.items())]
    config["rootfs"]["diff_ids"].append(f"sha256:{diff_id}")
    config.setdefault("history", []).append(
        {"created": "1970-01-01T00:00:00Z", "created_by": "claude-jobs tests"}
    )
    return json.dumps(config, sort_keys=True).encode()


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    content = archive.extractfile(name)
    if content is None:
        message = f"{name} is not a file in {archive.name!r}"
        raise ValueError(message)
    return content


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


@contextmanager
def _writing(path: Path) -> Generator[tarfile.TarFile]:
    with path.open("wb", buffering=_CHUNK_BYTES) as file, tarfile.open(fileobj=file, mode="w") as t:
        yield t
