"""A namespace to be swept, with flow runs that a real Prefect server knows."""

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from kubernetes import client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.cluster.client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tests.prefect_server import PrefectServer
from tests.sweep.orphanage import Orphanage


@pytest.fixture
def connection(cluster_kubeconfig: str) -> ClusterConnection:
    return ClusterConnection.from_kubeconfig_file(cluster_kubeconfig)


@pytest.fixture
def swept_namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    name = f"sweep-{uuid.uuid4().hex[:8]}"
    body: Any = {"metadata": {"name": name}}
    core_api.create_namespace(body)
    while not core_api.list_namespaced_service_account(name).items:
        time.sleep(0.1)
    yield name
    core_api.delete_namespace(name)


@pytest.fixture
def prefect_api(prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """Prefect as this very process sees it."""
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        yield prefect_server


@pytest.fixture
async def orphanage(
    connection: ClusterConnection, swept_namespace: str, prefect_api: PrefectServer
) -> AsyncIterator[Orphanage]:
    async with ClusterClient(connection) as cluster:
        yield Orphanage(cluster, swept_namespace, prefect_api)
