"""A connection to the cluster of KUBECONFIG or the embedded one, and a namespace per test module.

The contract tests know nothing but the Kubernetes API, so that the same files judge every server.
"""

import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import pytest_asyncio
from kubernetes import client as official

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.read_only import ServerVersion, read_server_version
from tests.namespaces import make_namespace


@pytest.fixture(scope="session")
def kubeconfig(cluster_kubeconfig: str) -> str:
    """The path of the cluster's kubeconfig; skips where it does not exist."""
    if not Path(cluster_kubeconfig).is_file():
        pytest.skip(f"KUBECONFIG names {cluster_kubeconfig}, which does not exist")
    return cluster_kubeconfig


# One per test, since each test has an event loop of its own; opening it sends nothing.
@pytest_asyncio.fixture
async def cluster_client(kubeconfig: str) -> AsyncGenerator[ClusterClient, None]:
    """The client under test, as the user of the kubeconfig."""
    async with ClusterClient(ClusterConnection.from_kubeconfig_file(kubeconfig)) as client:
        yield client


@pytest_asyncio.fixture
async def admin_client(kubeconfig: str) -> AsyncGenerator[ClusterClient, None]:
    """A client as the administrator, for what others than the product do."""
    path = os.environ.get("ADMIN_KUBECONFIG", kubeconfig)
    async with ClusterClient(ClusterConnection.from_kubeconfig_file(path)) as client:
        yield client


@pytest_asyncio.fixture
async def server_version(cluster_client: ClusterClient) -> ServerVersion:
    return await read_server_version(cluster_client)


@pytest.fixture(scope="module")
def namespace(core_api: official.CoreV1Api) -> Generator[str, None, None]:
    """A fresh namespace for the module, ready for pods, deleted at its end."""
    with make_namespace(core_api, "contract") as name:
        yield name
