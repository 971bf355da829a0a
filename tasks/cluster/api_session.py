"""The library's HTTP session of one connection, and what every request through it carries."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tasks.cluster.cluster_credentials import Credentials
from tasks.cluster.cluster_errors import KubeconfigInvalid
from tasks.cluster.connection import (
    ClusterAddress,
    ClusterConnection,
    NamespaceChoice,
    choose_namespace,
    parse_cluster_address,
    read_pod_namespace,
)
from tasks.cluster.http_transport import create_session

Query = Mapping[str, str | Sequence[str]]

_USER_AGENT = "claude-jobs"


class Routing(TypedDict):
    """What the kubeconfig says about the way to the server."""

    server_hostname: str | None
    proxy: str | None


class ApiSession:
    """One open session.

    Attributes:
        http: The session itself, with TLS and certificates set up.
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
        api = await self._credentials.open()
        self.http = create_session(api)

    async def close(self) -> None:
        """Close all connections."""
        await self.http.close()

    async def renew_credentials(self) -> None:
        """Read the credentials again, as after a 401."""
        await self._credentials.renew()

    def resolve_namespace(self, given: str | None) -> NamespaceChoice:
        """Choose the namespace: the given one, the pod's own, the context's, `default`."""
        return choose_namespace(
            given,
            pod_namespace=read_pod_namespace(self._connection.service_account_dir),
            context_namespace=self._credentials.context_namespace,
        )

    @property
    def address(self) -> ClusterAddress:
        """Where the cluster's API is.

        Raises:
            KubeconfigInvalid: The configuration gives no address.
        """
        configuration = self._credentials.configuration
        try:
            return parse_cluster_address(
                str(configuration.host),
                tls_server_name=configuration.tls_server_name,
                proxy=configuration.proxy,
            )
        except ValueError:
            # Not chained: what is no address may hold a credential.
            raise KubeconfigInvalid(
                "The cluster's configuration names a server or a proxy that is no address; "
                "compare it with `kubectl config view`."
            ) from None

    async def headers(self, accept: str) -> dict[str, str]:
        """Return the headers of a request, with the credentials as they are now."""
        headers = {"Accept": accept, "User-Agent": _USER_AGENT}
        authorization = await self._credentials.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        return headers

    def url(self, path: str, query: Query) -> URL:
        """Return the whole URL; the path is quoted already, the query is quoted here."""
        host = str(self._credentials.configuration.host).rstrip("/")
        parameters = urlencode(query, doseq=True, quote_via=quote)
        return URL(f"{host}{path}{f'?{parameters}' if parameters else ''}", encoded=True)

    def routing(self) -> Routing:
        """Return what the session itself does not know of the kubeconfig."""
        configuration = self._credentials.configuration
        return Routing(server_hostname=configuration.tls_server_name, proxy=configuration.proxy)
