import hashlib
import io
import json
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.images.docker_archive import LayerFile, append_layer, write_layer


def _write_base(path: Path, images: int = 1) -> bytes:
    """Write an archive of one-layer images and return that layer."""
    layer = b"\0" * 10240
    config = json.dumps(
        {
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
        }
    ).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["base:1"], "Layers": ["layer.tar"]}] * images
    with tarfile.open(path, "w") as archive:
        for name, content in (
            ("manifest.json", json.dumps(manifest).encode()),
            ("c.json", config),
            ("layer.tar", layer),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return layer


def _file(folder: Path, name: str, content: bytes, mode: int = 0o644) -> LayerFile:
    source = folder / name
    source.write_bytes(content)
    return LayerFile(PurePosixPath("/usr/share/replay", name), source, mode)


def test_layer_of_the_same_files_is_the_same_whatever_their_order_and_times(
    tmp_path: Path,
) -> None:
    files = [_file(tmp_path, "b", b"two"), _file(tmp_path, "a", b"one")]
    first = write_layer(tmp_path / "first.tar", files)
    os.utime(tmp_path / "a", (1, 1))

    second = write_layer(tmp_path / "second.tar", reversed(files))

    assert first == second == hashlib.sha256((tmp_path / "first.tar").read_bytes()).hexdigest()


def test_layer_names_folders_before_their_files_and_root_as_owner(tmp_path: Path) -> None:
    write_layer(tmp_path / "layer.tar", [_file(tmp_path, "claude", b"#!", 0o755)])

    with tarfile.open(tmp_path / "layer.tar") as layer:
        members = [(m.name, oct(m.mode), m.uid, m.isdir()) for m in layer.getmembers()]
    assert members == [
        ("usr", "0o755", 0, True),
        ("usr/share", "0o755", 0, True),
        ("usr/share/replay", "0o755", 0, True),
        ("usr/share/replay/claude", "0o755", 0, False),
    ]


def test_appended_layer_stands_above_the_base_under_the_new_name(tmp_path: Path) -> None:
    base_layer = _write_base(tmp_path / "base.tar")
    target = tmp_path / "cache" / "replay.tar"

    append_layer(tmp_path / "base.tar", target, "agent:dev", [_file(tmp_path, "ok", b"line\n")])

    with tarfile.open(target) as archive:
        contents = {m.name: archive.extractfile(m) for m in archive.getmembers()}
        read = {name: file.read() for name, file in contents.items() if file}
    manifest: dict[str, Any] = json.loads(read["manifest.json"])[0]
    config = json.loads(read[manifest["Config"]])
    assert manifest["RepoTags"] == ["agent:dev"]
    assert manifest["Layers"][0] == "layer.tar"
    assert read["layer.tar"] == base_layer
    assert config["config"] == {"Cmd": ["sh"]}
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(read[name]).hexdigest()}" for name in manifest["Layers"]
    ]
    assert manifest["Config"] == f"{hashlib.sha256(read[manifest['Config']]).hexdigest()}.json"
    assert [path.name for path in target.parent.iterdir()] == ["replay.tar"]


def test_base_of_several_images_is_refused(tmp_path: Path) -> None:
    _write_base(tmp_path / "base.tar", images=2)

    with pytest.raises(ValueError, match="holds 2 images"):
        append_layer(tmp_path / "base.tar", tmp_path / "out.tar", "agent:dev", [])

    assert not (tmp_path / "out.tar").exists()
