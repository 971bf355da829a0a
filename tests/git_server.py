"""A git server that wants a password: `git http-backend` behind HTTP basic authentication."""

import os
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GIT_USER, GIT_PASSWORD = "robot", "s3cret-of-the-git-server"
_EXPECTED = "Basic " + b64encode(f"{GIT_USER}:{GIT_PASSWORD}".encode()).decode()


Answer = Callable[[str, str], int | None]


def make_repository(folder: Path, commits: int) -> str:
    """Make `folder`/project.git with a file `README` and this many commits; returns the last's id.

    The branch `main` has all of them, the branch `topic` one more with the file `TOPIC`.
    """
    bare, work = folder / "project.git", folder / "work"
    _git(folder, "init", "-q", "--bare", "-b", "main", str(bare))
    _git(folder, "init", "-q", "-b", "main", str(work))
    for number in range(1, commits + 1):
        (work / "README").write_text(f"commit {number}\n")
        _git(work, "add", "README")
        _git(work, "commit", "-q", "-m", f"Commit {number}")
    last = _git(work, "rev-parse", "HEAD").strip()
    _git(work, "push", "-q", str(bare), "main")
    _git(work, "checkout", "-q", "-b", "topic")
    (work / "TOPIC").write_text("topic\n")
    _git(work, "add", "TOPIC")
    _git(work, "commit", "-q", "-m", "Topic")
    _git(work, "push", "-q", str(bare), "topic")
    return last


def let_push(folder: Path, hook: str = "") -> Path:
    """Let who has the password push to the repository of a folder; returns the repository.

    Args:
        folder: As `make_repository` has filled it.
        hook: Lines of a shell script that sees each update: ref, old and new commit.
    """
    bare = folder / "project.git"
    _git(bare, "config", "http.receivepack", "true")
    _git(bare, "config", "receive.denyNonFastForwards", "false")
    if hook:
        script = bare / "hooks" / "update"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\n{hook}\n")
        script.chmod(0o755)
    return bare


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    answer: Answer | None

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.headers.get("Authorization") != _EXPECTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        if self._is_answered("before"):
            return
        length = int(self.headers.get("Content-Length") or 0)
        found = subprocess.run(
            ["git", "http-backend"],
            input=self.rfile.read(length),
            env={
                **_SURE,
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(length),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            },
            capture_output=True,
            check=False,
        )
        if self._is_answered("after"):
            return
        head, _, body = found.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_answered(self, when: str) -> bool:
        asked = self.answer
        status = asked(when, self.path) if asked is not None else None
        if status is None:
            return False
        self.close_connection = True
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serve_repositories(
    folder: Path, address: str = "127.0.0.1", answer: Answer | None = None
) -> Generator[str]:
    """Serve the repository of a folder to who has the password; gives its address.

    Args:
        folder: As `make_repository` has filled it.
        address: To listen on.
        answer: Asked before and after each request is carried out, with its path and query; a
            status that it returns is the answer, 0 is a closed connection.
    """

    asked = staticmethod(answer) if answer is not None else None
    handler = type("Handler", (_Handler,), {"folder": folder, "answer": asked})
    server = ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{server.server_address[1]}/project.git"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# Nothing of the developer's own configuration.
_SURE = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "uploadpack.allowAnySHA1InWant",
    "GIT_CONFIG_VALUE_0": "true",
    "GIT_CONFIG_KEY_1": "safe.directory",
    "GIT_CONFIG_VALUE_1": "*",
    **{
        f"GIT_{who}_{what}": "tests"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def _git(folder: Path, *arguments: str) -> str:
    found = subprocess.run(
        ["git", *arguments], cwd=folder, env=_SURE, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout
