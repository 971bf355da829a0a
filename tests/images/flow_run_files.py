"""What the flow-run image of the cluster tests has on top of its base.

The same as `deployments/images/flow-run.Dockerfile` installs, with the same commands, into a
folder instead of an image; a test keeps the two alike.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tests.images.docker_archive import ImageConfig, LayerFile

APP_FOLDER = PurePosixPath("/opt/claude-jobs")
FLOW_RUN_CONFIG = ImageConfig(
    user="1000:1000",
    working_directory=str(APP_FOLDER),
    env={
        "PATH": f"{APP_FOLDER}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # where everybody may write
        "PREFECT_HOME": "/tmp/prefect",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    },
)
INSTALL_DEPENDENCIES = "uv sync --locked --no-dev --no-install-project"
INSTALL_APPLICATION = (
    "uv sync --locked --no-dev --no-editable --reinstall-package claude-jobs"  # its files changed
)
COMPILE = {"UV_COMPILE_BYTECODE": "1", "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}

_ROOT = Path(__file__).parents[2]
_PYTHON = "/usr/bin/python3.11"  # where the base image has it, since the environment points there
_DEPLOYMENT = PurePosixPath("deployments/prefect.yaml")
# What the application itself installs, in the environment's folders.
_OWN_NAMES = frozenset({"blocks", "flows", "tasks", "claude-jobs"})


def dependency_files(environment: Path) -> list[LayerFile]:
    """Install what the application needs into a folder, and list it; done again for a new lock."""
    wanted, installed = _ROOT / "uv.lock", environment.with_name("installed.lock")
    if not (installed.exists() and installed.read_bytes() == wanted.read_bytes()):
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run(
            ["uv", "venv", "--quiet", "--relocatable", "--python", _PYTHON, environment], check=True
        )
        _sync(INSTALL_DEPENDENCIES, environment, **COMPILE)
        shutil.copyfile(wanted, installed)
    return [file for file in _files(environment) if not _is_own(file.path)]


def application_files(environment: Path) -> list[LayerFile]:
    """Install the application itself, and list its files."""
    _sync(INSTALL_APPLICATION, environment)
    return [
        LayerFile(APP_FOLDER / _DEPLOYMENT, _ROOT / _DEPLOYMENT),
        *(file for file in _files(environment) if _is_own(file.path)),
    ]


def _sync(command: str, environment: Path, **settings: str) -> None:
    subprocess.run(
        [*command.split(), "--quiet", "--link-mode", "copy"],
        cwd=_ROOT,
        env={**os.environ, **settings, "UV_PROJECT_ENVIRONMENT": str(environment)},
        check=True,
    )


def _files(environment: Path) -> Iterator[LayerFile]:
    for path in sorted(environment.rglob("*")):
        if path.is_symlink() or path.is_file():
            mode = path.stat(follow_symlinks=False).st_mode & 0o777
            yield LayerFile(APP_FOLDER / ".venv" / path.relative_to(environment), path, mode)


def _is_own(path: PurePosixPath) -> bool:
    folders = path.relative_to(APP_FOLDER / ".venv").parts
    own_place = folders[3:4] if folders[0] == "lib" else folders[1:2]
    return bool(own_place) and (
        own_place[0] in _OWN_NAMES or own_place[0].startswith("claude_jobs-")
    )
