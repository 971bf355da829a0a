"""A stand-in for the pull requests of GitHub and GitLab, as their REST references describe them."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class MadeRequest:
    number: int
    branch: str
    target: str
    title: str
    body: str
    is_open: bool = True


@dataclass
class ForgeServer:
    """What the server has, and what goes wrong next.

    Attributes:
        faults: Method and fault, each met once by the first call of that method.
    """

    address: str
    project: str = "o/r"
    requests: list[MadeRequest] = field(default_factory=list[MadeRequest])
    faults: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def take_fault(self, method: str) -> str | None:
        if self.faults and self.faults[0][0] == method:
            return self.faults.pop(0)[1]
        return None

    def open_of(self, branch: str) -> list[MadeRequest]:
        return [item for item in self.requests if item.is_open and item.branch == branch]

    def as_github(self, item: MadeRequest) -> dict[str, Any]:
        repository = {"full_name": self.project}
        return {
            "number": item.number,
            "state": "open" if item.is_open else "closed",
            "title": item.title,
            "body": item.body,
            "html_url": f"{self.address}/{self.project}/pull/{item.number}",
            "head": {"ref": item.branch, "repo": repository},
            "base": {"ref": item.target, "repo": repository},
        }

    def as_gitlab(self, item: MadeRequest) -> dict[str, Any]:
        return {
            "id": 1000 + item.number,
            "iid": item.number,
            "state": "opened" if item.is_open else "closed",
            "title": item.title,
            "description": item.body,
            "web_url": f"{self.address}/{self.project}/-/merge_requests/{item.number}",
            "source_branch": item.branch,
            "target_branch": item.target,
            "source_project_id": 7,
            "target_project_id": 7,
        }


_ANSWERED: dict[str | None, tuple[int, Any, dict[str, str]]] = {
    "401": (401, {"message": "Bad credentials"}, {}),
    "403": (403, {"message": "Forbidden"}, {}),
    "404": (404, {"message": "Not Found"}, {}),
    "500-before": (500, {"message": "Server Error"}, {}),
    "limit": (403, {"message": "secondary rate limit"}, {"Retry-After": "0"}),
}


class _Handler(BaseHTTPRequestHandler):
    forge: ForgeServer

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        sent: dict[str, Any] = json.loads(self.rfile.read(size) or b"{}")
        fault = self.forge.take_fault(method)
        if fault in _ANSWERED:
            self._send(*_ANSWERED[fault])
            return
        if fault == "closed-before":
            self.close_connection = True
            return
        status, answer = self._carry_out(method, sent)
        if fault == "exists":
            # Another process was faster, or this one had been before it was asked again.
            status, answer = self._carry_out(method, sent)
        if fault == "closed-after":
            self.close_connection = True
            return
        self._send(status, answer)

    def _carry_out(self, method: str, sent: dict[str, Any]) -> tuple[int, Any]:
        parts = urlsplit(self.path)
        is_github = "/api/v3/" in parts.path
        path = unquote(parts.path).split("/api/v3" if is_github else "/api/v4")[1]
        kind = "repos" if is_github else "projects"
        name = "pulls" if is_github else "merge_requests"
        base = f"/{kind}/{self.forge.project}/{name}"
        if self.headers.get("Authorization") != "Bearer token-of-the-api":
            return 401, {"message": "401 Unauthorized"}
        if not path.startswith(base):
            return 404, {"message": "404 Project Not Found"}
        show = self.forge.as_github if is_github else self.forge.as_gitlab
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if method == "GET":
            wanted = query["head"].partition(":")[2] if is_github else query["source_branch"]
            return 200, [show(item) for item in self.forge.open_of(wanted)]
        if method == "POST":
            return self._create(sent, is_github=is_github)
        number = int(path.rpartition("/")[2])
        item = next(item for item in self.forge.requests if item.number == number)
        item.title = sent.get("title", item.title)
        item.body = sent.get("body" if is_github else "description", item.body)
        return 200, show(item)

    def _create(self, sent: dict[str, Any], *, is_github: bool) -> tuple[int, Any]:
        branch = sent["head" if is_github else "source_branch"]
        if self.forge.open_of(branch) and is_github:
            why = f"A pull request already exists for o:{branch}."
            return 422, {"message": "Validation Failed", "errors": [{"message": why}]}
        if self.forge.open_of(branch):
            why = "Another open merge request already exists for this source branch: !1"
            return 409, {"message": [why]}
        item = MadeRequest(
            number=len(self.forge.requests) + 1,
            branch=branch,
            target=sent["base" if is_github else "target_branch"],
            title=sent["title"],
            body=sent["body" if is_github else "description"],
        )
        self.forge.requests.append(item)
        return 201, (self.forge.as_github if is_github else self.forge.as_gitlab)(item)

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serve_forge() -> Generator[ForgeServer]:
    """Serve both APIs on a port of this machine."""

    forge = ForgeServer("")
    handler = type("Handler", (_Handler,), {"forge": forge})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    forge.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
