from pathlib import Path

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterNotConfigured, KubeconfigInvalid
from tasks.cluster.connection import (
    ClusterConnection,
    NamespaceChoice,
    NamespaceSource,
    choose_namespace,
    discover_connection,
    read_pod_namespace,
)
from tests.scripted_api import kubeconfig

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("t0ken")
    (folder / "namespace").write_text("agents")
    return folder


def test_pod_with_a_service_account_is_preferred_to_a_kubeconfig(
    account: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.touch()
    found = discover_connection(
        {**IN_POD, "KUBECONFIG": str(config)}, home=tmp_path, service_account_dir=account
    )

    assert found.is_in_cluster
    assert str(found) == "the pod's service account"


def test_pod_without_a_token_falls_back_to_a_kubeconfig(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.touch()
    found = discover_connection(
        {**IN_POD, "KUBECONFIG": f"{tmp_path}/none:{config}"},
        home=tmp_path,
        service_account_dir=tmp_path / "none",
    )

    assert found.kubeconfig_path == f"{tmp_path}/none:{config}"


def test_home_kubeconfig_is_the_last_resort(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()
    found = discover_connection({}, home=tmp_path, service_account_dir=tmp_path)

    assert found.kubeconfig_path == str(tmp_path / ".kube" / "config")


def test_kubeconfig_variable_without_a_file_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigInvalid, match="KUBECONFIG names no existing file"):
        discover_connection(
            {"KUBECONFIG": f"{tmp_path}/none"}, home=tmp_path, service_account_dir=tmp_path
        )


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ClusterNotConfigured, match=r"KUBECONFIG is not set.*\.kube/config"):
        discover_connection({}, home=tmp_path, service_account_dir=tmp_path)


@pytest.mark.parametrize(
    ("given", "pod", "context", "expected"),
    [
        ("g", "p", "c", NamespaceChoice("g", NamespaceSource.GIVEN)),
        (None, "p", "c", NamespaceChoice("p", NamespaceSource.POD)),
        ("", None, "c", NamespaceChoice("c", NamespaceSource.CONTEXT)),
        (None, None, None, NamespaceChoice("default", NamespaceSource.DEFAULT)),
    ],
    ids=["given", "pod", "context", "default"],
)
def test_namespace_is_the_first_that_is_known(
    given: str | None, pod: str | None, context: str | None, expected: NamespaceChoice
) -> None:
    assert choose_namespace(given, pod_namespace=pod, context_namespace=context) == expected


def test_pod_namespace_is_known_inside_of_a_pod_only(account: Path, tmp_path: Path) -> None:
    assert read_pod_namespace(account) == "agents"
    assert read_pod_namespace(tmp_path / "none") is None


async def open_and_close(connection: ClusterConnection) -> None:
    async with ClusterClient(connection):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just words",
        "[1, 2]",
        "a: [",
        "apiVersion: v1\nkind: Config\n",
        "current-context: x\ncontexts: []\nclusters: []\nusers: []\n",
        "current-context: x\ncontexts:\n- name: x\n  context: {cluster: c, user: u}\n"
        "clusters: []\nusers: []\n",
        "current-context: x\ncontexts:\n- name: x\n  context: {cluster: c, user: u}\n"
        "clusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:1'}\nusers: []\n",
    ],
    ids=["empty", "text", "list", "broken", "bare", "no context", "no cluster", "no user"],
)
async def test_unusable_kubeconfig_is_a_typed_error_that_names_the_file(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(KubeconfigInvalid) as caught:
        await open_and_close(ClusterConnection.from_kubeconfig_file(str(path)))

    assert str(path) in str(caught.value)
    assert "kubectl config view" in str(caught.value)
    assert caught.value.__cause__ is not None


async def test_missing_kubeconfig_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigInvalid, match="No such file"):
        await open_and_close(ClusterConnection.from_kubeconfig_file(str(tmp_path / "none")))


async def test_unknown_context_is_a_typed_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigInvalid, match="context elsewhere"):
        await open_and_close(
            ClusterConnection.from_kubeconfig(kubeconfig("http://127.0.0.1:1"), "elsewhere")
        )


async def test_kubeconfig_that_is_no_certificate_does_not_show_it() -> None:
    config = kubeconfig(
        "https://127.0.0.1:1",
        {"client-certificate-data": "SFVTSC1IVVNI", "client-key-data": "SFVTSC1IVVNI"},
    )
    with pytest.raises(KubeconfigInvalid) as caught:
        await open_and_close(ClusterConnection.from_kubeconfig(config))

    assert "HUSH" not in repr(caught.value)


def test_connection_never_shows_a_kubeconfigs_content() -> None:
    connection = ClusterConnection.from_kubeconfig(
        kubeconfig("https://x", {"token": "HUSH-HUSH"}), "test"
    )

    assert "HUSH" not in repr(connection) + str(connection)
    assert str(connection) == "a kubeconfig, context test"
