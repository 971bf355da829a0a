"""What every test shares: a quiet Prefect, the rule for `cluster` tests, and the agent images."""

import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.embedded_cluster import REPLAY_IMAGE, run_embedded_cluster
from tests.model_api import ModelApi, serve_model_api
from tests.prefect_server import (
    OwnPrefectServer,
    PrefectServer,
    check_published,
    run_prefect_server,
)
from tests.scheduling import LongestFirst, longest_first
from tests.shared_server import SharedServer, shared_prefect_server, start_ahead

AGENT_UID = 1000
AGENT_FOLDER = "/work"  # the working directory of the agent images

# Asked once: tests on the embedded cluster have a KUBECONFIG too.
_KUBECONFIG_GIVEN = bool(os.environ.get("KUBECONFIG"))

# Before any test module imports Prefect, which reads them once. A home of its own keeps the
# developer's profile, database and blocks out of the tests and the tests out of them.
_PREFECT_HOME = tempfile.mkdtemp(prefix="claude-jobs-prefect-")
os.environ["PREFECT_HOME"] = _PREFECT_HOME
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
# Hundreds of processes import Prefect. Compiling it takes each of them longer than running it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Shells have what they start in the background ignore it, and so would runs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Nothing that is imported and collected is garbage: not looked through now, nor with every test.
gc.disable()

_SHARED_SERVER = pytest.StashKey[SharedServer]()
_SHARED_SOCKET = "shared_prefect_server"  # in what pytest-xdist tells its workers


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", type=Path, help="folder for the browser tests' pictures of pages"
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-rerunfailures ask for each test's tries without a pause.

    A worker writes to it twice before it reads, and the system would keep the second write back
    until the first is acknowledged, 40 ms later: a minute and a half for all tests.
    """
    connection = getattr(getattr(config, "failures_db", None), "sock", None)
    # There is none where nothing is distributed.
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where it finds the server that all of them share."""
    shared = node.config.stash.get(_SHARED_SERVER, None) or SharedServer()
    node.config.stash[_SHARED_SERVER] = shared
    node.workerinput[_SHARED_SOCKET] = shared.socket


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    """Hand out `--dist loadfile` the longest tests first."""
    return LongestFirst(config, log) if config.option.dist == "loadfile" else None


def _shared_socket(config: pytest.Config) -> str | None:
    """Return where to ask for the shared server; None where this process is the only one."""
    return getattr(config, "workerinput", {}).get(_SHARED_SOCKET)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the shared server started while the first tests run that do not need it."""
    gc.freeze()
    gc.enable()
    socket_path = _shared_socket(session.config)
    if socket_path and any("prefect_server" in _fixtures_of(item) for item in session.items):
        start_ahead(socket_path)


def _fixtures_of(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def pytest_unconfigure(config: pytest.Config) -> None:
    shared = config.stash.get(_SHARED_SERVER, None)
    if shared is not None:
        shared.end()
    shutil.rmtree(_PREFECT_HOME, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _shared_socket(config):
        items[:] = longest_first(items)
    for item in items:
        if item.get_closest_marker("cluster"):
            if not _KUBECONFIG_GIVEN:
                item.add_marker(pytest.mark.skip(reason="KUBECONFIG names no cluster"))
        elif item.get_closest_marker("any_cluster"):
            continue
        elif "core_api" in _fixtures_of(item):
            message = f"{item.nodeid} needs a cluster and is not marked so"
            raise pytest.UsageError(message)


@pytest.fixture(scope="session")
def prefect_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """The one server of all tests, in whatever process they run."""
    socket_path = _shared_socket(request.config)
    if socket_path is None:
        with run_prefect_server(tmp_path_factory.mktemp("prefect")) as server:
            yield server
        return
    server = shared_prefect_server(socket_path)
    yield server
    check_published(server.home)


@pytest.fixture
def own_prefect_server(tmp_path: Path) -> Iterator[OwnPrefectServer]:
    """A server for one test alone, which may kill it."""
    with run_prefect_server(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_kubeconfig() -> Iterator[str]:
    """The kubeconfig that KUBECONFIG names; without one that of an embedded cluster."""
    if _KUBECONFIG_GIVEN:
        yield os.environ["KUBECONFIG"]
        return
    with run_embedded_cluster() as kubeconfig:
        yield str(kubeconfig)


@pytest.fixture(autouse=True)
def _cluster_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the embedded cluster to what a test marked `any_cluster` starts, and to no other."""
    if request.node.get_closest_marker("any_cluster"):
        monkeypatch.setenv("KUBECONFIG", request.getfixturevalue("cluster_kubeconfig"))


