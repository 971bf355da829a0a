"""The embedded cluster for tests that any cluster will do for, where KUBECONFIG names none."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from flows.cli.local_processes import (
    CHECKOUT,
    OwnProcess,
    end_all,
    local_cluster_command,
    wait_for_file,
    with_checkout,
)

REPLAY_IMAGE = "claude-jobs/tests:replay"  # images are not looked into: `claude` comes from PATH

_START_SECONDS = 60.0
_CLAUDE = """#!/bin/sh
{first}
export CASES='{cases}'
[ -z "$CASE_SCRIPT" ] || exec sh -c "$CASE_SCRIPT" claude "$@"
REPLAY_DIR=${{REPLAY_DIR:-'{recordings}'}} exec python3 '{replay}' "$@"
"""


@contextmanager
def run_embedded_cluster() -> Generator[Path]:
    """Run a cluster whose containers find a replaying `claude`; gives its kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="claude-jobs-cluster-") as name:
        folder = Path(name)
        kubeconfig = folder / "kubeconfig"
        process = OwnProcess(
            "The embedded cluster",
            local_cluster_command(["--kubeconfig", kubeconfig, "--bin", install_claude(folder)]),
            with_checkout(os.environ),
            folder,
            folder / "cluster.log",
        )
        try:
            wait_for_file(kubeconfig, process, _START_SECONDS)
            yield kubeconfig
        finally:
            end_all([process])


def install_claude(folder: Path, first: str = "") -> Path:
    """Return a folder with a replaying `claude`, for `--bin`; it runs the shell line `first`.

    CASE_SCRIPT in its environment is run instead, with the folder of the public cases in CASES.
    """
    # Copied to where every user can read it: containers run as another one where this is root.
    binaries, recordings, cases = folder / "bin", folder / "recordings", folder / "cases"
    binaries.mkdir()
    shutil.copytree(CHECKOUT / "tests" / "data" / "transcripts", recordings)
    shutil.copytree(CHECKOUT / "tests" / "data" / "public_cases", cases)
    replay = binaries / "replay_claude.py"
    shutil.copy(CHECKOUT / "deployments" / "local" / "demo" / replay.name, replay)
    claude = binaries / "claude"
    claude.write_text(
        _CLAUDE.format(first=first, cases=cases, recordings=recordings, replay=replay)
    )
    for path in (
        folder,
        *(found for made in (binaries, recordings, cases) for found in (made, *made.iterdir())),
    ):
        path.chmod(0o755)
    return binaries
