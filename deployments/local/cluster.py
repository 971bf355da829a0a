"""The whole cluster, put together and taken down."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import ssl
import tempfile
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from deployments.local.access import Access
from deployments.local.admission.quota_controller import QuotaController
from deployments.local.admission.webhooks import Webhooks
from deployments.local.api import BODY_LIMIT_BYTES, Api
from deployments.local.certificates import ServerCertificate, make_certificate
from deployments.local.collector import Collector
from deployments.local.container_plan import PlanSettings
from deployments.local.containers import ContainerRuntime
from deployments.local.event_recorder import EventRecorder
from deployments.local.faults import FaultEngine
from deployments.local.faults_api import PREFIX, FaultsApi
from deployments.local.jobs.jobs_controller import JobsController
from deployments.local.namespaces_controller import NamespacesController
from deployments.local.node import NODE_NAME, Node
from deployments.local.objects import namespace_of
from deployments.local.pods.container_worker import NodeServices
from deployments.local.registry import Registry, Target
from deployments.local.resources import NAMESPACES, SERVICE_ACCOUNTS, JsonObject
from deployments.local.store import Store
from deployments.local.tokens import Tokens
from deployments.local.volume_binder import VolumeBinder

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SHUTDOWN_SECONDS = 0.5
# Long, as a real server's: a connection that closes just when it is used again looks like a fault.
_KEEPALIVE_SECONDS = 3600.0
_FOLDER_PREFIX = "claude-jobs-cluster-"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterOptions:
    """What the command line decides.

    Attributes:
        host: Address to listen on; pods are told that the API is there.
        port: Port; 0 for any free one.
        bin_folders: Put before the host's PATH in every container.
        unpullable: Beginnings of image names that cannot be pulled.
        isolation: auto, namespaces or none.
    """

    host: str = "127.0.0.1"
    port: int = 0
    bin_folders: tuple[str, ...] = ()
    unpullable: tuple[str, ...] = ("127.0.0.1:1/",)
    isolation: str = "auto"


class LocalCluster:
    """A running cluster; everything lies in one temporary directory and ends with `close`."""

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        _remove_stale_folders()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
        self.isolated = False
        self.port = 0
        self._certificate: ServerCertificate | None = None
        self._tls: ssl.SSLContext | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._node: Node | None = None
        self._kubeconfig_file: Path | None = None
        self._store = Store()
        self._tokens = Tokens(self._store)

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://{self.options.host}:{self.port}"

    async def start(self) -> None:
        """Start everything; the API answers when this returns.

        Raises:
            OSError: The port is taken.
            StartError: The wanted isolation does not work on this machine.
        """
        self._certificate = make_certificate(sorted({self.options.host, "127.0.0.1"}))
        self._tls = self._certificate.context(self.folder)
        listener = self._listen(self.options.port)
        self.port = listener.getsockname()[1]
        runtime = ContainerRuntime(self.folder)
        await runtime.choose_isolation(self.options.isolation)
        self.isolated = runtime.isolated
        app = self._assemble(runtime, self._certificate.authority)
        # Streams end when their client leaves; short calls never wait in the middle of a write.
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            access_log=None,
        )
        await self._runner.setup()
        await self._serve(listener)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.options.host, port))
        return listener

    async def _serve(self, listener: socket.socket) -> None:
        assert self._runner is not None
        self._site = web.SockSite(self._runner, listener, ssl_context=self._tls)
        await self._site.start()

    def _assemble(self, runtime: ContainerRuntime, authority: bytes) -> web.Application:
        registry = Registry(self._store)
        events = EventRecorder(registry, NODE_NAME)
        NamespacesController(registry, authority)
        QuotaController(registry)
        webhooks = Webhooks(self._store)
        Collector(registry)
        jobs = JobsController(registry, webhooks, events)
        binder = VolumeBinder(registry, self.folder / "claims")
        services = NodeServices(
            registry=registry,
            events=events,
            runtime=runtime,
            folder=self.folder / "pods",
            plan=PlanSettings(
                isolated=runtime.isolated,
                bin_folders=self.options.bin_folders,
                unpullable=self.options.unpullable,
                host_ip=self.options.host,
                api_port=self.port,
                claim_folder=binder.folder_of,
                issue_token=self._issue_token,
            ),
        )
        node = self._node = Node(registry, events, services, binder)
        for name in _NAMESPACES:
            registry.create(Target(NAMESPACES, ""), {"metadata": {"name": name}})
        node.register()
        engine = FaultEngine()
        api = Api(registry, webhooks, self._tokens, Access(self._store), node, engine)
        faults = FaultsApi(api, engine, registry, node, jobs, self._restart)
        app = web.Application(client_max_size=BODY_LIMIT_BYTES + 1024)
        app.router.add_route("*", f"{PREFIX}{{tail:(/.*)?}}", faults.handle)
        app.router.add_route("*", "/{tail:.*}", api.handle)
        return app

    def _issue_token(self, pod: JsonObject, lifetime_seconds: int) -> str:
        name = pod["spec"]["serviceAccountName"]
        account = self._store.get(SERVICE_ACCOUNTS, namespace_of(pod), name)
        if account is None:
            return ""
        return self._tokens.issue(account, lifetime_seconds=lifetime_seconds, pod=pod)[0]

    async def _restart(self, down_seconds: float) -> None:
        """Cut every connection, refuse new ones for a while, and forget the history."""
        asyncio.get_running_loop().call_later(0.05, self._go_down, down_seconds)

    def _go_down(self, down_seconds: float) -> None:
        task = asyncio.create_task(self._be_down(down_seconds))
        task.add_done_callback(_log_failure)

    async def _be_down(self, down_seconds: float) -> None:
        assert self._runner is not None
        assert self._site is not None
        await self._site.stop()
        server = self._runner.server
        for connection in server.connections if server else []:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(down_seconds)
        self._store.compact()
        await self._serve(self._listen(self.port))

    def kubeconfig(self) -> str:
        """Return a kubeconfig for the administrator, as JSON, which YAML readers read."""
        assert self._certificate is not None
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "local",
                "clusters": [
                    {
                        "name": "local",
                        "cluster": {
                            "server": self.url,
                            "certificate-authority-data": b64encode(
                                self._certificate.authority
                            ).decode(),
                        },
                    }
                ],
                "users": [{"name": "admin", "user": {"token": self._tokens.admin_token}}],
                "contexts": [
                    {
                        "name": "local",
                        "context": {"cluster": "local", "user": "admin", "namespace": "default"},
                    }
                ],
            },
            indent=2,
        )

    def write_kubeconfig(self, path: Path) -> None:
        """Write the kubeconfig, whole or not at all, readable for its owner only."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.kubeconfig())
        draft.replace(path)
        self._kubeconfig_file = path

    async def close(self) -> None:
        """Kill all containers, close all connections, delete everything."""
        if self._node:
            await self._node.close()
        if self._runner:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._runner.cleanup(), timeout=3)
        if self._kubeconfig_file:
            self._kubeconfig_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_stale_folders() -> None:
    """Delete what killed clusters have left: Secrets of their pods are in it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if not pid.isdecimal():
            continue
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue  # somebody else's, and alive


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        _log.error("the API server did not come back", exc_info=task.exception())
