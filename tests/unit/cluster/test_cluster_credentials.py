import asyncio
import ssl
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterTlsFailed, KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection
from tests.certificates import Authority, server_context
from tests.scripted_api import ScriptedApi, kubeconfig, serve, status

PODS = "/api/v1/namespaces/a/pods"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write an authority's `ca.crt` and return a server's side of TLS."""
    authority = Authority()
    (folder / "ca.crt").write_bytes(authority.pem)
    return server_context(folder, authority.server())


async def good(_: web.Request) -> web.StreamResponse:
    return web.json_response({})


def tokens(api: ScriptedApi) -> list[str | None]:
    return [request.headers.get("Authorization") for request in api.requests]


async def test_service_account_token_is_read_again_as_it_rotates(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "token").write_text("one\n")
    async with serve(good, make_certificate(tmp_path)) as api:
        host, port = api.url.removeprefix("https://").split(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        connection = ClusterConnection.in_cluster(tmp_path, environ)
        async with ClusterClient(connection, monotonic=clock) as client:
            await client.request("GET", PODS)
            (tmp_path / "token").write_text("two")
            await client.request("GET", PODS)
            clock.seconds += 61
            await client.request("GET", PODS)
            (tmp_path / "token").unlink()
            clock.seconds += 61
            await client.request("GET", PODS)

    assert tokens(api) == ["Bearer one", "Bearer one", "Bearer two", "Bearer two"]


async def test_401_has_the_token_read_again_at_once(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer new":
            return web.json_response({})
        (tmp_path / "token").write_text("new")
        return status(401, "Unauthorized")

    async with serve(answer) as api:
        config = kubeconfig(api.url, {"tokenFile": str(tmp_path / "token")})
        async with ClusterClient(
            ClusterConnection.from_kubeconfig(config), sleep=at_once
        ) as client:
            await client.request("GET", PODS)

    assert tokens(api) == ["Bearer old", "Bearer new"]


PLUGIN = """
import json, pathlib, sys
count = pathlib.Path(sys.argv[1])
n = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(n))
status = {"token": f"token-{n}"}
if sys.argv[2]:
    status["expirationTimestamp"] = sys.argv[2]
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                  "status": status}))
"""


def plugin_user(tmp_path: Path, expires: str) -> dict[str, object]:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(tmp_path / "plugin.py"), str(tmp_path / "count"), expires],
        }
    }


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        ("2000-01-01T00:00:00Z", ["Bearer token-1", "Bearer token-1", "Bearer token-2"]),
        ("2999-01-01T00:00:00Z", ["Bearer token-1", "Bearer token-1", "Bearer token-1"]),
        ("", ["Bearer token-1", "Bearer token-1", "Bearer token-1"]),
    ],
    ids=["expired", "valid", "without expiry"],
)
async def test_credential_plugin_is_asked_again_when_its_answer_has_expired(
    tmp_path: Path, expires: str, expected: list[str]
) -> None:
    clock = Clock()
    async with serve(good) as api:
        config = kubeconfig(api.url, plugin_user(tmp_path, expires))
        connection = ClusterConnection.from_kubeconfig(config)
        async with ClusterClient(connection, monotonic=clock) as client:
            await client.request("GET", PODS)
            await client.request("GET", PODS)
            clock.seconds += 61
            await client.request("GET", PODS)

    assert tokens(api) == expected


async def test_credential_plugin_is_asked_again_after_a_401(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer token-2":
            return web.json_response({})
        return status(401, "Unauthorized")

    async with serve(answer) as api:
        config = kubeconfig(api.url, plugin_user(tmp_path, "2999-01-01T00:00:00Z"))
        async with ClusterClient(
            ClusterConnection.from_kubeconfig(config), sleep=at_once
        ) as client:
            await client.request("GET", PODS)

    assert tokens(api) == ["Bearer token-1", "Bearer token-2"]


async def test_credential_plugin_that_fails_is_a_typed_error(tmp_path: Path) -> None:
    user: dict[str, object] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-c", "raise SystemExit('no session; token=HUSH-HUSH')"],
        }
    }
    with pytest.raises(KubeconfigInvalid, match=r"exit code 1; it said: .no session") as caught:
        async with ClusterClient(
            ClusterConnection.from_kubeconfig(kubeconfig("http://127.0.0.1:1", user))
        ):
            pass

    assert "HUSH" not in str(caught.value)


async def test_unknown_authority_names_what_to_check(tmp_path: Path) -> None:
    async with (
        serve(good, make_certificate(tmp_path)) as api,
        ClusterClient(
            ClusterConnection.from_kubeconfig(kubeconfig(api.url, {"token": "HUSH-HUSH"}))
        ) as client,
    ):
        with pytest.raises(ClusterTlsFailed, match="certificate authority") as caught:
            await client.request("GET", PODS, retry=RETRY_NEVER)

    assert not caught.value.was_sent
    assert "HUSH" not in str(caught.value) + repr(caught.value.__cause__)


async def test_refused_websocket_carries_no_credential(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return status(403, "Forbidden")

    async with (
        serve(answer) as api,
        ClusterClient(
            ClusterConnection.from_kubeconfig(kubeconfig(api.url, {"token": "HUSH-HUSH"}))
        ) as client,
    ):
        with pytest.raises(Exception, match="403 to get pods/exec") as caught:
            async with client.websocket(f"{PODS}/p/exec", query={}, protocol="v4.channel.k8s.io"):
                pass

    assert tokens(api) == ["Bearer HUSH-HUSH"]
    assert caught.value.__cause__ is None
    assert "HUSH" not in str(caught.value)
