"""Builds the images of the cluster tests, as archives that `ctr`, `docker load` or `kind` take in.

    python -m tests.images.build replay --base BASE.tar --out replay.tar
    python -m tests.images.build real --base BASE.tar --out real.tar
    python -m tests.images.build flow-run --base BASE.tar --out flow-run.tar

`replay` prints recorded sessions (the demo's `replay_claude.py`); `real` has the real Claude Code
CLI, which npm fetches into the folder of `--out`; `flow-run` has what
deployments/images/flow-run.Dockerfile puts into its image, installed by uv. The base is any archive
of one image with a POSIX shell, awk and Python 3.11 or newer; for `flow-run` /usr/bin/python3.11,
here too. An archive that is there, made from the same inputs, is left alone.
"""

import argparse
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tests.images.docker_archive import ImageConfig, LayerFile, append_layer
from tests.images.flow_run_files import FLOW_RUN_CONFIG, application_files, dependency_files

CLAUDE_CODE_VERSION = "2.1.329"  # the version that tests/data/transcripts was recorded with
# The platform's package holds the native binary; the main package only chooses a platform.
CLAUDE_CODE_PACKAGE = f"@anthropic-ai/claude-code-linux-x64@{CLAUDE_CODE_VERSION}"
REFERENCES = {
    "replay": "docker.io/library/agent:replay",
    "real": "docker.io/library/agent:real",
    "flow-run": "docker.io/library/claude-jobs-flow-run:test",
}

_TRANSCRIPTS = Path(__file__).parents[1] / "data" / "transcripts"
_REPLAY_CLAUDE = Path(__file__).parents[2] / "deployments" / "local" / "demo" / "replay_claude.py"
_CLAUDE = PurePosixPath("/usr/local/bin/claude")
_REPLAY_FOLDER = PurePosixPath("/usr/share/replay")


def replay_files(transcripts: Path) -> list[LayerFile]:
    """List what the replay image has on top of its base.

    Raises:
        FileNotFoundError: There are no transcripts; the image would have nothing to replay.
    """
    recordings = sorted(path for path in transcripts.iterdir() if path.suffix != ".md")
    if not recordings:
        raise FileNotFoundError(transcripts)
    return [
        LayerFile(_CLAUDE, _REPLAY_CLAUDE, 0o755),
        *(LayerFile(_REPLAY_FOLDER / path.name, path) for path in recordings),
    ]


def real_files(cache: Path) -> list[LayerFile]:
    """List what the image with the real CLI has on top of its base; fetch the CLI once."""
    folder = cache / f"claude-code-{CLAUDE_CODE_VERSION}"
    binary = folder / "claude"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", str(folder), CLAUDE_CODE_PACKAGE],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        package = folder / packed.stdout.strip().splitlines()[-1]
        unfinished = folder / "claude.unfinished"
        with tarfile.open(package) as archive:
            member = archive.extractfile("package/claude")
            assert member is not None, "the package has no binary"
            with unfinished.open("wb") as out:
                while chunk := member.read(1 << 20):
                    out.write(chunk)
        unfinished.replace(binary)
        package.unlink()
    return [LayerFile(_CLAUDE, binary, 0o755)]


def inputs_digest(base: Path, reference: str, files: Sequence[LayerFile]) -> str:
    """Digest everything the archive is made from; sizes and times stand for large contents."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    digest.update(f"{reference} {base.stat().st_size} {base.stat().st_mtime_ns}".encode())
    for file in files:
        stat = file.source.stat(follow_symlinks=False)
        if file.source.is_symlink():
            content = str(file.source.readlink()).encode()
        elif stat.st_size > 1 << 26:
            content = f"{stat.st_size} {stat.st_mtime_ns}".encode()
        else:
            content = file.source.read_bytes()
        digest.update(f"\0{file.path} {file.mode:o} ".encode() + content)
    return digest.hexdigest()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", choices=sorted(REFERENCES))
    parser.add_argument("--base", type=Path, required=True, help="archive of the image to build on")
    parser.add_argument("--out", type=Path, required=True, help="the archive to write")
    parser.add_argument("--reference", help="name of the image, when not the usual one")
    parser.add_argument("--transcripts", type=Path, default=_TRANSCRIPTS)
    options = parser.parse_args(arguments)
    target: Path = options.out
    base: Path = options.base
    reference: str = options.reference or REFERENCES[options.image]
    match options.image:
        case "replay":
            build(base, target, reference, replay_files(options.transcripts))
        case "real":
            build(base, target, reference, real_files(target.parent))
        case _:
            # In a layer of their own: a node that has them unpacks the application alone.
            environment = target.parent / "flow-run" / ".venv"
            dependencies = target.with_name(f"{target.stem}-dependencies.tar")
            build(base, dependencies, f"{reference}-dependencies", dependency_files(environment))
            build(dependencies, target, reference, application_files(environment), FLOW_RUN_CONFIG)
    sys.stdout.write(f"{reference} {target}\n")
    return 0


def build(
    base: Path,
    target: Path,
    reference: str,
    files: Sequence[LayerFile],
    config: ImageConfig | None = None,
) -> None:
    """Write an archive, unless it is there and was made from the same."""
    key = target.with_suffix(".inputs")
    digest = inputs_digest(base, reference, files)
    if not (target.exists() and key.exists() and key.read_text() == digest):
        append_layer(base, target, reference, files, config)
        key.write_text(digest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
