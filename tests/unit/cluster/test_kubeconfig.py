"""What a kubeconfig may say: all of it is carried out, or refused by name without quoting it."""

import base64
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kubeconfig import read_connection
from tests.scripted_api import kubeconfig, serve

PODS = "/api/v1/namespaces/a/pods"
SERVER = "https://127.0.0.1:1"
EXEC: dict[str, object] = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": sys.executable,
}
FLAG = "insecure-skip-tls-verify"

Kind = Callable[[ClusterClient], Awaitable[None]]


def config(user: Any = None, *, server: Any = SERVER, **cluster: Any) -> dict[str, Any]:
    content: dict[str, Any] = kubeconfig(server, user)
    content["clusters"][0]["cluster"].update(cluster)
    return content


async def open_and_close(content: dict[str, Any]) -> None:
    async with ClusterClient(ClusterConnection.from_kubeconfig(content)):
        pass


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (config(**{FLAG: "false"}), f"{FLAG} is neither true nor false"),
        (config(**{FLAG: 0}), f"{FLAG} is neither true nor false"),
        (config({"exec": {**EXEC, "provideClusterInfo": "no"}}), "provideClusterInfo is neither"),
        (config({"exec": {**EXEC, "args": 5}}), "exec.args are not a list"),
        (config({"exec": {**EXEC, "args": "HUSH"}}), "exec.args are not a list"),
        (config({"exec": {**EXEC, "args": [5]}}), "exec.args are not all texts"),
        (config({"exec": {**EXEC, "env": 5}}), "exec.env are not a list"),
        (config({"exec": {**EXEC, "provideClusterInfo": True}}, extensions=5), "extensions are"),
        (config({"exec": 5}), "exec is not an object"),
        (config({"token": "HU\nSH"}), "token contains a control character"),
        (config({"token": "HU\x00SH"}), "token contains a control character"),
        (config({"as": "a\nb"}), "Impersonate-User contains a control character"),
        (config({"as": "a", "as-groups": ["g\r"]}), "Impersonate-Group contains a control"),
        (config({"as": "a", "as-user-extra": {"k": ["v\n"]}}), "Extra-k contains a control"),
        (config({"as": "a", "as-groups": "HUSH"}), "as-groups are not a list"),
        (config({"as": "a", "as-user-extra": {"k": "HUSH"}}), "as-user-extra are not a list"),
        (config({"as-groups": ["g"]}), "without as"),
        (config({"as-uid": "1"}), "without as"),
        (config(server="127.0.0.1:6443"), "server does not begin with https:// or http://"),
        (config(server="localhost:6443"), "server does not begin with https:// or http://"),
        (config(server="user:HUSH@h"), "server does not begin with https:// or http://"),
        (config(server="https://h/HU\x00SH"), "server is not an address"),
        (config(**{"tls-server-name": "HU\x00SH"}), "tls-server-name is not a host name"),
        (config(**{"tls-server-name": "HUSH" * 20}), "tls-server-name is not a host name"),
        (config(server="https:///path"), "server does not begin with https:// or http://"),
    ],
)
async def test_what_cannot_be_carried_out_is_refused_by_name_without_quoting_it(
    content: dict[str, Any], told: str
) -> None:
    with pytest.raises(KubeconfigInvalid, match=told) as refused:
        await open_and_close(content)

    assert "HUSH" not in str(refused.value)


@pytest.mark.parametrize(
    ("cluster", "verifies"), [({}, True), ({FLAG: None}, True), ({FLAG: False}, True)]
)
def test_server_is_verified_unless_the_flag_is_true(
    cluster: dict[str, object], verifies: bool
) -> None:
    found = read_connection(ClusterConnection.from_kubeconfig(config(**cluster)))

    assert found.tls.verifies is verifies
    assert not read_connection(
        ClusterConnection.from_kubeconfig(config(**{FLAG: True}))
    ).tls.verifies


def test_exec_that_is_null_is_absent() -> None:
    found = read_connection(ClusterConnection.from_kubeconfig(config({"exec": None})))

    assert found.plugin is None


