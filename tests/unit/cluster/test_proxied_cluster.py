"""A TLS server behind a real proxy: CONNECT, plain and with TLS to the proxy itself."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from traceback import format_exception
from typing import Any

import pytest
from aiohttp import web

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, ClusterUnreachable, KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection
from tests.certificates import Authority, server_context
from tests.scripted_api import kubeconfig, serve

PODS = "/api/v1/namespaces/a/pods"


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        asked: `host:port` of each CONNECT.
        answer: First line of its answer when it refuses; None connects.
        leads_to: Where it connects to, whatever it was asked for; None takes what was asked.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    authorizations: list[str] = field(default_factory=list[str])
    answer: str | None = None
    leads_to: tuple[str, int] | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            asked = first.split()[1]
            self.asked.append(asked)
            headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
            self.authorizations.append(headers.get("proxy-authorization", ""))
            if self.answer is not None:
                writer.write(f"HTTP/1.1 {self.answer}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
            else:
                host, _, port = asked.rpartition(":")
                target = self.leads_to or (host.strip("[]"), int(port))
                there, back = await asyncio.open_connection(*target)
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def run_proxy(tls: SSLContext | None = None, **fields: Any) -> AsyncGenerator[Proxy]:
    proxy = Proxy(**fields)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    proxy.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield proxy
    finally:
        server.close()


async def answer(request: web.Request) -> web.StreamResponse:
    if "websocket" in request.headers.get("Upgrade", "").lower():
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        await socket.close()
        return socket
    return web.json_response({})


def config(url: str, authority: Authority, proxy: str | None = None) -> dict[str, Any]:
    found: Any = kubeconfig(url, {"token": "tell-nobody"})
    cluster = found["clusters"][0]["cluster"]
    cluster["certificate-authority-data"] = b64encode(authority.pem).decode()
    if proxy is not None:
        cluster["proxy-url"] = proxy
    return found


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
async def test_every_kind_of_request_goes_through_the_kubeconfig_s_proxy(
    secured: bool, tmp_path: Path
) -> None:
    authority = Authority()
    tls = server_context(tmp_path, authority.server())
    proxy_tls = server_context(tmp_path, authority.server()) if secured else None
    async with serve(answer, tls) as api, run_proxy(proxy_tls) as proxy:
        content = config(api.url, authority, proxy.url.replace("://", "://me:word@"))
        async with ClusterClient(ClusterConnection.from_kubeconfig(content)) as client:
            await client.request("POST", PODS, body={})
            async with client.stream(PODS, query={}, silence_seconds=5) as stream:
                assert b"".join([chunk async for chunk in stream.chunks()]) == b"{}"
            async with client.websocket(f"{PODS}/p/exec", query={}, protocol="v4.channel.k8s.io"):
                pass

    assert set(proxy.asked) == {api.url.removeprefix("https://")}
    assert set(proxy.authorizations) == {f"basic {b64encode(b'me:word').decode().lower()}"}
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("no_proxy", "is_proxied"),
    [
        ("", True),
        ("10.0.0.0/8", True),
        (".cluster.invalid:1", True),
        (".cluster.invalid", False),
        ("*", False),
    ],
)
async def test_environment_s_proxy_is_taken_unless_no_proxy_names_the_server(
    no_proxy: str, is_proxied: bool, tmp_path: Path
) -> None:
    authority = Authority()
    tls = server_context(tmp_path, authority.server("api.cluster.invalid"))
    async with serve(answer, tls) as api:
        port = int(api.url.rpartition(":")[2])
        async with run_proxy(leads_to=("127.0.0.1", port)) as proxy:
            connection = ClusterConnection(
                kubeconfig=config(f"https://api.cluster.invalid:{port}", authority),
                environ={"HTTPS_PROXY": proxy.url, "NO_PROXY": no_proxy},
            )
            async with ClusterClient(connection) as client:
                try:
                    await client.request("GET", PODS, retry=RETRY_NEVER)
                except ClusterUnreachable:
                    reached = False  # a name that only the proxy knows
                else:
                    reached = True

    assert reached is is_proxied
    assert bool(proxy.asked) is is_proxied


async def test_loopback_takes_no_proxy_of_the_environment(tmp_path: Path) -> None:
    authority = Authority()
    async with serve(answer, server_context(tmp_path, authority.server())) as api:
        connection = ClusterConnection(
            kubeconfig=config(api.url, authority), environ={"HTTPS_PROXY": "http://127.0.0.1:1"}
        )
        async with ClusterClient(connection) as client:
            await client.request("GET", PODS)

    assert len(api.requests) == 1


async def test_refusing_proxy_is_told_without_any_credential() -> None:
    async with run_proxy(answer="407 Proxy Authentication Required") as proxy:
        content = config(
            "https://api.cluster.invalid", Authority(), proxy.url.replace("://", "://me:hush-hush@")
        )
        async with ClusterClient(ClusterConnection.from_kubeconfig(content)) as client:
            with pytest.raises(ClusterUnreachable, match=r"407 Proxy Auth.*proxy-url") as refused:
                await client.request("GET", PODS, retry=RETRY_NEVER)
            with pytest.raises(ClusterError):
                async with client.websocket(PODS, query={}, protocol="v4.channel.k8s.io"):
                    pass

    told = "".join(format_exception(refused.value))
    assert not refused.value.was_sent
    assert "hush-hush" not in told
    assert "tell-nobody" not in told


async def test_proxy_that_is_not_there_is_told_as_the_proxy() -> None:
    content = config("https://api.cluster.invalid", Authority(), "http://127.0.0.1:1")
    async with ClusterClient(ClusterConnection.from_kubeconfig(content)) as client:
        with pytest.raises(ClusterUnreachable, match=r"proxy .* cannot be reached"):
            await client.request("GET", PODS, retry=RETRY_NEVER)


async def test_socks_proxy_is_refused_by_name_when_the_client_opens() -> None:
    content = config("https://api.cluster.invalid", Authority(), "socks5://me:hush-hush@p:1080")
    with pytest.raises(KubeconfigInvalid, match=r"SOCKS proxy \(socks5://p\)") as refused:
        async with ClusterClient(ClusterConnection.from_kubeconfig(content)):
            pass

    assert "hush-hush" not in str(refused.value)
