"""Credential plugins that are slow, loud or stuck, or whose answers end; all are real programs."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_credentials import judge_lifetime
from tasks.cluster.cluster_errors import CredentialsUnavailable, KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.credential_plugin import (
    PluginCommand,
    PluginFailed,
    ask_plugin,
    parse_credential,
)
from tests.certificates import Authority
from tests.scripted_api import kubeconfig, serve

PODS = "/api/v1/namespaces/a/pods"
V1 = "client.authentication.k8s.io/v1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def shell(script: str, **more: Any) -> PluginCommand:
    plugin = PluginCommand("/bin/sh", ("-c", script), {}, V1, "", False, None)
    return replace(plugin, **more)


def credential(**status: object) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


def user(plugin: PluginCommand) -> dict[str, object]:
    said = {"command": plugin.command, "args": list(plugin.args), "apiVersion": V1}
    return {"exec": said}


def connection(plugin: PluginCommand, url: str, seconds: float = 5) -> ClusterConnection:
    return ClusterConnection(kubeconfig=kubeconfig(url, user(plugin)), plugin_seconds=seconds)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def eventually(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - a file and other processes set no event
            await asyncio.sleep(0.01)


def words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def pids_in(path: Path, count: int) -> list[int]:
    await eventually(lambda: len(words(path)) == count)
    return [int(pid) for pid in words(path)]


async def all_end(pids: list[int]) -> bool:
    await eventually(lambda: not any(map(is_alive, pids)))
    return True


def stuck(path: Path) -> PluginCommand:
    """A plugin that waits for ever, with a child; both write down their process ids."""
    return shell(f"sleep 300 & echo $! $$ > {path}; echo visit https://login.example >&2; wait")


async def test_plugin_that_waits_for_a_login_has_its_bound_and_is_quoted(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(
        PluginFailed, match=r"within 0.5 s; if it waits for a login.*visit https://login.example"
    ):
        await ask_plugin(stuck(tmp_path / "pids"), seconds=0.5)

    assert time.monotonic() - began < 5
    assert await all_end(await pids_in(tmp_path / "pids", 2))


async def test_cancelled_question_ends_the_plugin_and_its_children(tmp_path: Path) -> None:
    asking = asyncio.create_task(ask_plugin(stuck(tmp_path / "pids"), seconds=60))
    pids = await pids_in(tmp_path / "pids", 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert await all_end(pids)


async def test_plugin_ends_with_our_process_even_if_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio\n"
        "from tasks.cluster.credential_plugin import PluginCommand, ask_plugin\n"
        f"plugin = PluginCommand(*{('/bin/sh', stuck(tmp_path / 'pids').args, {}, V1, '', False)!r}"
        ", None)\n"
        "asyncio.run(ask_plugin(plugin, seconds=60))\n"
    )
    ours = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    try:
        pids = await pids_in(tmp_path / "pids", 2)
    finally:
        ours.kill()
        await ours.wait()

    assert await all_end(pids)


async def test_children_that_a_plugin_leaves_behind_end_with_it(tmp_path: Path) -> None:
    left = tmp_path / "pids"
    script = f"sleep 300 >/dev/null 2>&1 & echo $! > {left}; printf '%s' \"$ANSWER\""
    plugin = shell(script, env={"ANSWER": credential(token="t0ken")})
    found = await ask_plugin(plugin, seconds=10)

    assert found.token == "t0ken"
    assert await all_end(await pids_in(left, 1))


async def test_plugin_is_told_the_cluster_and_that_nobody_can_answer() -> None:
    told = {"server": "https://x", "config": {"audience": "a"}}
    script = "read -r line && exit 9; printf '%s' \"$KUBERNETES_EXEC_INFO\" >&2; exit 3"
    with pytest.raises(PluginFailed, match="exit code 3") as failed:
        await ask_plugin(shell(script, cluster=told), seconds=10)

    quoted = json.loads(str(failed.value).partition('it said: "')[2].removesuffix('"'))
    assert quoted["spec"] == {"interactive": False, "cluster": told}


@pytest.mark.parametrize(
    "printed",
    [
        "token=tell-nobody",
        "client_secret: tell-nobody",
        '{"password": "tell-nobody"}',
        "AWS_SECRET_ACCESS_KEY=tell-nobody",
        "Authorization: Bearer tell-nobody",
        "eyJhbGciOiJIUzI1NiJ9.tell-nobody.c2lnbmF0dXJl",
        f"{'tell-nobody' * 4}",
        "-----BEGIN PRIVATE KEY-----\ntell-nobody\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\ntell-nobody",
        "from the environment: given-by-env",
        "from the arguments: given-by-arg",
    ],
)
async def test_what_looks_like_a_credential_is_not_quoted(printed: str) -> None:
    args = (
        "-c",
        'printf "%s" "$1" >&2; exit 1',
        "sh",
        f"before {printed} after",
        "--x=given-by-arg",
    )
    plugin = shell("", args=args, env={"SOMETHING": "given-by-env"})
    with pytest.raises(PluginFailed, match="before") as failed:
        await ask_plugin(plugin, seconds=10)

    assert "tell-nobody" not in str(failed.value)
    assert "given-by" not in str(failed.value)
    assert "[redacted]" in str(failed.value)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "i=0; while [ $i -lt 9000 ]; do echo 'many words'; i=$((i+1)); done >&2; exit 1",
            "code 1",
        ),
        ("while :; do echo 'many words many words many words'; done", "more than 1 MiB"),
        ("kill -9 $$", "exit code 137"),
    ],
)
async def test_plugin_that_prints_without_end_is_bounded(script: str, told: str) -> None:
    with pytest.raises(PluginFailed, match=told) as failed:
        await ask_plugin(shell(script), seconds=20)

    assert len(str(failed.value)) < 700


async def test_missing_plugin_is_told_with_its_install_hint() -> None:
    plugin = shell("", command="no-such-plugin", install_hint="Get it\nfrom x.")
    with pytest.raises(PluginFailed, match=r"no-such-plugin is not installed here \(Get it from x"):
        await ask_plugin(plugin, seconds=10)


async def test_plugin_that_needs_a_terminal_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match="interactiveMode: Always"):
        await ask_plugin(shell(f"touch {tmp_path}/ran", needs_terminal=True), seconds=10)

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("stdout", "told"),
    [
        ("", "is not JSON"),
        ("[]", "is not an ExecCredential"),
        (credential(token="x").replace("/v1", "/v1beta1"), "is not an ExecCredential"),
        (credential(), "neither a token nor a certificate"),
        (credential(token=""), "neither a token nor a certificate"),
        (credential(token=["HUSH"]), "neither a token nor a certificate"),
        (credential(clientCertificateData="HUSH"), "without its key"),
        (credential(clientKeyData="HUSH"), "a key alone"),
        (credential(token="HUSH", expirationTimestamp="soon"), "is not a time"),
    ],
)
def test_answer_that_is_none_is_told_without_quoting_it(stdout: str, told: str) -> None:
    with pytest.raises(PluginFailed, match=told) as failed:
        parse_credential(shell(""), stdout.encode())

    assert "HUSH" not in str(failed.value)


def test_credential_ends_with_the_first_of_what_it_gives() -> None:
    pair = Authority().client(seconds=20)
    certificate = {
        "clientCertificateData": pair.certificate.decode(),
        "clientKeyData": pair.key.decode(),
    }
    soon = datetime.now(UTC) + timedelta(seconds=20)

    def ends(**status: object) -> datetime | None:
        return parse_credential(shell(""), credential(**status).encode()).expires_at

    def is_soon(at: datetime | None) -> bool:
        return at is not None and abs(at - soon) < timedelta(seconds=5)

    assert ends(token="t") is None
    assert ends(token="t", expirationTimestamp="2026-01-01T00:00:00Z") == NOW
    assert is_soon(ends(**certificate))
    assert is_soon(ends(**certificate, expirationTimestamp="2999-01-01T00:00:00Z"))
    assert ends(**certificate, expirationTimestamp="2026-01-01T00:00:00Z") == NOW


@pytest.mark.parametrize(
    ("life", "expected"),
    [(None, (None, None)), (20, (20, 16)), (3600, (3600, 3540)), (1, (1, 1)), (-5, (60, 60))],
)
def test_credential_is_renewed_before_its_end(
    life: float | None, expected: tuple[float | None, float | None]
) -> None:
    expires_at = None if life is None else NOW + timedelta(seconds=life)

    assert judge_lifetime(expires_at, NOW) == expected


def numbered(folder: Path, script: str = "") -> PluginCommand:
    """A plugin that counts its calls in a file, and gives `token-1`, `token-2` for 100 s each."""
    expires = (datetime.now(UTC) + timedelta(seconds=100)).isoformat()
    answer = credential(token="token-NUMBER", expirationTimestamp=expires)
    return shell(
        f"echo x >> {folder}/calls; n=$(wc -l < {folder}/calls); {script}\n"
        f"echo '{answer}' | sed s/NUMBER/$n/"
    )


async def good(_: web.Request) -> web.StreamResponse:
    return web.json_response({})


async def test_token_is_renewed_before_it_expires_while_requests_go_on(tmp_path: Path) -> None:
    clock, calls = Clock(), tmp_path / "calls"
    plugin = numbered(tmp_path, f"while [ $n = 2 ] && [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    async with (
        serve(good) as api,
        ClusterClient(connection(plugin, api.url, 20), monotonic=clock) as client,
    ):
        await client.request("GET", PODS)
        clock.seconds += 70
        await client.request("GET", PODS)
        clock.seconds += 15
        await client.request("GET", PODS)  # 80 of 100 s are over: asked meanwhile
        await eventually(lambda: len(words(calls)) == 2)
        await client.request("GET", PODS)
        (tmp_path / "go").touch()
        async with asyncio.timeout(10):
            while api.requests[-1].headers["Authorization"] != "Bearer token-2":
                await client.request("GET", PODS)
                await asyncio.sleep(0.02)

    seen = [request.headers["Authorization"] for request in api.requests]
    assert seen[:4] == ["Bearer token-1"] * 4
    assert len(words(calls)) == 2


async def test_requests_at_the_same_time_ask_once_and_no_cancelled_one_ends_it(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with (
        serve(good) as api,
        ClusterClient(
            connection(numbered(tmp_path, "sleep 0.3"), api.url), monotonic=clock
        ) as client,
    ):
        clock.seconds += 101
        impatient = asyncio.create_task(client.request("GET", PODS))
        others = [asyncio.create_task(client.request("GET", PODS)) for _ in range(20)]
        await asyncio.sleep(0.1)
        impatient.cancel()
        await asyncio.gather(*others)

    assert {r.headers["Authorization"] for r in api.requests} == {"Bearer token-2"}
    assert len(words(tmp_path / "calls")) == 2


async def test_failed_renewal_is_told_once_the_last_answer_has_ended(tmp_path: Path) -> None:
    clock, calls, broken = Clock(), tmp_path / "calls", tmp_path / "broken"
    plugin = numbered(tmp_path, f"[ ! -e {broken} ] || {{ echo no session >&2; exit 1; }}")
    async with (
        serve(good) as api,
        ClusterClient(connection(plugin, api.url), monotonic=clock) as client,
    ):
        broken.touch()
        clock.seconds += 90
        await client.request("GET", PODS)  # the first one goes on while a renewal fails
        await eventually(lambda: len(words(calls)) == 2)
        clock.seconds += 20
        with pytest.raises(CredentialsUnavailable, match=r"cannot be renewed.*no session") as told:
            await client.request("GET", PODS, retry=RETRY_NEVER)
        asked = len(words(calls))
        with pytest.raises(CredentialsUnavailable):
            await client.request("GET", PODS, retry=RETRY_NEVER)
        asked_again = len(words(calls))
        broken.unlink()
        clock.seconds += 11
        await client.request("GET", PODS)

    assert not told.value.was_sent
    assert asked == asked_again  # not within the pause after a failure
    assert api.requests[0].headers["Authorization"] == "Bearer token-1"
    assert api.requests[-1].headers["Authorization"] == f"Bearer token-{asked + 1}"


async def test_opening_ends_with_a_sentence_after_the_bound(tmp_path: Path) -> None:
    told = connection(stuck(tmp_path / "pids"), "http://127.0.0.1:1", 0.5)
    with pytest.raises(
        KubeconfigInvalid, match=r"gives no credentials: the credential plugin sh .*"
    ):
        async with ClusterClient(told):
            pass

    assert await all_end(await pids_in(tmp_path / "pids", 2))


async def test_closing_does_not_wait_for_a_plugin(tmp_path: Path) -> None:
    clock = Clock()
    pids = tmp_path / "pids"
    plugin = numbered(tmp_path, f"[ $n = 1 ] || {{ echo $$ > {pids}; sleep 300; }}")
    began = time.monotonic()
    async with (
        serve(good) as api,
        ClusterClient(connection(plugin, api.url, 60), monotonic=clock) as client,
    ):
        clock.seconds += 85
        await client.request("GET", PODS)
        running = await pids_in(pids, 1)

    assert time.monotonic() - began < 5
    assert await all_end(running)


@pytest.mark.parametrize("shell_path", ["/bin/dash", "/bin/bash", "busybox"])
async def test_every_shell_guards_a_plugin(shell_path: str, tmp_path: Path) -> None:
    import shutil

    from tasks.cluster import credential_plugin

    found = shutil.which(shell_path)
    if found is None:
        pytest.skip(f"no {shell_path} here")
    guarded = vars(credential_plugin)["_GUARDED"]
    command = [found, *(["sh"] if shell_path == "busybox" else []), "-c", guarded, "sh"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "/bin/sh",
        "-c",
        f"sleep 300 & echo $! $$ > {tmp_path}/pids; wait",
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    pids = await pids_in(tmp_path / "pids", 2)
    assert process.stdin is not None
    process.stdin.close()
    try:
        assert await all_end(pids)
    finally:
        if process.returncode is None and any(map(is_alive, pids)):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
