"""The bare API and namespaces, on the cluster of KUBECONFIG or the embedded one."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.raw_cluster import RawCluster, RawSpace


@pytest.fixture(scope="session")
def raw_cluster(
    cluster_kubeconfig: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RawCluster]:
    path = Path(os.environ.get("ADMIN_KUBECONFIG", cluster_kubeconfig))
    cluster = RawCluster(path, tmp_path_factory.mktemp("admin"))
    yield cluster
    cluster.http.close()


@pytest.fixture(scope="module")
def make_space(raw_cluster: RawCluster) -> Iterator[Callable[..., RawSpace]]:
    """Makes namespaces with the given labels; all of them go with the module."""
    names: list[str] = []

    def make(labels: dict[str, str] | None = None) -> RawSpace:
        names.append(f"contract-{uuid.uuid4().hex[:8]}")
        body = {"metadata": {"name": names[-1], "labels": labels or {}}}
        raw_cluster.ok("POST", "/api/v1/namespaces", body)
        space = RawSpace(raw_cluster, names[-1])
        space.until(lambda: raw_cluster.ok("GET", f"{space.core}/serviceaccounts")["items"])
        return space

    yield make
    for name in names:
        raw_cluster.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def space(make_space: Callable[..., RawSpace]) -> RawSpace:
    return make_space()
