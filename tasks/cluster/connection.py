"""Which cluster we speak to, as whom, and in which namespace."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from yarl import URL

from tasks.cluster.cluster_errors import ClusterNotConfigured, KubeconfigInvalid

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVICE_HOST_ENV = "KUBERNETES_SERVICE_HOST"
_SERVICE_PORT_ENV = "KUBERNETES_SERVICE_PORT"
_DEFAULT_NAMESPACE = "default"

PLUGIN_SECONDS = 60.0
"""A plugin that talks to its server takes seconds; one that waits for a login takes for ever."""


class NamespaceSource(StrEnum):
    """Where the namespace in use was found."""

    GIVEN = "given"
    POD = "the pod's own"
    CONTEXT = "the kubeconfig context's"
    DEFAULT = "default"


@dataclass(frozen=True)
class NamespaceChoice:
    """A namespace and where it came from, for people to see."""

    name: str
    source: NamespaceSource


@dataclass(frozen=True)
class ClusterAddress:
    """Where a cluster's API is, as seen from this process; holds no credentials.

    Two connections with equal addresses lead to the same cluster, whatever file, context or user
    they come from. Unequal ones may do so too: a cluster may have several names.

    Attributes:
        path: Without a slash at its end; some servers have many clusters, each under its own.
        tls_server_name: Whom TLS asks for, by which a proxy may choose the cluster; None without.
        proxy: Address of the proxy on the way; private addresses mean different things behind
            different ones.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    tls_server_name: str | None
    proxy: str | None


def parse_cluster_address(
    server: str, *, tls_server_name: str | None, proxy: str | None
) -> ClusterAddress:
    """Return the address that a kubeconfig's `server`, `tls-server-name` and `proxy-url` give.

    Raises:
        ValueError: One of the addresses is none.
    """
    url = URL(server)
    host = (url.host or "").rstrip(".")
    return ClusterAddress(
        scheme=url.scheme,
        host=host,
        port=url.port,
        path=url.path.rstrip("/"),
        tls_server_name=(tls_server_name or host).lower() if url.scheme == "https" else None,
        proxy=str(URL(proxy).with_user(None)).rstrip("/") if proxy else None,
    )


@dataclass(frozen=True)
class ClusterConnection:
    """How to reach one cluster; made by one of the constructors below, opened by `ClusterClient`.

    Attributes:
        kubeconfig_path: A kubeconfig file, or several joined as in `KUBECONFIG`.
        kubeconfig: A kubeconfig's content; may hold credentials, so it is never shown.
        context: Context in the kubeconfig; None means its current one.
        service_account_dir: Where a pod's service account is mounted.
        environ: Where a pod is told the address of the API, and all are told their proxy.
        plugin_seconds: Longest time that the kubeconfig's credential plugin may take.
        strict_x509: Whether certificates must also have the form that RFC 5280 asks for, as Python
            does from 3.13 on and kubectl does not.
    """

    kubeconfig_path: str | None = None
    kubeconfig: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    context: str | None = None
    service_account_dir: Path = SERVICE_ACCOUNT_DIR
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, hash=False)
    plugin_seconds: float = PLUGIN_SECONDS
    strict_x509: bool = False

    @classmethod
    def from_kubeconfig_file(cls, path: str, context: str | None = None) -> "ClusterConnection":
        """Use a kubeconfig file; it is read when the client opens, and when it changes."""
        return cls(kubeconfig_path=path, context=context)

    @classmethod
    def from_kubeconfig(
        cls, kubeconfig: Mapping[str, Any], context: str | None = None
    ) -> "ClusterConnection":
        """Use a kubeconfig's content, such as a cluster block holds."""
        return cls(kubeconfig=kubeconfig, context=context)

    @classmethod
    def in_cluster(
        cls,
        service_account_dir: Path = SERVICE_ACCOUNT_DIR,
        environ: Mapping[str, str] | None = None,
    ) -> "ClusterConnection":
        """Use the service account of the pod we run in; its token is re-read as it rotates."""
        return cls(
            service_account_dir=service_account_dir,
            environ=os.environ if environ is None else environ,
        )

    @property
    def is_in_cluster(self) -> bool:
        """Whether the pod's own service account is used."""
        return self.kubeconfig_path is None and self.kubeconfig is None

    def __str__(self) -> str:
        if self.is_in_cluster:
            return "the pod's service account"
        source = f"kubeconfig {self.kubeconfig_path}" if self.kubeconfig_path else "a kubeconfig"
        return f"{source}, {f'context {self.context}' if self.context else 'its current context'}"


def discover_connection(
    environ: Mapping[str, str] | None = None,
    *,
    home: Path | None = None,
    service_account_dir: Path = SERVICE_ACCOUNT_DIR,
) -> ClusterConnection:
    """Find a cluster when none is named: the pod's own, then `KUBECONFIG`, then `~/.kube/config`.

    Raises:
        KubeconfigInvalid: `KUBECONFIG` is set and names no existing file.
        ClusterNotConfigured: There is nothing of all that.
    """
    environ = os.environ if environ is None else environ
    has_address = bool(environ.get(_SERVICE_HOST_ENV) and environ.get(_SERVICE_PORT_ENV))
    if has_address and (service_account_dir / "token").is_file():
        return ClusterConnection.in_cluster(service_account_dir, environ)
    named = environ.get("KUBECONFIG")
    if named:
        if not any(Path(path).expanduser().is_file() for path in named.split(os.pathsep) if path):
            raise KubeconfigInvalid(
                f"KUBECONFIG names no existing file ({named}); correct it or unset it."
            )
        return ClusterConnection.from_kubeconfig_file(named)
    fallback = (home or Path.home()) / ".kube" / "config"
    if fallback.is_file():
        return ClusterConnection.from_kubeconfig_file(str(fallback))
    raise ClusterNotConfigured(
        "No cluster is configured: this process is not in a pod with a service account, "
        f"KUBECONFIG is not set, and {fallback} does not exist. "
        "Name a cluster in the runtime block."
    )


def choose_namespace(
    given: str | None, *, pod_namespace: str | None, context_namespace: str | None
) -> NamespaceChoice:
    """Choose the namespace: the given one, the pod's own, the context's, `default`."""
    for name, source in (
        (given, NamespaceSource.GIVEN),
        (pod_namespace, NamespaceSource.POD),
        (context_namespace, NamespaceSource.CONTEXT),
    ):
        if name:
            return NamespaceChoice(name, source)
    return NamespaceChoice(_DEFAULT_NAMESPACE, NamespaceSource.DEFAULT)


def read_pod_namespace(service_account_dir: Path = SERVICE_ACCOUNT_DIR) -> str | None:
    """Return the namespace of the pod we run in; None outside of a pod."""
    try:
        return (service_account_dir / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
