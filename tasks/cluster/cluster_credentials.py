"""The way to one cluster, kept fresh: tokens, certificates and authorities as they rotate.

Files are read again when they change, and after a refusal. A credential plugin is asked again
before its answer expires, and after a refusal: in a task of its own, which all requests share and
no cancelled one ends.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.cluster.cluster_errors import CredentialsUnavailable, KubeconfigInvalid
from tasks.cluster.connection import ClusterAddress, ClusterConnection, parse_cluster_address
from tasks.cluster.credential_plugin import PluginCredential, PluginFailed, ask_plugin
from tasks.cluster.kubeconfig import READING_FAILURES, ClusterConfig, Unusable, read_connection
from tasks.cluster.proxy_choice import ProxyRefused, choose_proxy
from tasks.cluster.tls_material import TlsMaterial, TlsMaterialInvalid, build_tls_context

# A look costs one `stat` for each file. A kubelet replaces a token when 80 % of its life are over.
_LOOK_SECONDS = 5.0
# Renewed this long before the end, or when 80 % of a shorter life are over: Leases are renewed
# every 15 s, so several requests come in this time, and the first of them starts the renewal.
_RENEWAL_SECONDS = 60.0
_RENEWAL_SHARE = 0.2
# Between two questions that the same trouble makes: a plugin that fails, an answer that is refused.
_PAUSE_SECONDS = 10.0
_SHORTEST_RENEWAL_SECONDS = 1.0

_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Access:
    """How a request is made now.

    Attributes:
        server: The server's URL, without a slash at its end.
        authorization: Value of the header; None with client certificates alone.
        impersonation: Headers by which the user acts as somebody else; a name may repeat.
        tls: Settings of TLS; the same object as long as nothing has changed.
        proxy: The proxy's URL; None for a direct connection.
    """

    server: str
    address: ClusterAddress
    authorization: str | None = field(repr=False)
    tls: ssl.SSLContext
    material: TlsMaterial = field(repr=False)
    tls_server_name: str | None
    proxy: str | None = field(repr=False)
    impersonation: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Answer:
    """A plugin's answer; times are those of the monotonic clock.

    Attributes:
        usable_until: None when it is unknown.
        renew_at: None to ask only after a refusal.
    """

    credential: PluginCredential
    usable_until: float | None
    renew_at: float | None


def judge_lifetime(expires_at: datetime | None, now: datetime) -> tuple[float | None, float | None]:
    """Return for how many seconds a credential is usable, and after how many it is renewed.

    One that had already expired when it came was made by another clock than ours: it counts as
    usable for a while.
    """
    if expires_at is None:
        return None, None
    life = (expires_at - now).total_seconds()
    if life <= 0:
        return _RENEWAL_SECONDS, _RENEWAL_SECONDS
    early = min(_RENEWAL_SECONDS, life * _RENEWAL_SHARE)
    return life, max(life - early, _SHORTEST_RENEWAL_SECONDS)


class Credentials:
    """The access of one connection."""

    def __init__(
        self,
        connection: ClusterConnection,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._now = now
        self._config: ClusterConfig | None = None
        self._access: Access | None = None
        self._stamps: dict[Path, _Stamp] = {}
        self._looked_at = 0.0
        self._must_read = False
        self._answer: _Answer | None = None
        self._asking: asyncio.Task[None] | None = None
        self._is_refused = False
        self._failure: PluginFailed | None = None
        self._not_before = float("-inf")

    async def open(self) -> None:
        """Read everything for the first time; asks the credential plugin if there is one.

        Raises:
            KubeconfigInvalid: It cannot be used; says what and what to do.
        """
        try:
            self._read()
        except READING_FAILURES as failure:
            raise KubeconfigInvalid(_advice(self._connection, failure)) from failure
        if self._asks:
            await asyncio.shield(self._ask())
            if self._answer is None:
                raise KubeconfigInvalid(
                    f"The cluster's configuration ({self._connection}) gives no credentials: "
                    f"{self._failure}."
                )

    async def close(self) -> None:
        """End a plugin that is still running."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking

    @property
    def context_namespace(self) -> str | None:
        """The namespace of the kubeconfig's context."""
        return self._config.namespace if self._config is not None else None

    @property
    def current(self) -> Access:
        """The access as it was last; for what does not go stale."""
        assert self._access is not None, "not open"
        return self._access

    async def access(self) -> Access:
        """Return how to make a request now; waits only for a plugin without a usable answer.

        Raises:
            CredentialsUnavailable: The last answer is used up, and the plugin gives no other.
        """
        self._look_at_files()
        if self._asks:
            await self._renew_in_time()
        return self.current

    def refuse(self, access: Access, *, asks_again: bool) -> None:
        """Say that a request with this access was refused, so that the next one has a new one.

        Args:
            access: What the request was made with; an old one is ignored.
            asks_again: Whether another token or certificate may help, so that a plugin is asked.
        """
        if access is self._access:
            self._must_read = True
            self._is_refused = self._is_refused or asks_again

    @property
    def _asks(self) -> bool:
        config = self._config
        return config is not None and not (config.plugin is None and config.auth_provider is None)

    async def _renew_in_time(self) -> None:
        if self._is_due and self._monotonic() >= self._not_before:
            asking = self._ask()
            if not self._is_usable:
                await asyncio.shield(asking)
        elif self._asking is not None and not self._is_usable:
            await asyncio.shield(self._asking)
        if not self._is_usable and self._failure is not None:
            raise CredentialsUnavailable(
                f"The credentials for the Kubernetes API cannot be renewed: {self._failure}."
            )

    @property
    def _is_due(self) -> bool:
        answer = self._answer
        if answer is None or self._is_refused:
            return True
        return answer.renew_at is not None and self._monotonic() >= answer.renew_at

    @property
    def _is_usable(self) -> bool:
        answer = self._answer
        if answer is None or self._is_refused:
            return False
        return answer.usable_until is None or self._monotonic() < answer.usable_until

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_once())
        return self._asking

    async def _ask_once(self) -> None:
        """Ask once; what fails is remembered and not raised, since perhaps nobody waits."""
        was_refused = self._is_refused
        try:
            credential = await self._ask_somebody()
            usable, renewed = judge_lifetime(credential.expires_at, self._now())
            if self._config is not None and self._config.plugin is None:
                renewed = _RENEWAL_SECONDS  # the library knows when, and tells nobody
            at = self._monotonic()
            answer = _Answer(credential, _later(at, usable), _later(at, renewed))
            self._access = self._build(self._config, answer)
            self._answer, self._failure, self._is_refused = answer, None, False
        except (PluginFailed, *READING_FAILURES) as failure:
            self._failure = PluginFailed(_reason(failure))
        finally:
            self._asking = None
        if was_refused or self._failure is not None:
            self._not_before = self._monotonic() + _PAUSE_SECONDS

    async def _ask_somebody(self) -> PluginCredential:
        config, seconds = self._config, self._connection.plugin_seconds
        assert config is not None, "not read"
        if config.plugin is not None:
            return await ask_plugin(config.plugin, seconds=seconds)
        try:
            async with asyncio.timeout(seconds):
                token = await _ask_auth_provider(config.auth_provider or {})
        except TimeoutError:
            raise PluginFailed(f"its auth-provider has not answered within {seconds:g} s") from None
        except Exception as failure:  # whatever the library and a provider's server make of it
            raise PluginFailed(f"its auth-provider failed ({type(failure).__name__})") from failure
        if token and not token.isprintable():
            raise PluginFailed("its auth-provider gives a token with a control character")
        return PluginCredential(token, None, None, None)

    def _look_at_files(self) -> None:
        at = self._monotonic()
        if not self._must_read and at - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = at
        if not self._must_read and self._stamps == _stamps_of(self._stamps):
            return
        # A file that is just being rewritten is looked at again; what we had goes on meanwhile.
        with suppress(*READING_FAILURES):
            self._read()
            self._must_read = False

    def _read(self) -> None:
        # The state before reading: what changes meanwhile is seen at the next look.
        before = _stamps_of(self._config.files if self._config is not None else ())
        config = read_connection(self._connection)
        stamps = {path: before.get(path, _stamp_of(path)) for path in config.files}
        is_same_plugin = self._config is not None and config.plugin == self._config.plugin
        answer = self._answer if is_same_plugin else None
        self._access = self._build(config, answer)
        self._config, self._answer, self._stamps = config, answer, stamps
        self._looked_at = self._monotonic()

    def _build(self, config: ClusterConfig | None, answer: _Answer | None) -> Access:
        assert config is not None, "not read"
        authorization, material = config.authorization, config.tls
        if answer is not None:
            given = answer.credential
            authorization = f"Bearer {given.token}" if given.token else authorization
            if given.certificate is not None:
                material = replace(material, certificate=given.certificate, key=given.key)
        try:
            address = parse_cluster_address(
                config.server, tls_server_name=config.tls_server_name, proxy=config.proxy_url
            )
        except ValueError:
            # Not chained: what is no address may hold a credential.
            raise Unusable("it names a server or a proxy that is not an address") from None
        proxy = choose_proxy(
            config.server, proxy_url=config.proxy_url, environ=self._connection.environ
        )
        is_same = self._access is not None and self._access.material == material
        return Access(
            server=config.server,
            address=address,
            authorization=authorization,
            tls=self.current.tls if is_same else build_tls_context(material),
            material=material,
            tls_server_name=config.tls_server_name,
            proxy=proxy,
            impersonation=config.impersonation,
        )


async def _ask_auth_provider(user: Mapping[str, Any]) -> str | None:
    """Return the token of a user whose kubeconfig is of the time before plugins."""
    # Importing this client takes seconds, and hardly any kubeconfig needs it.
    from kubernetes.aio.client import Configuration
    from kubernetes.aio.config.kube_config import KubeConfigLoader

    name = "auth-provider"
    content: dict[str, Any] = {
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": "http://unused.invalid"}}],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    library: Any = Configuration()
    loader: Any = KubeConfigLoader(config_dict=content)
    await loader.load_and_set(library)
    return str(library.api_key.get("BearerToken") or "").removeprefix("Bearer ").strip() or None


def _later(at: float, seconds: float | None) -> float | None:
    return None if seconds is None else at + seconds


def _stamps_of(paths: Mapping[Path, _Stamp] | tuple[Path, ...]) -> dict[Path, _Stamp]:
    return {path: _stamp_of(path) for path in paths}


def _stamp_of(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


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
    if isinstance(failure, Unusable | PluginFailed | ProxyRefused | TlsMaterialInvalid):
        return str(failure)
    if isinstance(failure, OSError):
        return failure.strerror or type(failure).__name__
    return f"{type(failure).__name__} while reading it"
