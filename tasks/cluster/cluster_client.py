"""One connection to the Kubernetes API: JSON calls, byte streams and websockets.

No Kubernetes library is used for it: theirs return 4xx silently when they do not decode, bound a
stream's whole life, rewrite what a PATCH is, and never renew a certificate.
"""

import asyncio
import io
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tasks.cluster.api_answers import AnswerCheck, parse_answer
from tasks.cluster.api_session import ApiSession, Query, headers_of, routing_of, url_of
from tasks.cluster.api_status import cause_of, error_from_answer, error_from_failure
from tasks.cluster.call_retry import RETRY_REFUSED, RETRY_SAFE, RetryPolicy, call_with_retries
from tasks.cluster.cluster_errors import StreamSilent
from tasks.cluster.connection import ClusterAddress, ClusterConnection, NamespaceChoice
from tasks.cluster.http_transport import (
    TRANSPORT_FAILURES,
    WEBSOCKET_LIMITS,
    ByteStream,
    abort,
    transport_of,
)
from tasks.cluster.json_objects import JsonObject, RequestTarget, describe_request
from tasks.cluster.server_clock import ServerClock, parse_server_time

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"

_CONNECT_SECONDS = 5.0
_CALL_SECONDS = 10.0


@dataclass(frozen=True)
class ApiAnswer:
    """A successful answer.

    Attributes:
        status: HTTP status, 2xx.
        json: The body.
    """

    status: int
    json: JsonObject


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    query: Query
    body: Any
    content_type: str
    accept: str
    target: RequestTarget
    check: AnswerCheck | None = None


