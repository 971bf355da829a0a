"""Runs whose way to the cluster changes under them: certificates and tokens that end, connections
that are cut, a rotated authority, and a credential plugin that waits for a login.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.pod_exec import run_in_pod
from tests.api_front import ApiFront, serve_front
from tests.certificates import Authority, replace_file, server_context, show
from tests.main_job.conftest import COMMAND, CliRun, Traces
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.slice, pytest.mark.timeout(300)]

CHECKOUT = Path(__file__).parents[2]
CERTIFICATE_SECONDS = 20
V1 = "client.authentication.k8s.io/v1"
PLUGIN = """
import json, sys
from pathlib import Path
sys.path.insert(0, {checkout!r})
from tests.certificates import Authority
folder = Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write("x")
authority = Authority.from_files(folder / "authority.crt", folder / "authority.key")
pair = authority.client("short-lived", seconds={seconds}, group="system:masters")
status = {{"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()}}
print(json.dumps({{"apiVersion": {version!r}, "kind": "ExecCredential", "status": status}}))
"""


def write_kubeconfig(path: Path, server: str, authority: bytes, user: dict[str, Any]) -> str:
    cluster = {"server": server, "certificate-authority-data": b64encode(authority).decode()}
    content = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    replace_file(path, yaml.safe_dump(content).encode())
    return str(path)


def is_alive(pid: int) -> bool:
    """Tell whether a process still runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def plugin_user(*command: str) -> dict[str, Any]:
    return {"exec": {"apiVersion": V1, "command": command[0], "args": list(command[1:])}}


def slow(seconds: float) -> dict[str, str]:
    """A recorded session that takes this long."""
    lines = (CHECKOUT / "tests/data/transcripts/tools.jsonl").read_text().count("\n")
    return {
        "REPLAY_TRANSCRIPT": "tools",
        "REPLAY_LINE_DELAY_SECONDS": f"{seconds / lines:.3f}",
    }


@contextmanager
def cluster_of_short_certificates(folder: Path) -> Generator[str]:
    """Yield a kubeconfig whose user has certificates of 20 s.

    The kit's own API server takes those that its authority has signed; another cluster gets a
    server in front that judges them in the same way.
    """
    signs = folder / "authority"
    pki = Path(os.environ.get("KUBE_RUN_DIR", "/nonexistent")) / "pki"
    is_kit = (pki / "ca.key").is_file() and os.environ["KUBECONFIG"].startswith(str(pki.parent))
    authority = Authority.from_files(pki / "ca.crt", pki / "ca.key") if is_kit else Authority()
    signs.with_suffix(".crt").write_bytes(authority.pem)
    signs.with_suffix(".key").write_bytes(authority.key_pem)
    program = folder / "plugin.py"
    program.write_text(
        PLUGIN.format(
            checkout=str(CHECKOUT), folder=str(folder), seconds=CERTIFICATE_SECONDS, version=V1
        )
    )
    user = plugin_user(sys.executable, str(program))
    if is_kit:
        found = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        server = found["clusters"][0]["cluster"]["server"]
        yield write_kubeconfig(folder / "short", server, authority.pem, user)
        return
    tls = server_context(folder, authority.server(), client_authority=authority)
    with serve_front(os.environ["KUBECONFIG"], tls) as front:
        yield write_kubeconfig(folder / "short", front.url, authority.pem, user)
        assert front.refused == 0


@pytest.mark.waits(45)
async def test_run_outlives_its_certificates(
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    agents_namespace: str,
    replay_image: str,
    traces: Traces,
    tmp_path: Path,
) -> None:
    with cluster_of_short_certificates(tmp_path) as kubeconfig:
        request = build_request(replay_image, runtime={"env": slow(35)})
        agent_id = request["agent"]["agent_id"]
        process = start_cli(request, "--kubeconfig", kubeconfig)

        def running() -> list[str]:
            pods = [
                pod
                for pod in traces.pods(agents_namespace)
                if pod["metadata"]["annotations"].get("claude-jobs.dev/agent-id") == agent_id
            ]
            return [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]

        wait_until(lambda: bool(running()), seconds=120)
        [name] = running()
        async with ClusterClient(ClusterConnection.from_kubeconfig_file(kubeconfig)) as client:
            began = time.monotonic()
            told: list[bytes] = []
            while time.monotonic() - began < 1.4 * CERTIFICATE_SECONDS:
                command = ["/bin/sh", "-c", "echo here"]
                done = await run_in_pod(client, agents_namespace, name, "agent", command)
                told.append(done.stdout)
                await asyncio.sleep(4)
        output, _ = process.communicate(timeout=150)

    ended = CliRun(process.returncode, output)
    assert ended.exit_code == 0, output
    assert ended.result["transcript"]["complete"] is True
    assert ended.result["summary"] == "Second part of the answer: DONE."
    assert set(told) == {b"here\n"}
    assert len((tmp_path / "calls").read_text()) >= 4  # two clients, each more than once
    lost = [line for line in output.splitlines() if "lost its Lease" in line or "401" in line]
    assert lost == []


@pytest.fixture
def front(tmp_path: Path) -> Callable[..., Any]:
    """Start fronts before the cluster."""

    @contextmanager
    def start(host: str = "127.0.0.1", **fields: Any) -> Generator[tuple[ApiFront, Authority]]:
        authority = Authority()
        tls = server_context(tmp_path, authority.server(host))
        with serve_front(os.environ["KUBECONFIG"], tls, host=host, **fields) as started:
            yield started, authority

    return start


@pytest.mark.waits(20)
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"cut_seconds": 1.5}, id="load_balancer_that_cuts"),
        pytest.param({"prefix": "/k8s/clusters/c-m-1"}, id="path_prefix"),
        pytest.param({"host": "::1"}, id="ipv6"),
    ],
)
def test_run_goes_through_what_stands_before_a_cluster(
    fields: dict[str, Any],
    front: Callable[..., Any],
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    tmp_path: Path,
) -> None:
    with front(**fields) as (before, authority):
        kubeconfig = write_kubeconfig(tmp_path / "k", before.url, authority.pem, {"token": "x"})
        ended = run_cli(
            build_request(replay_image, runtime={"env": slow(8)}), "--kubeconfig", kubeconfig
        )

    assert ended.exit_code == 0, ended.output
    assert ended.result["transcript"]["complete"] is True
    assert before.cuts > 2 if "cut_seconds" in fields else before.cuts == 0
    assert all(path.split()[1].startswith(before.prefix) for path in before.seen)