@pytest.fixture(scope="session")
def core_api(cluster_kubeconfig: str) -> Iterator[client.CoreV1Api]:
    """The official client, for preparing and looking around; never for what is under test."""
    configuration = client.Configuration()
    admin = os.environ.get("ADMIN_KUBECONFIG", cluster_kubeconfig)
    config.load_kube_config(admin, client_configuration=configuration)  # pyright: ignore[reportUnknownMemberType] # its annotations are incomplete
    with client.ApiClient(configuration) as api_client:
        yield client.CoreV1Api(api_client)


@pytest.fixture(scope="session")
def node_address(core_api: client.CoreV1Api) -> str:
    """An address of the node that is this machine; skips where every node is another one."""
    for node in core_api.list_node().items:
        for address in (node.status and node.status.addresses) or []:
            if address.type == "InternalIP" and _is_of_this_machine(address.address):
                return address.address
    pytest.skip("no node of the cluster is this machine")


def _is_of_this_machine(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def replay_image() -> str:
    """The image whose `claude` prints a recorded session again (the demo's replay_claude.py)."""
    return _image_named_by("REPLAY_IMAGE") if _KUBECONFIG_GIVEN else REPLAY_IMAGE


@pytest.fixture(scope="session")
def git_image() -> str:
    """An image whose `claude` prints a recorded session again, and which has git."""
    return _image_named_by("GIT_IMAGE") if _KUBECONFIG_GIVEN else REPLAY_IMAGE


@pytest.fixture(scope="session")
def real_image() -> str:
    """The image with the real Claude Code CLI."""
    return _image_named_by("REAL_IMAGE")


def _image_named_by(variable: str) -> str:
    # Asked for, not looked up: a node lists a new image late, and only the fifty largest.
    image = os.environ.get(variable)
    if not image:
        pytest.skip(f"{variable} names no image")
    return image


@pytest.fixture
def model_api(node_address: str) -> Iterator[ModelApi]:
    """A stand-in for the model's API, reachable from pods; starts with the scenario `ok`."""
    with serve_model_api(node_address, AGENT_FOLDER) as api:
        yield api


@pytest.fixture
def home_claim(
    core_api: client.CoreV1Api, node_address: str, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Makes PersistentVolumeClaims that the agent's user can write; call it with a namespace.

    Returns the claim's name. The same folder outlives the pods, so that sessions can be resumed.
    """
    made: list[tuple[str, str]] = []

    def make(namespace: str) -> str:
        name = f"home-{uuid.uuid4().hex[:8]}"
        folder = tmp_path / name
        folder.mkdir()
        os.chown(folder, AGENT_UID, AGENT_UID)
        # hostPath knows no fsGroup, and the kubelet makes sub-paths as root with the folder's mode.
        folder.chmod(0o777)
        made.append((namespace, name))
        core_api.create_persistent_volume(_host_path_volume(name, folder, namespace))
        core_api.create_namespaced_persistent_volume_claim(namespace, _claim(name))
        return name

    yield make
    for namespace, name in made:
        core_api.delete_namespaced_persistent_volume_claim(name, namespace)
        core_api.delete_persistent_volume(name)


def _host_path_volume(name: str, folder: Path, namespace: str) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": name},
        },
    }


def _claim(name: str) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
