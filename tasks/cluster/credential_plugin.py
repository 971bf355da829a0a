"""Credential plugins: the program that a kubeconfig's `exec` names, which prints an ExecCredential.

It is somebody else's program: it may wait for a login, print without end, leave children behind.
So it runs in a process group of its own that has a time limit, and ends with our process.
"""

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from tasks.cluster.tls_material import certificate_ends_at

# The first shell lives as long as the plugin and waits for both. The second one's `read` ends when
# our end of the pipe is closed, as it is by a SIGKILL of our process too: then all of them go.
_GUARDED = """
exec 3<&0 </dev/null
"$@" 3<&- & plugin=$!
(read -r _ <&3; kill -s KILL -- "-$$") >/dev/null 2>&1 & guard=$!
exec 3<&-
wait "$plugin"; code=$?
kill "$guard"; wait "$guard" 2>/dev/null
exit "$code"
"""
_MOST_STDOUT_BYTES = 1_048_576
_KEPT_STDERR_BYTES = 8_192
_QUOTED_CHARACTERS = 400
_END_SECONDS = 2.0
_SHORTEST_SECRET = 6

_MASK = "[redacted]"
_CREDENTIAL_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)"
    r"|(?<=bearer )\S+|(?<=basic )\S+"
    r"|\beyJ[\w-]+\.[\w.-]*"
    r"|(?<![\w/+=-])[\w/+=-]{40,}",
    re.DOTALL | re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"(?P<name>\"?[\w-]*(?:token|secret|password|passwd|key|credential|assertion)[\w-]*\"?"
    r"\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;]+)",
    re.IGNORECASE,
)


class PluginFailed(Exception):
    """The plugin gave no credential; `str()` is a sentence without its full stop."""


@dataclass(frozen=True)
class PluginCommand:
    """What a kubeconfig's `exec` says.

    Attributes:
        command: Program, absolute or to be found in PATH.
        args: Its arguments.
        env: Added to our environment.
        api_version: Of the ExecCredential that it must print.
        install_hint: What the kubeconfig says to somebody who lacks the program.
        needs_terminal: It is only to be run where a person can answer.
        cluster: `spec.cluster` of what it is told, if it asks for that.
    """

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    api_version: str
    install_hint: str
    needs_terminal: bool
    cluster: Mapping[str, Any] | None = field(repr=False)

    @property
    def name(self) -> str:
        """What people call it."""
        return Path(self.command).name


@dataclass(frozen=True)
class PluginCredential:
    """What a plugin printed; token, certificate or both.

    Attributes:
        expires_at: When the first of what it gave ends, by its own words or by the certificate's;
            None when nobody says.
    """

    token: str | None = field(repr=False)
    certificate: bytes | None
    key: bytes | None = field(repr=False)
    expires_at: datetime | None


async def ask_plugin(plugin: PluginCommand, *, seconds: float) -> PluginCredential:
    """Run the plugin and return what it gives; its whole process group has ended then.

    Raises:
        PluginFailed: It is not there, failed, or has not answered in time.
    """
    if plugin.needs_terminal:
        raise PluginFailed(
            f"the credential plugin {plugin.name} wants to ask a person (interactiveMode: Always), "
            "and there is no terminal here; use a plugin or a mode that needs nobody"
        )
    program = shutil.which(plugin.command)
    if program is None:
        hint = f" ({' '.join(plugin.install_hint.split())})" if plugin.install_hint else ""
        raise PluginFailed(f"the credential plugin {plugin.command} is not installed here{hint}")
    code, stdout, stderr = await _run(plugin, program, seconds)
    if code != 0:
        said = _said(plugin, stderr)
        raise PluginFailed(f"the credential plugin {plugin.name} ended with exit code {code}{said}")
    return parse_credential(plugin, stdout)