@pytest.mark.waits(30)
def test_run_outlives_a_rotated_authority_and_rotating_tokens(
    front: Callable[..., Any],
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    with front(token="first", cut_seconds=3.0) as (before, old):
        path = tmp_path / "k"
        user = {"tokenFile": str(token)}
        kubeconfig = write_kubeconfig(path, before.url, old.pem, user)
        request = build_request(replay_image, runtime={"env": slow(15)})
        process = start_cli(request, "--kubeconfig", kubeconfig)
        wait_until(lambda: any("/log" in seen for seen in before.seen), seconds=60)
        new = Authority("rotated")
        show(before.tls, tmp_path, new.server())
        before.token = "second"
        time.sleep(4)  # every connection was cut, and the new certificate refused
        write_kubeconfig(path, before.url, new.pem, user)
        replace_file(token, b"second")
        output, _ = process.communicate(timeout=150)

    ended = CliRun(process.returncode, output)
    assert ended.exit_code == 0, output
    assert ended.result["transcript"]["complete"] is True


@pytest.fixture
def waiting_plugin(tmp_path: Path) -> str:
    """A kubeconfig whose plugin waits for a login; the plugin writes down its process ids."""
    script = (
        f"echo To sign in, visit https://login.example >&2; echo $$ >> {tmp_path}/pids; sleep 900"
    )
    return write_kubeconfig(
        tmp_path / "waits", "https://127.0.0.1:1", Authority().pem, plugin_user("sh", "-c", script)
    )


@pytest.mark.timeout(200)
@pytest.mark.waits(65)
def test_plugin_that_waits_for_a_login_is_one_sentence_after_a_minute(
    waiting_plugin: str,
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    tmp_path: Path,
) -> None:
    request = build_request(replay_image)
    parameters = tmp_path / "request.json"
    parameters.write_text(json.dumps(request))
    began = time.monotonic()
    commands = {"ls": ["ls"], "preflight": ["preflight", str(parameters)]}
    others = {
        name: subprocess.Popen(
            [COMMAND, *command, "--kubeconfig", waiting_plugin, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in commands.items()
    }
    run = start_cli(request, "--kubeconfig", waiting_plugin)
    told = {name: process.communicate(timeout=120)[0] for name, process in others.items()}
    told["run"] = run.communicate(timeout=120)[0]
    took = time.monotonic() - began

    assert 55 < took < 110
    sentence = "the credential plugin sh has not answered within 60 s"
    for name, output in told.items():
        assert output.count(sentence) >= 1, f"{name}: {output}"
        assert "visit https://login.example" in output, name
        assert "Traceback" not in output, name
    assert json.loads(told["run"].rstrip("\n").rpartition("\n")[2])["error_code"] == "input_invalid"
    assert (run.returncode, others["ls"].returncode, others["preflight"].returncode) == (2, 2, 1)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert [pid for pid in pids if is_alive(pid)] == []


def test_waiting_plugin_ends_with_an_interrupted_command(
    waiting_plugin: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [COMMAND, "ls", "--kubeconfig", waiting_plugin],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pids = tmp_path / "pids"
    wait_until(lambda: pids.exists() and bool(pids.read_text().strip()), seconds=30)
    began = time.monotonic()
    process.send_signal(2)
    process.wait(timeout=20)

    assert time.monotonic() - began < 10
    assert not is_alive(int(pids.read_text()))
