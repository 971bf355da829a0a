"""Which cluster a kubeconfig leads to: equal addresses are the same one."""

from typing import Any

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import KubeconfigInvalid
from tasks.cluster.connection import ClusterAddress, ClusterConnection

SERVER = "https://api.example:6443"


def _connection(server: str = SERVER, **more: Any) -> ClusterConnection:
    """A kubeconfig's; `context` and `user` are its own, the rest stands beside the server."""
    name, user = more.pop("context", "kit"), more.pop("user", {})
    content = {
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, **more}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return ClusterConnection.from_kubeconfig(content)


async def _address(connection: ClusterConnection) -> ClusterAddress:
    async with ClusterClient(connection) as client:
        return client.address


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_connection(), id="equal"),
        pytest.param(_connection(context="other"), id="another_context"),
        pytest.param(_connection(user={"token": "tell-nobody"}), id="another_user"),
        pytest.param(_connection(f"{SERVER}/"), id="slash_at_the_end"),
        pytest.param(_connection("HTTPS://API.example:6443"), id="capitals"),
        pytest.param(_connection("https://api.example.:6443"), id="dot_of_the_root"),
        pytest.param(_connection(**{"tls-server-name": "api.example"}), id="name_it_has_anyway"),
        pytest.param(_connection(SERVER, **{"insecure-skip-tls-verify": True}), id="unverified"),
    ],
)
async def test_same_server_is_the_same_cluster(other: ClusterConnection) -> None:
    assert await _address(_connection()) == await _address(other)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_connection("https://api2.example:6443"), id="host"),
        pytest.param(_connection("https://api.example:7443"), id="port"),
        pytest.param(_connection("https://api.example"), id="default_port"),
        pytest.param(_connection("http://api.example:6443"), id="scheme"),
        pytest.param(_connection(f"{SERVER}/k8s/clusters/c-1"), id="path"),
        pytest.param(_connection(**{"tls-server-name": "c-1.example"}), id="tls_server_name"),
        pytest.param(_connection(**{"proxy-url": "http://proxy:3128"}), id="proxy"),
    ],
)
async def test_another_server_is_another_cluster(other: ClusterConnection) -> None:
    assert await _address(_connection()) != await _address(other)


async def test_default_port_is_the_port() -> None:
    assert await _address(_connection("https://api.example")) == await _address(
        _connection("https://api.example:443/")
    )


async def test_address_holds_no_credentials() -> None:
    address = await _address(
        _connection(
            "https://user:tell-nobody@api.example",
            user={"token": "tell-nobody", "password": "tell-nobody"},
            **{"proxy-url": "http://me:tell-nobody@proxy:3128"},
        )
    )

    assert "tell-nobody" not in repr(address)
    assert address.proxy == "http://proxy:3128"


@pytest.mark.parametrize("server", ["https://api.example:tell-nobody", "https://[tell-nobody"])
async def test_server_that_is_no_address_is_refused_without_being_quoted(server: str) -> None:
    with pytest.raises(KubeconfigInvalid, match="not an address") as refused:
        await _address(_connection(server))

    assert "tell-nobody" not in str(refused.value)