class ClusterClient:
    """Speaks to one cluster; an async context manager.

    Every failure is a `ClusterError`.

    Attributes:
        server_clock: The API server's clock, as of the latest answers.
        requests: How many HTTP requests were sent, by verb and resource (`get pods/log`): each try,
            and each stream or websocket that was opened.
    """

    def __init__(
        self,
        connection: ClusterConnection,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = ApiSession(connection, monotonic=monotonic)
        self._sleep = sleep
        self.server_clock = ServerClock(monotonic)
        self.requests: Counter[str] = Counter()

    async def __aenter__(self) -> "ClusterClient":
        """Load the configuration; no request is made.

        Raises:
            KubeconfigInvalid: The configuration cannot be used.
        """
        await self._session.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def resolve_namespace(self, given: str | None) -> NamespaceChoice:
        """Choose the namespace: the given one, the pod's own, the context's, `default`."""
        return self._session.resolve_namespace(given)

    def server_now(self) -> datetime:
        """Return the API server's time; before its first answer, all there is: our own clock's."""
        return self.server_clock.now() or datetime.now(UTC)

    @property
    def address(self) -> ClusterAddress:
        """Which cluster this is."""
        return self._session.address

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout_seconds: float = _CALL_SECONDS,
        retry: RetryPolicy | None = None,
        check: AnswerCheck | None = None,
    ) -> ApiAnswer:
        """Make one JSON call and return its answer.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: Absolute path, quoted (`ApiResource.path`).
            query: Query parameters, unquoted; a sequence repeats its name.
            body: JSON value to send.
            content_type: Of the body.
            accept: What form of answer is wanted.
            timeout_seconds: Bound of one try, from connecting to the last byte.
            retry: By default a GET is repeated whenever that may help, a write only when the
                server cannot have acted. Whether a write's second try is harmless is for the
                caller to know.
            check: What the answer must be; by default any JSON object.

        Raises:
            ClusterError: The answer was no success, or there was none; `ClusterUnavailable` if
                something else than the API answered.
        """
        target = describe_request(method, path)
        call = _Call(method, path, query or {}, body, content_type, accept, target, check)
        policy = retry or (RETRY_SAFE if method == "GET" else RETRY_REFUSED)
        return await call_with_retries(
            lambda: self._request_once(call, timeout_seconds),
            policy,
            sleep=self._sleep,
        )

    async def _request_once(self, call: _Call, timeout_seconds: float) -> ApiAnswer:
        limits = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SECONDS)
        async with self._open(call, limits) as response:
            try:
                body = await response.read()
            except TRANSPORT_FAILURES as failure:
                raise error_from_failure(call.target, failure) from failure
            found = parse_answer(call.target, response.status, body, call.check)
            return ApiAnswer(response.status, found)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        query: Query,
        silence_seconds: float,
        is_watch: bool = False,
    ) -> AsyncGenerator[ByteStream, None]:
        """Open a GET whose answer is read as it comes; the connection is closed on leaving.

        Args:
            path: Absolute path, quoted.
            query: Query parameters, unquoted.
            silence_seconds: Longest wait for the answer's head, and for each next piece. The
                whole may last for ever.
            is_watch: Names the request a watch in errors and counts.

        Raises:
            ClusterError: The answer was no success, or there was none; not repeated here.
        """
        target = describe_request("GET", path, watch=is_watch)
        call = _Call("GET", path, query, None, JSON, "*/*", target)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(silence_seconds):
                    response = await stack.enter_async_context(self._open(call, limits))
            except TimeoutError as failure:
                raise StreamSilent(
                    f"{target}: no answer within {silence_seconds:g} s.", target=target
                ) from failure
            yield ByteStream(response, target, silence_seconds)

    @asynccontextmanager
    async def _open(
        self, call: _Call, limits: aiohttp.ClientTimeout
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        access = await self._session.access()
        headers = headers_of(access, call.accept)
        headers["Content-Type"] = call.content_type
        self.requests[call.target.rule] += 1
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                response = await self._session.http.request(
                    call.method,
                    url_of(access, call.path, call.query),
                    headers=headers,
                    # A file, since a Secret's body may be larger than the session likes as bytes.
                    data=None if call.body is None else io.BytesIO(json.dumps(call.body).encode()),
                    timeout=limits,
                    **routing_of(access),
                )
                self.server_clock.observe(parse_server_time(response.headers.get("Date")))
                failed_body = b"" if response.ok else await response.read()
            except TRANSPORT_FAILURES as failure:
                error = error_from_failure(call.target, failure)
                self._session.learn(access, error)
                raise error from cause_of(failure)
            if not response.ok:
                error = error_from_answer(
                    call.target,
                    response.status,
                    failed_body,
                    retry_after=response.headers.get("Retry-After"),
                    is_json_patch=call.content_type == JSON_PATCH,
                )
                self._session.learn(access, error)
                raise error
            yield response
        finally:
            if response is not None:
                # An answer that was not read to its end still has its connection.
                if response.connection is not None:
                    abort(response.connection.transport)
                response.close()

    @asynccontextmanager
    async def websocket(
        self, path: str, *, query: Query, protocol: str
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse[bool], None]:
        """Open a websocket; the handshake's refusal is raised like any other answer's.

        Raises:
            ClusterError: The handshake failed; the server's sentence is not readable here.
        """
        target = describe_request("GET", path)
        access = await self._session.access()
        self.requests[target.rule] += 1
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    socket = await stack.enter_async_context(
                        self._session.http.ws_connect(
                            url_of(access, path, query),
                            protocols=(protocol,),
                            headers=headers_of(access, "*/*"),
                            max_msg_size=0,
                            timeout=WEBSOCKET_LIMITS,
                            **routing_of(access),
                        )
                    )
            except aiohttp.WSServerHandshakeError as refusal:
                # Not chained: it carries the request's headers, and with them the credential.
                error = error_from_answer(
                    target,
                    refusal.status,
                    None,
                    retry_after=refusal.headers.get("Retry-After") if refusal.headers else None,
                )
                self._session.learn(access, error)
                raise error from None
            except TRANSPORT_FAILURES as failure:
                error = error_from_failure(target, failure)
                self._session.learn(access, error)
                raise error from cause_of(failure)
            transport = transport_of(socket)
            try:
                yield socket
            finally:
                await socket.close()
                abort(transport)
