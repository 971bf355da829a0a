"""What every measurement needs: a cluster, a client of it and a namespace of its own."""

import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.figures import Table, render_table
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.connection import ClusterConnection
from tests.embedded_cluster import REPLAY_IMAGE, run_embedded_cluster

_PACKAGES = ("prefect", "prefect-kubernetes", "kubernetes", "kubernetes-asyncio")


@contextmanager
def cluster() -> Generator[str]:
    """Give the kubeconfig of KUBECONFIG's cluster, or of an embedded one where it names none."""
    named = os.environ.get("KUBECONFIG")
    if named:
        yield named
        return
    with run_embedded_cluster() as kubeconfig:
        yield str(kubeconfig)


def python_image() -> str:
    """Return an image with Python, named by REPLAY_IMAGE; the embedded cluster needs none."""
    return os.environ.get("REPLAY_IMAGE", REPLAY_IMAGE)


@asynccontextmanager
async def namespace_of_own(kubeconfig: str) -> AsyncGenerator[tuple[ClusterClient, str]]:
    """Open a client and make a namespace, which is deleted at the end."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    async with ClusterClient(ClusterConnection.from_kubeconfig_file(kubeconfig)) as client:
        await client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        try:
            yield client, name
        finally:
            await client.request("DELETE", f"/api/v1/namespaces/{name}")


def peak_mb() -> float:
    """Return this program's peak; `ru_maxrss` would count the process that started it too."""
    told = Path("/proc/self/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


async def makes_faults(client: ClusterClient) -> bool:
    """Tell whether the cluster is an embedded one, which does what it is told to go wrong."""
    try:
        await client.request("GET", "/_faults")
    except ClusterError:
        return False
    return True


async def describe(kubeconfig: str) -> str:
    """Say on what is measured: date, machine, its load, versions."""
    async with ClusterClient(ClusterConnection.from_kubeconfig_file(kubeconfig)) as client:
        server: Any = (await client.request("GET", "/version")).json
        kind = "embedded cluster, as" if await makes_faults(client) else "cluster of KUBECONFIG,"
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}, load {load}; Python {platform.python_version()}, {packages}, "
        f"kubectl {_kubectl_version()}; {kind} Kubernetes {server['gitVersion']}"
    )


def _kubectl_version() -> str:
    if shutil.which("kubectl") is None:
        return "not installed"
    command = ["kubectl", "version", "--client"]
    told = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout
    return told.splitlines()[0].rpartition(" ")[2] if told else "unknown"


def show(table: Table) -> int:
    """Print a table; return a program's exit code: 1 where a goal is missed."""
    sys.stdout.write(render_table(table) + "\n")
    sys.stdout.flush()
    return int(any(goal.is_missed for goal in table.goals))
