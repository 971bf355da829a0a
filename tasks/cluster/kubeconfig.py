"""Reads how a cluster is reached: from kubeconfig files, their content, or a pod's account.

What was read is a value without files, so a later reading can be compared with it. Several files
are merged as kubectl does: what the first one says counts.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import yaml
from yarl import URL

from tasks.cluster.connection import ClusterConnection
from tasks.cluster.credential_plugin import PluginCommand
from tasks.cluster.tls_material import TlsMaterial

# In native code where there is any: in Python, a large file would hold the loop up for a second.
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLUGIN_EXTENSION = "client.authentication.k8s.io/exec"
# What a header's name may hold beside letters and digits; client-go escapes the rest, and `%`.
_HEADER_NAME_MARKS = "!#$&'*+-.^_`|~"

_Fields = Mapping[str, Any]


class Unusable(Exception):
    """The kubeconfig cannot be used; `str()` says why, and quotes no value of it."""


READING_FAILURES = (Unusable, OSError, ValueError, yaml.YAMLError)
"""Everything that reading raises."""


@dataclass(frozen=True)
class ClusterConfig:
    """How to reach one cluster, as it was read.

    Attributes:
        namespace: The context's; None when it names none.
        authorization: Value of the header; None when there is no token or password.
        impersonation: Headers by which the user acts as somebody else; a name may repeat.
        plugin: Program to ask for more; None without.
        auth_provider: A user of the form before plugins, as the library wants it; None without.
        files: What was read; a change of one means to read again.
    """

    server: str
    namespace: str | None
    tls: TlsMaterial
    tls_server_name: str | None = None
    proxy_url: str | None = None
    authorization: str | None = field(default=None, repr=False)
    impersonation: tuple[tuple[str, str], ...] = ()
    plugin: PluginCommand | None = None
    auth_provider: _Fields | None = field(default=None, repr=False)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """A cluster, user or context, and the folder that its relative paths start from."""

    fields: _Fields
    folder: Path


class _Reader:
    """Reads files and remembers which."""

    def __init__(self) -> None:
        self.files: list[Path] = []

    def bytes_of(self, path: Path) -> bytes:
        self.files.append(path)
        return path.read_bytes()

    def file_or_data(self, entry: _Entry, name: str) -> bytes | None:
        """Return what `name-data` holds, else the file that `name` names."""
        if data := _text(entry.fields, f"{name}-data"):
            try:
                return base64.b64decode(data)
            except binascii.Error:
                raise Unusable(f"{name}-data is not base64") from None
        path = _text(entry.fields, name)
        return self.bytes_of(entry.folder / Path(path).expanduser()) if path else None


def read_connection(connection: ClusterConnection) -> ClusterConfig:
    """Read everything that a connection refers to.

    Raises:
        Unusable: Something is missing or is not what it should be; so are the other
            `READING_FAILURES`, whose texts may quote what was read.
    """
    reader = _Reader()
    if connection.is_in_cluster:
        return _read_service_account(connection, reader)
    if connection.kubeconfig_path is not None:
        documents = _read_files(connection.kubeconfig_path, reader)
    else:
        documents = [(connection.kubeconfig or {}, Path())]
    name = connection.context or _first_text(documents, "current-context")
    if not name:
        raise Unusable("it has no current-context, and no context was chosen")
    context = _named(documents, "context", name).fields
    user = _Entry({}, Path())
    if user_name := _text(context, "user"):
        user = _named(documents, "user", user_name)
    cluster = _named(documents, "cluster", _text(context, "cluster"))
    return _build(connection, context, cluster, user, reader)


def _read_service_account(connection: ClusterConnection, reader: _Reader) -> ClusterConfig:
    host = connection.environ.get("KUBERNETES_SERVICE_HOST")
    port = connection.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise Unusable("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    folder = connection.service_account_dir
    token = reader.bytes_of(folder / "token").decode().strip()
    if not token:
        raise Unusable("its token is empty")
    return ClusterConfig(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=None,
        tls=TlsMaterial(
            authority=reader.bytes_of(folder / "ca.crt"), strict=connection.strict_x509
        ),
        authorization=_bearer(token),
        files=tuple(reader.files),
    )


def _read_files(paths: str, reader: _Reader) -> list[tuple[_Fields, Path]]:
    documents: list[tuple[_Fields, Path]] = []
    failure: OSError | None = None
    for named in filter(None, paths.split(os.pathsep)):
        path = Path(named).expanduser()
        try:
            content: Any = yaml.load(reader.bytes_of(path), _YamlLoader)
        except OSError as error:  # one of several may be missing, as for kubectl
            failure = error
            continue
        if content is None:
            continue
        if not isinstance(content, dict):
            raise Unusable("it is not a kubeconfig")
        documents.append((cast("_Fields", content), path.parent))
    if not documents:
        raise failure or Unusable("it is empty")
    return documents


def _build(
    connection: ClusterConnection,
    context: _Fields,
    cluster: _Entry,
    user: _Entry,
    reader: _Reader,
) -> ClusterConfig:
    server, own_authorization = _server(cluster.fields)
    authority = reader.file_or_data(cluster, "certificate-authority")
    certificate = reader.file_or_data(user, "client-certificate")
    key = reader.file_or_data(user, "client-key")
    if (certificate is None) != (key is None):
        raise Unusable("its user has a client certificate without its key, or a key alone")
    provider = user.fields.get("auth-provider")
    return ClusterConfig(
        server=server,
        namespace=_text(context, "namespace") or None,
        tls=TlsMaterial(
            authority=authority,
            certificate=certificate,
            key=key,
            verifies=not _flag(cluster.fields, "insecure-skip-tls-verify"),
            strict=connection.strict_x509,
        ),
        tls_server_name=_server_name(cluster.fields),
        proxy_url=_text(cluster.fields, "proxy-url") or None,
        authorization=_authorization(user, reader) or own_authorization,
        impersonation=tuple(_impersonation(user.fields)),
        plugin=_plugin(user, cluster, authority),
        auth_provider=user.fields if provider else None,
        files=tuple(reader.files),
    )


def _server(cluster: _Fields) -> tuple[str, str | None]:
    """Return the server's URL, and the header for the user that stands in it, if one does.

    As kubectl does, that user counts where the kubeconfig's own has no credentials.
    """
    server = _text(cluster, "server").rstrip("/")
    if not server:
        raise Unusable("its cluster has no server")
    try:
        url = URL(server)
    except ValueError:
        url = None
    if url is None or not server.isprintable():
        # Not chained: what is not an address may hold a credential.
        raise Unusable("its cluster's server is not an address")
    if url.scheme not in {"http", "https"} or not url.host:
        # kubectl would guess one from the rest, and may send the token in the clear.
        raise Unusable("its cluster's server does not begin with https:// or http:// and a host")
    address = str(url.with_user(None)).rstrip("/")
    if not url.user and not url.password:
        return address, None
    return address, _basic(url.user or "", url.password or "")


def _server_name(cluster: _Fields) -> str | None:
    name = _text(cluster, "tls-server-name")
    try:
        name.encode("idna")
    except UnicodeError:
        raise Unusable("its tls-server-name is not a host name") from None
    if not name.isprintable():
        raise Unusable("its tls-server-name is not a host name")
    return name or None


def _authorization(user: _Entry, reader: _Reader) -> str | None:
    if path := _text(user.fields, "tokenFile"):
        return _bearer(reader.bytes_of(user.folder / Path(path).expanduser()).decode().strip())
    if token := _text(user.fields, "token").strip():
        return _bearer(token)
    name, password = _text(user.fields, "username"), _text(user.fields, "password")
    return _basic(name, password) if name and password else None


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _bearer(token: str) -> str:
    if not token.isprintable():
        raise Unusable("its token contains a control character")
    return f"Bearer {token}"


def _impersonation(user: _Fields) -> Iterator[tuple[str, str]]:
    """Yield the headers of a user that acts as somebody else, as kubectl sends them."""
    name, uid = _text(user, "as"), _text(user, "as-uid")
    extra = _object(user.get("as-user-extra") or {}, "as-user-extra")
    groups = _texts(user, "as-groups", "as-groups")
    if not name and (uid or extra or groups):
        raise Unusable("its user has as-uid, as-groups or as-user-extra without as")
    headers = [("Impersonate-User", name), ("Impersonate-Uid", uid)]
    headers += [("Impersonate-Group", group) for group in groups]
    for key in extra:
        header = f"Impersonate-Extra-{quote(str(key), safe=_HEADER_NAME_MARKS)}"
        headers += [(header, value) for value in _texts(extra, key, "as-user-extra")]
    for header, value in headers:
        if not value.isprintable():
            raise Unusable(f"what its user gives for {header} contains a control character")
        if value:
            yield header, value


def _plugin(user: _Entry, cluster: _Entry, authority: bytes | None) -> PluginCommand | None:
    if user.fields.get("exec") is None:
        return None
    said = _object(user.fields["exec"], "exec")
    command, api_version = _text(said, "command"), _text(said, "apiVersion")
    if not command or not api_version:
        raise Unusable("its credential plugin has no command or no apiVersion")
    if os.sep in command:
        command = str(user.folder / command)
    pairs = [_object(pair, "exec.env") for pair in _list(said, "env", "exec.env")]
    return PluginCommand(
        command=command,
        args=_texts(said, "args", "exec.args"),
        env={_text(pair, "name"): _text(pair, "value") for pair in pairs},
        api_version=api_version,
        install_hint=_text(said, "installHint"),
        needs_terminal=said.get("interactiveMode") == "Always",
        cluster=_cluster_info(cluster.fields, authority)
        if _flag(said, "provideClusterInfo")
        else None,
    )


def _cluster_info(cluster: _Fields, authority: bytes | None) -> _Fields:
    """Return what a plugin that asks for it is told of the cluster."""
    told: dict[str, Any] = {
        name: cluster[name]
        for name in ("server", "tls-server-name", "proxy-url")
        if cluster.get(name)
    }
    if _flag(cluster, "insecure-skip-tls-verify"):
        told["insecure-skip-tls-verify"] = True
    if authority is not None:
        told["certificate-authority-data"] = base64.b64encode(authority).decode()
    for extension in _list(cluster, "extensions", "extensions"):
        if _object(extension, "extensions").get("name") == _PLUGIN_EXTENSION:
            told["config"] = extension.get("extension")
    return told


def _named(documents: list[tuple[_Fields, Path]], kind: str, name: str) -> _Entry:
    for entry, folder in _entries(documents, f"{kind}s"):
        if entry.get("name") == name:
            return _Entry(_object(entry.get(kind) or {}, kind), folder)
    raise Unusable(f"it has no {kind} named {name!r}")


def _entries(documents: list[tuple[_Fields, Path]], kind: str) -> Iterator[tuple[_Fields, Path]]:
    for document, folder in documents:
        for entry in _list(document, kind, kind):
            yield _object(entry, kind), folder


def _first_text(documents: list[tuple[_Fields, Path]], name: str) -> str:
    return next((found for document, _ in documents if (found := _text(document, name))), "")


def _object(value: Any, what: str) -> _Fields:
    if not isinstance(value, Mapping):
        raise Unusable(f"an entry of its {what} is not an object")
    return cast("_Fields", value)


def _text(fields: _Fields, name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(f"its {name} is not a text")
    return value


def _flag(fields: _Fields, name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        # A text such as "false" counts as true in Python, and would switch off what it is to keep.
        raise Unusable(f"its {name} is neither true nor false")
    return value


def _list(fields: _Fields, name: str, what: str) -> list[Any]:
    value: Any = fields.get(name) or []
    if not isinstance(value, list):
        raise Unusable(f"its {what} are not a list")
    return cast("list[Any]", value)


def _texts(fields: _Fields, name: str, what: str) -> tuple[str, ...]:
    found = _list(fields, name, what)
    if not all(isinstance(item, str) for item in found):
        raise Unusable(f"its {what} are not all texts")
    return tuple(found)
