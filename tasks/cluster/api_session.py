"""The HTTP session of one connection, and what every request through it carries."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tasks.cluster.cluster_credentials import Access, Credentials
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterTlsFailed,
    ClusterUnauthorised,
    ClusterUnreachable,
)
from tasks.cluster.connection import (
    ClusterAddress,
    ClusterConnection,
    NamespaceChoice,
    choose_namespace,
    read_pod_namespace,
)
from tasks.cluster.http_transport import create_session

Query = Mapping[str, str | Sequence[str]]

_USER_AGENT = "claude-jobs"


class Routing(TypedDict):
    """What each request is told of its way, since it may change from one to the next."""

    ssl: ssl.SSLContext
    server_hostname: str | None
    proxy: str | None


class ApiSession:
    """One open session.

    Attributes:
        http: The session itself; TLS is each request's.
    """

    http: aiohttp.ClientSession

    def __init__(self, connection: ClusterConnection, *, monotonic: Callable[[], float]) -> None:
        self._connection = connection
        self._credentials = Credentials(connection, monotonic=monotonic)

    async def open(self) -> None:
        """Load the configuration and make the session; no request is made.

        Raises:
            KubeconfigInvalid: The configuration cannot be used.
        """
        try:
            await self._credentials.open()
        except BaseException:
            await self._credentials.close()
            raise
        self.http = create_session()

    async def close(self) -> None:
        """Close all connections."""
        await self._credentials.close()
        await self.http.close()

    async def access(self) -> Access:
        """Return how a request is made now.

        Raises:
            CredentialsUnavailable: The credentials have run out and cannot be renewed.
        """
        return await self._credentials.access()

    def learn(self, access: Access, failure: ClusterError) -> None:
        """Have credentials or certificates read again if the failure may be about them."""
        match failure:
            case ClusterUnauthorised():
                self._credentials.refuse(access, asks_again=True)
            case ClusterTlsFailed():
                self._credentials.refuse(access, asks_again=failure.is_ours)
            case ClusterUnreachable():
                # Some servers cut a handshake without saying why; and another address may be given.
                self._credentials.refuse(access, asks_again=False)
            case _:
                pass

    def resolve_namespace(self, given: str | None) -> NamespaceChoice:
        """Choose the namespace: the given one, the pod's own, the context's, `default`."""
        return choose_namespace(
            given,
            pod_namespace=read_pod_namespace(self._connection.service_account_dir),
            context_namespace=self._credentials.context_namespace,
        )

    @property
    def address(self) -> ClusterAddress:
        """Where the cluster's API is."""
        return self._credentials.current.address


def headers_of(access: Access, accept: str) -> CIMultiDict[str]:
    """Return the headers of a request, whatever its kind."""
    headers = CIMultiDict({"Accept": accept, "User-Agent": _USER_AGENT})
    if access.authorization is not None:
        headers["Authorization"] = access.authorization
    headers.extend(access.impersonation)
    return headers


def url_of(access: Access, path: str, query: Query) -> URL:
    """Return the whole URL; the path is quoted already, the query is quoted here."""
    parameters = urlencode(query, doseq=True, quote_via=quote)
    return URL(f"{access.server}{path}{f'?{parameters}' if parameters else ''}", encoded=True)


def routing_of(access: Access) -> Routing:
    """Return the way to the server."""
    return Routing(ssl=access.tls, server_hostname=access.tls_server_name, proxy=access.proxy)
