"""A namespace to be swept, with flow runs that a real Prefect server knows."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tests.cluster.service_accounts import connection_with_token
from tests.namespaces import make_namespace
from tests.prefect_server import PrefectServer
from tests.sweep.orphanage import Orphanage

ROLE_FILE = Path(__file__).parents[2] / "deployments" / "kubernetes" / "base" / "sweep-role.yaml"


@pytest.fixture
def connection(
    core_api: client.CoreV1Api, cluster_kubeconfig: str, swept_namespace: str
) -> ClusterConnection:
    """What sweeps use: an account with the shipped Role and nothing else."""
    library: Any = client
    api: Any = core_api
    rbac = library.RbacAuthorizationV1Api(api.api_client)
    metadata = {"name": "sweep", "namespace": swept_namespace}
    [rules] = [d["rules"] for d in yaml.safe_load_all(ROLE_FILE.read_text()) if "rules" in d]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "sweep"}
    account = {"kind": "ServiceAccount", **metadata}
    api.create_namespaced_service_account(swept_namespace, {"metadata": metadata})
    rbac.create_namespaced_role(swept_namespace, {"metadata": metadata, "rules": rules})
    rbac.create_namespaced_role_binding(
        swept_namespace, {"metadata": metadata, "roleRef": role, "subjects": [account]}
    )
    answer = api.create_namespaced_service_account_token(
        "sweep", swept_namespace, {"spec": {"expirationSeconds": 3600}}
    )
    return connection_with_token(cluster_kubeconfig, answer.status.token)


@pytest.fixture
def swept_namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    with make_namespace(core_api, "sweep") as name:
        yield name


@pytest.fixture
def prefect_api(prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """Prefect as this very process sees it."""
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        yield prefect_server


@pytest.fixture
async def orphanage(
    cluster_kubeconfig: str, swept_namespace: str, prefect_api: PrefectServer
) -> AsyncIterator[Orphanage]:
    admin = ClusterConnection.from_kubeconfig_file(cluster_kubeconfig)
    async with ClusterClient(admin) as cluster:
        yield Orphanage(cluster, swept_namespace, prefect_api)
