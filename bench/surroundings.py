"""What every measurement needs: a cluster, a client of it and a namespace of its own."""

import os
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from tasks.cluster.client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tests.embedded_cluster import REPLAY_IMAGE, run_embedded_cluster


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
