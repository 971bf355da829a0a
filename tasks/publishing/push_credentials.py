"""How Git gets the credentials for a push: as variables and a file of its own process alone.

They stand on no command line and in no address, configuration or file that stays. A password is in
the environment of the Git process, which only the same user can read, and is handed out by a helper
whose text names the variables; an authorisation header for all requests would follow a redirection
to another server. A key is a file that only we can read, because ssh takes it no other way.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.publishing.publish_failures import PublishFailed, Refusal
from tasks.text.redaction import pieces_of_file
from tasks.vocabulary.git_remotes import Forge, GitRemote

_USERNAME, _PASSWORD = "CLAUDE_JOBS_PUSH_USERNAME", "CLAUDE_JOBS_PUSH_PASSWORD"
_HELPER = (
    f'!f() {{ [ "$1" = get ] || return 0; printf "username=%s\\npassword=%s\\n" '
    f'"${_USERNAME}" "${_PASSWORD}"; }}; f'
)
# Any name is taken with a token; these are the documented ones.
_TOKEN_USERS: Mapping[Forge | None, str] = {"github": "x-access-token", "gitlab": "oauth2"}
_CONNECT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PushCredentials:
    """What authorises a push, and a pull request; `None` where there is none.

    Attributes:
        ssh_key: A private key, with `known_hosts` beside it.
        token: For the API; the password where there is none of its own.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)
    known_hosts: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def secrets(self) -> Iterator[str]:
        """Yield all values that nobody may read."""
        yield from (value for value in (self.password, self.token) if value)
        if self.ssh_key:
            yield from pieces_of_file(self.ssh_key)

    def api_token(self) -> str:
        """Return what the API of the server is asked with.

        Raises:
            PublishFailed: There is none.
        """
        found = self.token or self.password
        if not found:
            raise PublishFailed(
                Refusal.CREDENTIALS_MISSING,
                "There is no token for pull requests in what `publish` of the runtime names.",
            )
        return found


def credentials_from_keys(keys: Mapping[str, str]) -> PushCredentials:
    """Return the credentials in the data of a Kubernetes Secret."""
    line = {name: value.strip() or None for name, value in keys.items()}
    return PushCredentials(
        username=line.get("username"),
        password=line.get("password"),
        ssh_key=keys.get("ssh-privatekey") or None,
        known_hosts=keys.get("known_hosts") or None,
        token=line.get("token"),
    )


def git_settings(remote: GitRemote) -> tuple[str, ...]:
    """Return the options of each command of Git that reaches the remote; no secret is in them."""
    settings = {
        # The first empties the list.
        "credential.helper": ("", _HELPER) if not remote.is_ssh else ("",),
        "core.askPass": ("",),
        "http.followRedirects": ("false",),
        "http.lowSpeedLimit": ("1000",),
        "http.lowSpeedTime": ("60",),
    }
    return tuple(
        part
        for name, values in settings.items()
        for value in values
        for part in ("-c", f"{name}={value}")
    )


def git_environment(
    remote: GitRemote, forge: Forge | None, credentials: PushCredentials, folder: Path
) -> dict[str, str]:
    """Return the variables for Git; writes a key to `folder`, which its owner removes.

    Raises:
        PublishFailed: The credentials are not such as the remote's address needs.
        OSError: The folder cannot be written to.
    """
    if not remote.is_ssh:
        if not credentials.password and not credentials.token:
            raise PublishFailed(
                Refusal.CREDENTIALS_MISSING,
                f"To push to {remote.host} by {remote.scheme} takes a password or token, and what "
                "`publish` of the runtime names has none.",
            )
        user = credentials.username or _TOKEN_USERS.get(forge, "git")
        password = credentials.password or credentials.token or ""
        if any(character in user + password for character in "\n\r\x00"):
            raise PublishFailed(
                Refusal.CREDENTIALS_MISSING,
                "User name or password for the push have several lines.",
            )
        return {_USERNAME: user, _PASSWORD: password}
    if not credentials.ssh_key or not credentials.known_hosts:
        raise PublishFailed(
            Refusal.CREDENTIALS_MISSING,
            f"To push to {remote.host} by ssh takes the keys ssh-privatekey and known_hosts of a "
            "Secret; without known hosts the server could be any.",
        )
    key = _write(folder / "key", credentials.ssh_key)
    hosts = _write(folder / "known_hosts", credentials.known_hosts)
    options = {
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "ConnectTimeout": str(_CONNECT_SECONDS),
    }
    words = ["ssh", "-F", "/dev/null", "-i", str(key)]
    words += [part for item in options.items() for part in ("-o", "=".join(item))]
    return {"GIT_SSH_COMMAND": shlex.join(words), "GIT_SSH_VARIANT": "ssh"}


def _write(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    # ssh takes no key whose last line has no end.
    path.write_text(content if content.endswith("\n") else f"{content}\n", encoding="utf-8")
    return path
