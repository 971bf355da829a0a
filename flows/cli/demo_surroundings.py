"""The demo's embedded cluster and Prefect server, both temporary."""

import os
import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flows.cli.local_processes import (
    CHECKOUT,
    OwnProcess,
    end_all,
    free_port,
    local_cluster_command,
    program,
    wait_for_file,
    wait_for_url,
    with_checkout,
)

RECORDINGS = "recordings"  # folder of the demo's folder

_DEMO_DATA = CHECKOUT / "deployments" / "local" / "demo"
# Prefect creates its database first and takes ten seconds to start on an idle machine.
_START_SECONDS = 180.0


@dataclass(frozen=True)
class Surroundings:
    """The environment of the demo, all of it temporary.

    Attributes:
        folder: Folder for all files.
        kubeconfig: Kubeconfig of the embedded cluster.
        environment: Environment variables of the run, with the demo's Prefect API.
        prefect_url: URL of the Prefect server.
    """

    folder: Path
    kubeconfig: Path
    environment: dict[str, str]
    prefect_url: str


@contextmanager
def start_surroundings(
    folder: Path, console: Console, *, serve_ui: bool, replay: bool
) -> Generator[Surroundings]:
    """Start the embedded cluster and a Prefect server together, and stop both at the end.

    Raises:
        StartFailed: One of them did not start.
    """
    began = time.monotonic()
    console.print("[bold]Starting an embedded Kubernetes and a Prefect server[/], both temporary.")
    console.print("[dim]Containers are processes on this machine: there is no sandbox.[/]")
    kubeconfig = folder / "kubeconfig"
    port = free_port()
    prefect_url = f"http://127.0.0.1:{port}"
    environment = _build_environment(folder, prefect_url)
    bin_options = ["--bin", _install_replaying_claude(folder)] if replay else []
    with ExitStack() as stack:
        processes: list[OwnProcess] = []
        stack.callback(end_all, processes)
        cluster = OwnProcess(
            "The embedded cluster",
            local_cluster_command(["--kubeconfig", kubeconfig, *bin_options]),
            with_checkout(environment),
            folder,
            folder / "cluster.log",
        )
        processes.append(cluster)
        server = OwnProcess(
            "The Prefect server",
            [
                *(program("prefect"), "server", "start", "--host", "127.0.0.1"),
                *("--port", str(port), "--ui" if serve_ui else "--no-ui"),
            ],
            environment,
            folder,
            folder / "prefect.log",
        )
        processes.append(server)
        wait_for_file(kubeconfig, cluster, _START_SECONDS)
        wait_for_url(f"{prefect_url}/api/health", server, _START_SECONDS)
        console.print(f"[dim]Both ready after {time.monotonic() - began:.0f} s.[/]\n")
        yield Surroundings(folder, kubeconfig, environment, prefect_url)


def _build_environment(folder: Path, prefect_url: str) -> dict[str, str]:
    """Return the current environment, with only the demo's Prefect settings."""
    environment = {key: value for key, value in os.environ.items() if not _is_replaced(key)}
    local = [environment.get("NO_PROXY") or environment.get("no_proxy") or "", "127.0.0.1"]
    no_proxy = ",".join(filter(None, local))
    # This environment's interpreter comes last, in case there is no other `python3` on PATH.
    path = os.pathsep.join([environment.get("PATH", os.defpath), str(program("python3").parent)])
    return environment | {
        "PATH": path,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{prefect_url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def _is_replaced(variable: str) -> bool:
    return variable.startswith("PREFECT_") or variable == "KUBECONFIG"


def _install_replaying_claude(folder: Path) -> Path:
    # Copied, because not every user can read a checkout in a home folder.
    binaries, recordings = folder / "bin", folder / RECORDINGS
    binaries.mkdir()
    shutil.copy(_DEMO_DATA / "replay_claude.py", binaries / "claude")
    (binaries / "claude").chmod(0o755)
    shutil.copytree(_DEMO_DATA, recordings, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in (binaries, recordings, *recordings.iterdir()):
        path.chmod(0o755)
    return binaries