async def _run(plugin: PluginCommand, program: str, seconds: float) -> tuple[int, bytes, bytes]:
    info: dict[str, Any] = {"interactive": False}
    if plugin.cluster is not None:
        info["cluster"] = plugin.cluster
    told = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": info}
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        _GUARDED,
        "sh",
        program,
        *plugin.args,
        env={**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(told)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    stderr = bytearray()
    output = asyncio.create_task(_read_stdout(plugin, process))
    errors = asyncio.create_task(_keep_tail(process, stderr))
    try:
        async with asyncio.timeout(seconds):
            stdout, _ = await asyncio.gather(output, errors)
            return await process.wait(), stdout, bytes(stderr)
    except TimeoutError:
        raise PluginFailed(
            f"the credential plugin {plugin.name} has not answered within {seconds:g} s; if it "
            "waits for a login, log in with `kubectl get pods` and try again"
            f"{_said(plugin, bytes(stderr))}"
        ) from None
    finally:
        await _end(process, output, errors)


async def _read_stdout(plugin: PluginCommand, process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    found = bytearray()
    while chunk := await process.stdout.read(65_536):
        found += chunk
        if len(found) > _MOST_STDOUT_BYTES:
            raise PluginFailed(f"the credential plugin {plugin.name} prints more than 1 MiB")
    return bytes(found)


async def _keep_tail(process: asyncio.subprocess.Process, kept: bytearray) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(65_536):
        kept += chunk
        del kept[:-_KEPT_STDERR_BYTES]


async def _drop_rest(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(65_536):
        pass


async def _end(process: asyncio.subprocess.Process, *readers: asyncio.Task[Any]) -> None:
    """End the whole group: the plugin, and what it left running."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            # A pipe that nobody reads to its end stays open.
            await asyncio.gather(_drop_rest(process.stdout), _drop_rest(process.stderr))
            await process.wait()


def parse_credential(plugin: PluginCommand, stdout: bytes) -> PluginCredential:
    """Read an ExecCredential.

    Raises:
        PluginFailed: It is none; says what is wrong, and never quotes it.
    """
    try:
        printed: Any = json.loads(stdout)
    except ValueError:
        raise _wrong(plugin, "is not JSON") from None
    found = _object(printed)
    if found.get("kind") != "ExecCredential" or found.get("apiVersion") != plugin.api_version:
        raise _wrong(plugin, f"is not an ExecCredential of {plugin.api_version}")
    status = _object(found.get("status"))
    token = _text(status, "token").strip()
    if not token.isprintable():
        raise _wrong(plugin, "has a token with a control character in it")
    certificate = _text(status, "clientCertificateData").encode() or None
    key = _text(status, "clientKeyData").encode() or None
    if (certificate is None) != (key is None):
        raise _wrong(plugin, "has a certificate without its key, or a key alone")
    if not token and certificate is None:
        raise _wrong(plugin, "has neither a token nor a certificate")
    return PluginCredential(token or None, certificate, key, _expiry(plugin, status, certificate))


def _expiry(
    plugin: PluginCommand, status: Mapping[str, Any], certificate: bytes | None
) -> datetime | None:
    ends: list[datetime] = []
    if said := _text(status, "expirationTimestamp"):
        try:
            said_at = datetime.fromisoformat(said)
        except ValueError:
            raise _wrong(plugin, "has an expirationTimestamp that is not a time") from None
        ends.append(said_at if said_at.tzinfo else said_at.replace(tzinfo=UTC))
    if certificate is not None and (certificate_end := certificate_ends_at(certificate)):
        ends.append(certificate_end)
    return min(ends, default=None)


def _wrong(plugin: PluginCommand, what: str) -> PluginFailed:
    return PluginFailed(f"what the credential plugin {plugin.name} prints {what}")


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _said(plugin: PluginCommand, stderr: bytes) -> str:
    """Quote the end of what it printed to stderr, without what looks like a credential."""
    text = stderr.decode(errors="replace")
    for secret in _given_secrets(plugin):
        text = text.replace(secret, _MASK)
    text = _CREDENTIAL_SHAPES.sub(_MASK, text)
    text = _ASSIGNED.sub(lambda found: found["name"] + _MASK, text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not line:
        return ""
    if len(line) > _QUOTED_CHARACTERS:
        line = f"…{line[-_QUOTED_CHARACTERS:]}"
    return f'; it said: "{line}"'


def _given_secrets(plugin: PluginCommand) -> list[str]:
    """Return what the kubeconfig hands to it: values of its environment, and of `--name=value`."""
    values = [*plugin.env.values(), *(arg.partition("=")[2] for arg in plugin.args)]
    return sorted((v for v in values if len(v) >= _SHORTEST_SECRET), key=len, reverse=True)
