"""Certificates and authorities that change while a client is open, met by a real TLS server."""

import asyncio
import http.server
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterTlsFailed, ClusterUnauthorised, KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection
from tests.certificates import Authority, Pair, replace_file, server_context, show
from tests.scripted_api import kubeconfig, serve, status

PODS = "/api/v1/namespaces/a/pods"
AFTER_A_LOOK = 6.0

Config = dict[str, Any]
Kind = Callable[[ClusterClient], Awaitable[None]]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


async def answer_once(request: web.Request) -> web.StreamResponse:
    """Answer, and close: the next request makes a handshake."""
    answer: web.StreamResponse
    if "websocket" in request.headers.get("Upgrade", "").lower():
        answer = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await answer.prepare(request)
        await answer.close()
        return answer
    answer = web.json_response({})
    answer.force_close()
    return answer


def with_cluster(config: Config, **fields: object) -> Config:
    config["clusters"][0]["cluster"].update(fields)
    return config


def data(content: bytes) -> str:
    return b64encode(content).decode()


def files_of(pair: Pair, folder: Path, name: str = "client") -> dict[str, object]:
    certificate, key = pair.write(folder, name)
    return {"client-certificate": str(certificate), "client-key": str(key)}


async def call(client: ClusterClient) -> None:
    await client.request("GET", PODS, retry=RETRY_NEVER)


async def stream(client: ClusterClient) -> None:
    async with client.stream(f"{PODS}/p/log", query={}, silence_seconds=5) as opened:
        async for _ in opened.chunks():
            pass


async def watch(client: ClusterClient) -> None:
    async with client.stream(PODS, query={}, silence_seconds=5, is_watch=True):
        pass


async def websocket(client: ClusterClient) -> None:
    async with client.websocket(f"{PODS}/p/exec", query={}, protocol="v4.channel.k8s.io"):
        pass


KINDS = pytest.mark.parametrize("kind", [call, stream, watch, websocket])


@KINDS
async def test_rotated_authority_is_read_again_after_a_handshake(
    kind: Kind, tmp_path: Path
) -> None:
    old, new = Authority("old"), Authority("new")
    tls = server_context(tmp_path, old.server())
    ca = tmp_path / "ca.crt"
    ca.write_bytes(old.pem)
    async with serve(answer_once, tls) as api:
        config = with_cluster(kubeconfig(api.url), **{"certificate-authority": str(ca)})
        async with ClusterClient(ClusterConnection.from_kubeconfig(config)) as client:
            await kind(client)
            show(tls, tmp_path, new.server())
            with pytest.raises(ClusterTlsFailed, match="certificate authority") as refused:
                await kind(client)
            replace_file(ca, new.pem)
            await kind(client)

    assert not refused.value.was_sent
    assert not refused.value.is_ours


