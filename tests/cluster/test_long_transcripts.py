"""Output of many times what a node's log files hold, through real rotations.

One log file of a kubelet holds 10 MiB, and what is rotated away can no longer be read as a log:
the rest comes from the copy in the pod, or is named.
"""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tests.cluster.contract_objects import pod_named
from tests.cluster.scripted_agent import AgentFollow, start_agent
from tests.cluster.service_accounts import client_allowed, rule

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(420)]


@dataclass(frozen=True)
class Output:
    """Numbered lines of one length, as an agent prints them."""

    lines: int
    padding_bytes: int

    @property
    def command(self) -> str:
        # Built by doubling: one call for a padding of any size.
        return (
            f'awk \'BEGIN {{ p = "x"; while (length(p) < {self.padding_bytes}) p = p p;'
            f" p = substr(p, 1, {self.padding_bytes});"
            f' for (i = 1; i <= {self.lines}; i++) printf "%08d %s\\n", i, p }}\''
        )

    def digest(self) -> str:
        digest = hashlib.sha256()
        padding = b"x" * self.padding_bytes
        for number in range(1, self.lines + 1):
            digest.update(b"%08d %s\n" % (number, padding))
        return digest.hexdigest()


# 58 MB, of which `kubectl logs -f` gets less than a quarter.
MANY_LINES = Output(lines=600_000, padding_bytes=87)
LONG_LINES = Output(lines=150, padding_bytes=400_000)
WAITING = {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "120"}  # as the product's own Jobs are told


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restart_api_server() -> None:
    """Restart the API server of the kit; open streams are cut, and it is away for seconds."""
    kit = os.environ.get("CLUSTER_KIT")
    assert kit is not None
    subprocess.run(
        [Path(kit) / "control-plane", "restart", "kube-apiserver"],
        check=True,
        capture_output=True,
        timeout=120,
    )


async def pod_succeeded(client: ClusterClient, namespace: str, pod: str) -> None:
    while True:
        found = await pod_named(client, namespace, pod)
        if found["status"]["phase"] == "Succeeded":
            return
        await asyncio.sleep(0.5)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "spool"
    yield path
    path.unlink(missing_ok=True)


async def assert_arrives_whole(follow: AgentFollow, output: Output) -> None:
    followed = await follow.follow()
    assert followed.proof.missing == ()
    assert followed.proof.complete is True
    assert followed.proof.lines == output.lines
    assert follow.last_number == output.lines
    assert follow.numbers_in_order
    assert file_digest(follow.spool) == output.digest() == followed.proof.sha256


@pytest.mark.parametrize("output", [MANY_LINES, LONG_LINES], ids=["many lines", "long lines"])
async def test_output_of_many_log_files_arrives_whole(
    cluster_client: ClusterClient, namespace: str, spool: Path, output: Output
) -> None:
    pod = await start_agent(cluster_client, namespace, output.command, WAITING)
    follow = AgentFollow(cluster_client, namespace, pod, spool, keeps_lines=False)
    await assert_arrives_whole(follow, output)


@pytest.mark.skipif("CLUSTER_KIT" not in os.environ, reason="CLUSTER_KIT names no cluster kit")
async def test_restart_of_the_api_server_in_between_costs_no_line(
    cluster_client: ClusterClient, namespace: str, spool: Path
) -> None:
    pod = await start_agent(cluster_client, namespace, MANY_LINES.command, WAITING)
    follow = AgentFollow(cluster_client, namespace, pod, spool, keeps_lines=False)
    following = asyncio.create_task(assert_arrives_whole(follow, MANY_LINES))
    await follow.delivered(MANY_LINES.lines // 20)
    await asyncio.to_thread(restart_api_server)
    await following


async def test_lines_rotated_away_are_named_where_exec_is_forbidden(
    cluster_client: ClusterClient, kubeconfig: str, namespace: str, spool: Path
) -> None:
    rules = [rule("", "pods", "get", "list"), rule("", "pods/log", "get")]
    settings = {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "0"}
    async with client_allowed(
        rules, admin=cluster_client, kubeconfig=kubeconfig, namespace=namespace
    ) as limited:
        pod = await start_agent(cluster_client, namespace, MANY_LINES.command, settings)
        # A follow from the start gets across every rotation at times, and then nothing is missing.
        await pod_succeeded(cluster_client, namespace, pod)
        follow = AgentFollow(limited, namespace, pod, spool, keeps_lines=False)
        followed = await follow.follow()

    missing = sum(gap.last - gap.first + 1 for gap in followed.proof.missing)
    assert missing > 0
    assert followed.proof.complete is False
    assert followed.proof.lines + missing == MANY_LINES.lines
    assert follow.numbers_in_order
