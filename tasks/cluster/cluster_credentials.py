"""From a connection to the library's configuration, kept fresh as tokens rotate.

The library renews an in-cluster token by itself and a kubeconfig's never (its `refresh_token` is
a loop one would have to run beside). Here both are loaded again: every minute, and after a 401.
A credential plugin is asked again when its answer has expired, or after a 401.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import kube_config as library_kubeconfig
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from tasks.cluster.cluster_errors import KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection

# The kubelet replaces a token when 80 % of its life (ten minutes at least) have passed.
_RENEWAL_SECONDS = 60.0
# Everything that the library's loaders raise on a wrong file, seen by feeding them wrong files.
_LOADING_FAILURES = (
    ConfigException,
    OSError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)

# The library's loaders carry no annotations; what they are ends here.
_KubeConfigLoader: Any = library_kubeconfig.KubeConfigLoader
_KubeConfigMerger: Any = library_kubeconfig.KubeConfigMerger
_ConfigNode: Any = library_kubeconfig.ConfigNode


class Credentials:
    """The configuration of one connection, and the header that proves who we are."""

    def __init__(self, connection: ClusterConnection, *, monotonic: Callable[[], float]) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._loader: Any = None
        self._uses_plugin = False
        self._lock = asyncio.Lock()
        self._loaded_at = 0.0
        self.configuration: Any = Configuration()
        # A follow, a watch and an exec each hold a connection; the library's bound of 100 would
        # let a fleet's renewals wait behind its streams.
        self.configuration.connection_pool_maxsize = 0
        self.context_namespace: str | None = None

    async def open(self) -> ApiClient:
        """Read everything for the first time and make the library's client of it.

        Raises:
            KubeconfigInvalid: It cannot be used; says what and what to do.
        """
        async with self._lock:
            await self._load()
        try:
            return ApiClient(configuration=self.configuration)
        except _LOADING_FAILURES as failure:  # a certificate that is none
            raise KubeconfigInvalid(_advice(self._connection, failure)) from failure

    async def renew(self) -> None:
        """Read everything again, as after a 401; what fails leaves what we had."""
        async with self._lock:
            self._loader = None
            await self._reload()

    async def authorization(self) -> str | None:
        """Return the `Authorization` header; None with client certificates alone."""
        async with self._lock:
            if self._monotonic() - self._loaded_at >= _RENEWAL_SECONDS:
                await self._reload()
        value = self.configuration.api_key.get("BearerToken")
        # A token file may end in a newline, which no header may.
        return str(value).strip() if value else None

    async def _reload(self) -> None:
        try:
            await self._load()
        except KubeconfigInvalid:
            # A file that is just being rewritten; if not, the next 401 says so.
            self._loaded_at = self._monotonic()

    async def _load(self) -> None:
        try:
            if self._connection.is_in_cluster:
                self._load_service_account()
            else:
                await self._load_kubeconfig()
        except _LOADING_FAILURES as failure:
            raise KubeconfigInvalid(_advice(self._connection, failure)) from failure
        self._loaded_at = self._monotonic()

    def _load_service_account(self) -> None:
        folder = self._connection.service_account_dir
        loader: Any = InClusterConfigLoader(
            token_filename=str(folder / "token"),
            cert_filename=str(folder / "ca.crt"),
            try_refresh_token=False,
            environ=cast("Any", self._connection.environ),
        )
        loader.load_and_set(self.configuration)

    async def _load_kubeconfig(self) -> None:
        # The loader of a plugin remembers when its answer expires; others have nothing to keep.
        if self._loader is None or not self._uses_plugin:
            self._loader = self._open_kubeconfig()
        elif not hasattr(self._loader, "exec_plugin_expiry"):
            return  # a plugin's answer without an expiry is good until a 401
        await self._loader.load_and_set(self.configuration)
        if self._uses_plugin and not (
            self.configuration.api_key.get("BearerToken") or self.configuration.cert_file
        ):
            # The library only logs why.
            raise ConfigException("its credential plugin gave no credentials; see the log")

    def _open_kubeconfig(self) -> Any:
        connection = self._connection
        if connection.kubeconfig_path is not None:
            root: Any = _KubeConfigMerger(_readable(connection.kubeconfig_path)).config
        else:
            root = _ConfigNode("kubeconfig", dict(connection.kubeconfig or {}))
        loader: Any = _KubeConfigLoader(
            config_dict=root, active_context=connection.context, config_base_path=None
        )
        context: Mapping[str, Any] = loader.current_context["context"]
        self.context_namespace = context.get("namespace") or None
        user: Any = None
        if context.get("user"):
            user = root["users"].get_with_name(context["user"], safe=True)
        self._uses_plugin = user is not None and "exec" in user["user"]
        return loader


def _readable(paths: str) -> str:
    """Return `paths`, having made sure that one of them can be read; the library only warns."""
    failure: OSError | None = None
    for path in filter(None, paths.split(os.pathsep)):
        try:
            with Path(path).expanduser().open("rb"):
                return paths
        except OSError as error:
            failure = error
    raise failure or ConfigException("no path is given")


def _advice(connection: ClusterConnection, failure: Exception) -> str:
    if connection.is_in_cluster:
        return (
            f"The pod's service account cannot be used ({_reason(failure)}); "
            "mount its token into the pod, or name a kubeconfig in the runtime block."
        )
    return (
        f"The cluster's configuration ({connection}) cannot be used: {_reason(failure)}; "
        "compare it with `kubectl config view`, and check the context's name."
    )


def _reason(failure: Exception) -> str:
    # A parser's message quotes the file, which may hold tokens; so may a KeyError's.
    if isinstance(failure, ConfigException):
        return str(failure)
    if isinstance(failure, OSError):
        return failure.strerror or type(failure).__name__
    return f"{type(failure).__name__} while reading it"
