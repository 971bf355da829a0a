"""Addresses of repositories: how Git reaches one, and which server's API knows it."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Forge = Literal["github", "gitlab"]

# `git@host:path`, as ssh takes it; a scheme has slashes after its colon.
_SCP = re.compile(r"(?:[^@/:\s]+@)?(?P<host>\[[^\]]+\]|[^/:\s]+):(?P<path>(?!//)[^\s]+)")
_SCHEMES = ("http", "https", "ssh")


@dataclass(frozen=True, slots=True)
class GitRemote:
    """A repository that can be pushed to.

    Attributes:
        address: As Git takes it; holds no credential.
        scheme: `http`, `https` or `ssh`.
        host: Lowercase, without user and port.
        port: `None` for the scheme's own.
        path: Without slashes around it and without `.git`.
    """

    address: str
    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def is_ssh(self) -> bool:
        """Whether a key is needed, and not a password."""
        return self.scheme == "ssh"


@dataclass(frozen=True, slots=True)
class ForgeAddress:
    """Where pull requests of a repository are made.

    Attributes:
        api_url: Without a slash at its end.
        project: The repository's path, as the API names it.
    """

    forge: Forge
    api_url: str
    project: str


def parse_remote(address: str) -> GitRemote | None:
    """Return the repository of an address; `None` where nothing can be pushed to."""
    if any(character.isspace() or ord(character) < 0x20 for character in address):
        return None
    if address.startswith("-"):
        return None
    if "://" not in address:
        found = _SCP.fullmatch(address)
        return found and _remote(address, "ssh", found["host"], None, found["path"])
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES or not parts.hostname or parts.query or parts.fragment:
        return None
    if parts.password is not None or (scheme != "ssh" and parts.username is not None):
        return None
    return _remote(address, scheme, parts.hostname, port, parts.path)


def _remote(address: str, scheme: str, host: str, port: int | None, path: str) -> GitRemote | None:
    path = path.strip("/").removesuffix(".git")
    host = host.lower()
    if not path or host.startswith("-"):
        return None
    return GitRemote(address, scheme, host, port, path)


def find_forge(
    remote: GitRemote, forge: Forge | None = None, api_url: str | None = None
) -> ForgeAddress | None:
    """Return where a repository's pull requests are made; `None` where that is not known.

    Args:
        remote: The repository.
        forge: What serves it; where it is not told, names of hosts that say so count.
        api_url: Its API; where it is not told, that of a server at the root of its host.
    """
    forge = forge or _forge_of(remote.host)
    if forge is None:
        return None
    base = (api_url or _api_of(remote, forge)).rstrip("/")
    project = remote.path
    # A GitLab that does not have its host for itself.
    prefix = urlsplit(base).path.removesuffix("/api/v4").strip("/")
    if forge == "gitlab" and prefix and not remote.is_ssh:
        project = project.removeprefix(f"{prefix}/")
    if project.count("/") != 1 if forge == "github" else "/" not in project:
        return None
    return ForgeAddress(forge, base, project)


def push_address(remote: GitRemote, forge: Forge | None) -> str:
    """Return the address to push to, which needs no redirection.

    Credentials go to no other address than the one that was named, so redirections are not
    followed; GitLab sends whoever leaves `.git` out to the address with it.
    """
    is_known = (forge or _forge_of(remote.host)) is not None
    if remote.is_ssh or not is_known or remote.address.endswith(".git"):
        return remote.address
    return f"{remote.address.rstrip('/')}.git"


def _forge_of(host: str) -> Forge | None:
    if host == "github.com" or host.endswith(".ghe.com") or host.startswith("github."):
        return "github"
    if host == "gitlab.com" or host.startswith("gitlab."):
        return "gitlab"
    return None


def _api_of(remote: GitRemote, forge: Forge) -> str:
    if remote.host == "github.com":
        return "https://api.github.com"
    if remote.host.endswith(".ghe.com"):
        return f"https://api.{remote.host}"
    # The port of ssh is not that of the API.
    scheme = "https" if remote.is_ssh else remote.scheme
    port = "" if remote.is_ssh or remote.port is None else f":{remote.port}"
    return f"{scheme}://{remote.host}{port}/api/{'v3' if forge == 'github' else 'v4'}"