@pytest.mark.parametrize("flag", [True, False])
def test_plugin_is_told_whether_the_server_is_verified(flag: bool) -> None:
    user: dict[str, object] = {"exec": {**EXEC, "provideClusterInfo": True}}
    found = read_connection(ClusterConnection.from_kubeconfig(config(user, **{FLAG: flag})))

    assert found.plugin is not None
    expected = {"server": SERVER} | ({FLAG: True} if flag else {})
    assert found.plugin.cluster == expected


async def answer_once(request: web.Request) -> web.StreamResponse:
    if "websocket" in request.headers.get("Upgrade", ""):
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        return socket
    return web.json_response({})


async def call(client: ClusterClient) -> None:
    await client.request("GET", PODS)


async def write(client: ClusterClient) -> None:
    await client.request("POST", PODS, body={})


async def watch(client: ClusterClient) -> None:
    async with client.stream(PODS, query={}, silence_seconds=5, is_watch=True):
        pass


async def websocket(client: ClusterClient) -> None:
    async with client.websocket(f"{PODS}/p/exec", query={}, protocol="v4.channel.k8s.io"):
        pass


@pytest.mark.parametrize("kind", [call, write, watch, websocket])
async def test_user_that_acts_as_somebody_else_says_so_with_every_request(kind: Kind) -> None:
    user: dict[str, object] = {
        "token": "t0ken",
        "as": "system:serviceaccount:agents:runs",
        "as-uid": "u-1",
        "as-groups": ["developers", "é"],
        "as-user-extra": {"example.com/scopes": ["a", "b"], "reason": ["why"]},
    }
    async with (
        serve(answer_once) as api,
        ClusterClient(ClusterConnection.from_kubeconfig(config(user, server=api.url))) as client,
    ):
        await kind(client)

    [request] = api.requests
    assert request.headers["Authorization"] == "Bearer t0ken"
    assert [
        (name, value) for name, value in request.headers.items() if name.startswith("Impersonate-")
    ] == [
        ("Impersonate-User", "system:serviceaccount:agents:runs"),
        ("Impersonate-Uid", "u-1"),
        ("Impersonate-Group", "developers"),
        ("Impersonate-Group", "é"),
        ("Impersonate-Extra-example.com%2Fscopes", "a"),
        ("Impersonate-Extra-example.com%2Fscopes", "b"),
        ("Impersonate-Extra-reason", "why"),
    ]


@pytest.mark.parametrize(
    ("user", "expected"),
    [({}, "Basic " + base64.b64encode(b"me:p@ss").decode()), ({"token": "t0ken"}, "Bearer t0ken")],
    ids=["alone", "beside a token"],
)
@pytest.mark.parametrize("kind", [call, websocket])
async def test_credentials_in_the_servers_url_count_where_there_are_no_others(
    kind: Kind, user: dict[str, object], expected: str
) -> None:
    async with serve(answer_once) as api:
        server = api.url.replace("://", "://me:p%40ss@")
        async with ClusterClient(
            ClusterConnection.from_kubeconfig(config(user, server=server))
        ) as client:
            await kind(client)

    assert [request.headers["Authorization"] for request in api.requests] == [expected]


def plugin_that_prints(token: str) -> dict[str, object]:
    said = {
        "apiVersion": EXEC["apiVersion"],
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    return {"exec": {**EXEC, "args": ["-c", f"print({json.dumps(said)!r})"]}}


async def test_token_of_a_plugin_is_stripped() -> None:
    async with (
        serve(answer_once) as api,
        ClusterClient(
            ClusterConnection.from_kubeconfig(config(plugin_that_prints("t0ken\n"), server=api.url))
        ) as client,
    ):
        await call(client)

    assert [request.headers["Authorization"] for request in api.requests] == ["Bearer t0ken"]


@pytest.mark.parametrize("token", ["HU\nSH", "HU\x00SH", "HU\ud800SH"])
async def test_token_of_a_plugin_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(KubeconfigInvalid, match="a token with a control character") as refused:
        await open_and_close(config(plugin_that_prints(token)))

    assert "HU" not in str(refused.value)
