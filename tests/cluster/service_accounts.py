"""Clients as ServiceAccounts with chosen permissions, for the tests of permissions."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tests.cluster.contract_objects import unique


def rule(group: str, resource: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def connection_with_token(kubeconfig: str, token: str) -> ClusterConnection:
    """Return a connection to the same cluster as somebody else."""
    config: Any = yaml.safe_load(Path(kubeconfig).read_text())
    context = next(c for c in config["contexts"] if c["name"] == config["current-context"])
    return ClusterConnection.from_kubeconfig(
        {**config, "users": [{"name": context["context"]["user"], "user": {"token": token}}]}
    )


@asynccontextmanager
async def client_allowed(
    rules: Sequence[dict[str, Any]], *, admin: ClusterClient, kubeconfig: str, namespace: str
) -> AsyncGenerator[ClusterClient, None]:
    """Open a client as a new ServiceAccount that may do just this, in this namespace."""
    name = unique("limited")
    metadata = {"name": name, "namespace": namespace}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    role = {"metadata": metadata, "rules": list(rules)}
    binding = {
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    await admin.request("POST", accounts, body={"metadata": metadata})
    await admin.request("POST", f"{rbac}/roles", body=role)
    await admin.request("POST", f"{rbac}/rolebindings", body=binding)
    answer = await admin.request("POST", f"{accounts}/{name}/token", body=request)
    connection = connection_with_token(kubeconfig, answer.json["status"]["token"])
    async with ClusterClient(connection) as client:
        yield client