async def test_call_meets_a_rotated_authority_without_an_error(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    tls = server_context(tmp_path, old.server())
    ca = tmp_path / "ca.crt"
    ca.write_bytes(old.pem)
    async with serve(answer_once, tls) as api:
        config = with_cluster(kubeconfig(api.url), **{"certificate-authority": str(ca)})
        connection = ClusterConnection.from_kubeconfig(config)
        async with ClusterClient(connection, sleep=at_once) as client:
            await client.request("GET", PODS)
            show(tls, tmp_path, new.server())
            replace_file(ca, new.pem)
            await client.request("POST", PODS, body={})

    assert client.requests == {"list pods": 1, "create pods": 2}


async def test_authority_in_a_rewritten_kubeconfig_is_read_again(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    tls = server_context(tmp_path, old.server())
    path = tmp_path / "kubeconfig"
    async with serve(answer_once, tls) as api:

        def write(authority: Authority) -> None:
            inline = {"certificate-authority-data": data(authority.pem)}
            replace_file(path, yaml.safe_dump(with_cluster(kubeconfig(api.url), **inline)).encode())

        write(old)
        connection = ClusterConnection.from_kubeconfig_file(str(path))
        async with ClusterClient(connection, sleep=at_once) as client:
            await client.request("GET", PODS)
            show(tls, tmp_path, new.server())
            write(new)
            await client.request("GET", PODS)

    assert client.requests == {"list pods": 3}


async def test_pod_s_authority_is_read_again(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    tls = server_context(tmp_path, old.server())
    (tmp_path / "token").write_text("t0ken")
    (tmp_path / "ca.crt").write_bytes(old.pem)
    async with serve(answer_once, tls) as api:
        host, port = api.url.removeprefix("https://").split(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        connection = ClusterConnection.in_cluster(tmp_path, environ)
        async with ClusterClient(connection, sleep=at_once) as client:
            await client.request("GET", PODS)
            show(tls, tmp_path, new.server())
            replace_file(tmp_path / "ca.crt", new.pem)
            await client.request("GET", PODS)

    assert client.requests == {"list pods": 3}


async def who(request: web.Request) -> web.StreamResponse:
    """Answer with the serial number of the client's certificate."""
    assert request.transport is not None
    shown: Any = request.transport.get_extra_info("peercert")
    return web.json_response({"serial": shown["serialNumber"], "subject": str(shown["subject"])})


def client_config(url: str, authority: Authority, user: dict[str, object]) -> Config:
    return with_cluster(
        kubeconfig(url, user), **{"certificate-authority-data": data(authority.pem)}
    )


async def test_client_certificate_is_read_again_as_it_rotates(tmp_path: Path) -> None:
    authority, clock = Authority(), Clock()
    tls = server_context(tmp_path, authority.server(), client_authority=authority)
    user = files_of(authority.client(), tmp_path)
    async with serve(who, tls) as api:
        connection = ClusterConnection.from_kubeconfig(client_config(api.url, authority, user))
        async with ClusterClient(connection, monotonic=clock) as client:
            first = await client.request("GET", PODS)
            same = await client.request("GET", PODS)
            files_of(authority.client(), tmp_path)
            clock.seconds += AFTER_A_LOOK
            second = await client.request("GET", PODS)

    assert first.json == same.json
    assert first.json["serial"] != second.json["serial"]


@contextmanager
def serve_with_alerts(tls: ssl.SSLContext) -> Generator[str]:
    """Answer in threads over OpenSSL's own sockets, which tell a client why it is refused."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            request.settimeout(5)
            secured = tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            with secured, suppress(ConnectionError, TimeoutError):
                try:
                    secured.do_handshake()
                except ssl.SSLError:
                    # A close with a request unread would be a reset, which may overtake the alert.
                    secured.shutdown(socket.SHUT_WR)
                    while socket.socket.recv(secured, 65_536):
                        pass
                else:
                    super().finish_request(secured, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("authority_name", "seconds", "alert"),
    [
        ("ours", -60, "certificate expired"),
        ("another", 60, "unknown ca"),
        (None, 0, "certificate required|handshake failure"),
    ],
)
async def test_certificate_that_the_server_refuses_is_read_again(
    version: ssl.TLSVersion,
    authority_name: str | None,
    seconds: float,
    alert: str,
    tmp_path: Path,
) -> None:
    authority = Authority("ours")
    tls = server_context(tmp_path, authority.server(), client_authority=authority)
    tls.maximum_version = version
    signer = authority if authority_name == "ours" else Authority("another")
    path = tmp_path / "kubeconfig"
    with serve_with_alerts(tls) as url:

        def write(user: dict[str, object]) -> ClusterConnection:
            replace_file(path, yaml.safe_dump(client_config(url, authority, user)).encode())
            return ClusterConnection.from_kubeconfig_file(str(path))

        user = files_of(signer.client(seconds=seconds), tmp_path) if authority_name else {}
        async with ClusterClient(write(user)) as client:
            with pytest.raises(ClusterTlsFailed, match=f"our side of TLS .*({alert})") as refused:
                await client.request("POST", PODS, body={}, retry=RETRY_NEVER)
            write(files_of(authority.client(), tmp_path, "good"))
            await client.request("POST", PODS, body={}, retry=RETRY_NEVER)

    assert refused.value.is_ours


@KINDS
async def test_401_has_the_next_request_of_any_kind_read_everything_again(
    kind: Kind, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer new":
            return await answer_once(request)
        return status(401, "Unauthorized")

    async with serve(answer) as api:
        config = kubeconfig(api.url, {"tokenFile": str(token)})
        async with ClusterClient(ClusterConnection.from_kubeconfig(config)) as client:
            with pytest.raises(ClusterUnauthorised):
                await kind(client)
            token.write_text("new")
            await kind(client)

    assert [r.headers["Authorization"] for r in api.requests] == ["Bearer old", "Bearer new"]


async def test_half_written_pair_leaves_what_we_had(tmp_path: Path) -> None:
    authority, clock = Authority(), Clock()
    tls = server_context(tmp_path, authority.server(), client_authority=authority)
    user = files_of(authority.client(), tmp_path)
    async with serve(who, tls) as api:
        connection = ClusterConnection.from_kubeconfig(client_config(api.url, authority, user))
        async with ClusterClient(connection, monotonic=clock) as client:
            first = await client.request("GET", PODS)
            new = authority.client()
            replace_file(tmp_path / "client.crt", new.certificate)
            clock.seconds += AFTER_A_LOOK
            half = await client.request("GET", PODS)
            replace_file(tmp_path / "client.key", new.key)
            clock.seconds += AFTER_A_LOOK
            whole = await client.request("GET", PODS)

    assert half.json == first.json
    assert whole.json != first.json


async def test_authority_outside_ascii_is_a_typed_error_and_leaves_what_we_had(
    tmp_path: Path,
) -> None:
    authority = Authority()
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.pem)
    broken = authority.pem.replace(b"-----END", "é".encode() + b"-----END", 1)
    async with serve(answer_once, server_context(tmp_path, authority.server())) as api:
        config = with_cluster(kubeconfig(api.url), **{"certificate-authority": str(path)})
        connection = ClusterConnection.from_kubeconfig(config)
        clock = Clock()
        async with ClusterClient(connection, monotonic=clock) as client:
            await call(client)
            path.write_bytes(broken)
            clock.seconds += 61
            await call(client)
            await call(client)
        with pytest.raises(KubeconfigInvalid, match="authority is not a certificate"):
            async with ClusterClient(connection):
                pass


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ({"client-certificate-data": data(b"HUSH"), "client-key-data": data(b"HUSH")}, "its key"),
        ({"client-certificate-data": data(b"HUSH")}, "without its key"),
        ({"client-key-data": data(b"HUSH")}, "a key alone"),
        ({"client-certificate-data": "HUSHH"}, "client-certificate-data is not base64"),
        ({"client-certificate": "/none", "client-key": "/none"}, "No such file"),
    ],
)
async def test_certificate_that_is_none_is_named_without_quoting_it(
    user: dict[str, object], told: str
) -> None:
    config = kubeconfig("https://127.0.0.1:1", user)
    with pytest.raises(KubeconfigInvalid, match=told) as refused:
        async with ClusterClient(ClusterConnection.from_kubeconfig(config)):
            pass

    assert "HUSH" not in str(refused.value)


async def test_key_with_a_password_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = Authority().client()
    key = serialization.load_pem_private_key(pair.key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    config = kubeconfig("https://127.0.0.1:1", files_of(Pair(pair.certificate, key), tmp_path))
    with pytest.raises(KubeconfigInvalid, match="its key is invalid"):
        async with ClusterClient(ClusterConnection.from_kubeconfig(config)):
            pass


@pytest.mark.parametrize(
    ("strictly_formed", "strict", "accepted"),
    [(True, True, True), (True, False, True), (False, False, True), (False, True, False)],
)
async def test_strict_x509_refuses_only_authorities_without_the_extensions(
    strictly_formed: bool, strict: bool, accepted: bool, tmp_path: Path
) -> None:
    authority = Authority(strictly_formed=strictly_formed)
    async with serve(answer_once, server_context(tmp_path, authority.server())) as api:
        config = client_config(api.url, authority, {})
        connection = ClusterConnection(kubeconfig=config, strict_x509=strict)
        async with ClusterClient(connection) as client:
            try:
                await call(client)
                answered = True
            except ClusterTlsFailed:
                answered = False

    assert answered is accepted


async def test_certificate_alone_is_trusted_as_kubectl_trusts_it(tmp_path: Path) -> None:
    server = Authority().server()
    async with serve(answer_once, server_context(tmp_path, server)) as api:
        inline = {"certificate-authority-data": data(b"\xc3\xa9 ours\n" + server.certificate)}
        config = with_cluster(kubeconfig(api.url), **inline)
        async with ClusterClient(ClusterConnection.from_kubeconfig(config)) as client:
            await call(client)

    assert len(api.requests) == 1
