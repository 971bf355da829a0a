"""A push by ssh to a real server, whose key is known or is not."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.agent_job.publish_settings import Publish, PublishPlan
from tasks.outcome.run_result import PublishedWork
from tasks.publishing.pull_requests import RequestText
from tasks.publishing.push_credentials import PushCredentials
from tasks.publishing.work_publishing import PublishOrder, publish_bundle
from tests.git_server import make_repository
from tests.unit.publishing.test_work_publishing import Ledger
from tests.unit.work.made_checkpoints import commit_all, commit_id, git

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.slice,
    pytest.mark.skipif(SSHD is None or os.getuid() != 0, reason="needs root and sshd"),
]
BRANCH = "claude-jobs/no-tenant/a/t"


def make_key(path: Path) -> str:
    """Make a key pair; return the public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    assert SSHD is not None
    Path("/run/sshd").mkdir(exist_ok=True)
    make_key(tmp_path / "host")
    (tmp_path / "allowed").write_text(make_key(tmp_path / "key"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "allowed",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
    }
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *given])
    try:
        for _ in range(100):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


async def push(folder: Path, port: int, credentials: PushCredentials) -> tuple[PublishedWork, str]:
    """Push a commit; return what came of it, and the branch's commit on the server."""
    base = make_repository(folder, commits=1)
    bare, clone = folder / "project.git", folder / "clone"
    git(folder, "clone", "-q", str(bare), str(clone))
    (clone / "one").write_text("one\n")
    commit_all(clone, "Add one")
    work = "refs/heads/claude-jobs/work"
    git(clone, "update-ref", work, "HEAD")
    bundle = folder / "one.bundle"
    git(clone, "bundle", "create", "-q", str(bundle), f"{base}..{work}")
    user = pwd.getpwuid(os.getuid()).pw_name
    order = PublishOrder(
        plan=PublishPlan(
            deliver="push", remote=f"ssh://{user}@127.0.0.1:{port}{bare}", branch=BRANCH
        ),
        publish=Publish(credentials_secret="robot"),
        commit=commit_id(clone),
        base=base,
        bundle=bundle,
        text=RequestText("", ""),
    )
    published = await publish_bundle(order, credentials, Ledger(), folder, seconds=25)
    found = git(bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}")
    return published, found.decode().strip()


def known_hosts(folder: Path, port: int) -> str:
    return f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"


async def test_work_is_pushed_with_a_key(tmp_path: Path, port: int) -> None:
    key = (tmp_path / "key").read_text()
    credentials = PushCredentials(ssh_key=key, known_hosts=known_hosts(tmp_path, port))

    published, found = await push(tmp_path, port, credentials)

    assert published.is_there, published
    assert found == published.commit


async def test_server_that_is_not_known_gets_nothing(tmp_path: Path, port: int) -> None:
    key = (tmp_path / "key").read_text()
    other = f"[127.0.0.1]:{port} {make_key(tmp_path / 'other')}"

    published, found = await push(tmp_path, port, PushCredentials(ssh_key=key, known_hosts=other))

    assert "could not prove who it is" in (published.problem or ""), published
    assert found == ""


async def test_key_that_is_not_allowed_is_said(tmp_path: Path, port: int) -> None:
    make_key(tmp_path / "stranger")
    credentials = PushCredentials(
        ssh_key=(tmp_path / "stranger").read_text(), known_hosts=known_hosts(tmp_path, port)
    )

    published, found = await push(tmp_path, port, credentials)

    assert "credentials were refused" in (published.problem or ""), published
    assert found == ""


async def test_key_without_known_hosts_is_not_used(tmp_path: Path, port: int) -> None:
    key = (tmp_path / "key").read_text()

    published, _ = await push(tmp_path, port, PushCredentials(ssh_key=key))

    assert "known hosts" in (published.problem or "")
