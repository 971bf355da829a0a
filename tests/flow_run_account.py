"""A kubeconfig of an account with exactly what the shipped Roles allow, in every namespace.

    python -m tests.flow_run_account limited.kubeconfig
    ADMIN_KUBECONFIG=$KUBECONFIG KUBECONFIG=limited.kubeconfig uv run pytest -m cluster ...

The tests then prepare and look around as the administrator, and the product is that account. Its
rules are the shipped ones; only the binding is for all namespaces, since tests make their own.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

ROLES = Path(__file__).parents[1] / "deployments" / "kubernetes"
_NAME, _NAMESPACE = "claude-jobs-tests-flow-run", "default"
_LIFETIME_SECONDS = 6 * 3600


def shipped_rules() -> list[dict[str, Any]]:
    """Return the rules of all shipped Roles, and of the optional ClusterRole."""
    files = (
        "base/flow-run-role.yaml",
        "base/preflight-role.yaml",
        "base/sweep-role.yaml",
        "components/node-reader/cluster-role.yaml",
    )
    documents = [d for file in files for d in yaml.safe_load_all((ROLES / file).read_text())]
    return [rule for document in documents for rule in document.get("rules", ())]


def write_kubeconfig(admin_kubeconfig: str, target: Path) -> None:
    """Make the account anew and write its kubeconfig."""
    library: Any = client
    loader: Any = config
    loader.load_kube_config(admin_kubeconfig)
    core, rbac = library.CoreV1Api(), library.RbacAuthorizationV1Api()
    metadata = {"name": _NAME}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _NAME}
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": _NAMESPACE}
    _ensure(core.create_namespaced_service_account, _NAMESPACE, {"metadata": metadata})
    rules = {"metadata": metadata, "rules": shipped_rules()}
    if not _ensure(rbac.create_cluster_role, rules):
        rbac.replace_cluster_role(_NAME, rules)
    binding = {"metadata": metadata, "roleRef": role, "subjects": [account]}
    _ensure(rbac.create_cluster_role_binding, binding)
    answer = core.create_namespaced_service_account_token(
        _NAME, _NAMESPACE, {"spec": {"expirationSeconds": _LIFETIME_SECONDS}}
    )
    found: Any = yaml.safe_load(Path(admin_kubeconfig).read_text())
    context = next(c for c in found["contexts"] if c["name"] == found["current-context"])
    user = {"name": context["context"]["user"], "user": {"token": answer.status.token}}
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump({**found, "users": [user]}))


def _ensure(create: Any, *arguments: Any) -> bool:
    """Tell whether it was created now; False where it is there already."""
    try:
        create(*arguments)
    except client.ApiException as error:
        refused: Any = error
        if refused.status != 409:
            raise
        return False
    return True


if __name__ == "__main__":
    write_kubeconfig(os.environ["KUBECONFIG"], Path(sys.argv[1]))
