"""Every command says in one sentence what is wrong with the Prefect API that it was told to use."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

import tasks.orchestrator.prefect_api as prefect_api
from flows.cli.app import app
from tests.main_job.conftest import plain

pytestmark = pytest.mark.timeout(120)

HUSH = "hush-hush"


@contextmanager
def answering(
    status: int, body: str = "{}", content_type: str = "application/json", *, hangs: bool = False
) -> Generator[str]:
    """Run a server with the same answer to everything; gives its address."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if hangs:
                ended.wait(60)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "/login")
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://user:{HUSH}@127.0.0.1:{server.server_port}/api"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def at(url: str) -> Generator[str]:
    yield url


@contextmanager
def plain_http_as_https() -> Generator[str]:
    with answering(200) as url:
        yield url.replace("http:", "https:")


PAGE = "<html>Please log in</html>"
FAILURES: dict[str, tuple[Callable[[], Any], str]] = {
    "nobody there": (lambda: at("http://127.0.0.1:9/api"), "cannot be reached"),
    "no such name": (lambda: at("http://no-such-host.invalid/api"), "cannot be reached"),
    "no address": (lambda: at("prefect.example.com"), "has no usable address"),
    "tls": (plain_http_as_https, "cannot be trusted: TLS failed"),
    "401": (lambda: answering(401), "does not accept our credentials (401)"),
    "403": (lambda: answering(403, PAGE, "text/html"), "does not give us access (403)"),
    "404 of a proxy": (lambda: answering(404, PAGE, "text/html"), "knows no such address (404)"),
    "login page": (lambda: answering(200, PAGE, "text/html"), "answers, but not as Prefect does"),
    "another service": (lambda: answering(200, '{"a": 1}'), "answers, but not as Prefect does"),
    "redirect": (lambda: answering(302, PAGE, "text/html"), "sends us elsewhere"),
    "500": (lambda: answering(500, "oops"), "cannot answer now (500)"),
    "503": (lambda: answering(503), "cannot answer now (503)"),
    "429": (lambda: answering(429), "cannot answer now (429)"),
    "422": (lambda: answering(422, json.dumps({"input": HUSH})), "refused the request (422)"),
    "silence": (lambda: answering(200, hangs=True), "did not answer"),
}
COMMANDS = {
    "run": ("run", "REQUEST", "--kubeconfig", "KUBECONFIG", "--json"),
    "run, a block": ("run", "BLOCK", "--kubeconfig", "KUBECONFIG", "--json"),
    "attach": ("attach", "ada", "--kubeconfig", "KUBECONFIG", "--json"),
    "usage": ("usage", "--runtime", "ours", "--json"),
}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process; gives its exit code and all of its output."""
    # For as long is a failure waited for that may pass; the first answer comes in time on a busy
    # machine too.
    monkeypatch.setattr(prefect_api, "_ANSWER_SECONDS", 6.0)
    monkeypatch.setenv("COLUMNS", "400")
    request: dict[str, Any] = {
        "agent": {"agent_id": "ada"},
        "runtime": {"image": "agent:1", "result_storage": str(tmp_path)},
        "prompt": HUSH,
    }
    (tmp_path / "REQUEST").write_text(json.dumps(request))
    (tmp_path / "BLOCK").write_text(json.dumps({**request, "agent": "ada", "runtime": "ours"}))
    # Nobody answers there, so that nothing else than Prefect could be found first.
    cluster = {"server": "https://127.0.0.1:9"}
    (tmp_path / "KUBECONFIG").write_text(
        json.dumps(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "c", "user": {"token": HUSH}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            }
        )
    )

    def run(url: str, *arguments: str) -> tuple[int, str]:
        files = {name: str(tmp_path / name) for name in ("REQUEST", "BLOCK", "KUBECONFIG")}
        settings: Any = {PREFECT_API_URL: url, PREFECT_API_REQUEST_TIMEOUT: 1.0}
        with temporary_settings(settings):
            ended = CliRunner().invoke(app, [files.get(word, word) for word in arguments])
        assert ended.exception is None or isinstance(ended.exception, SystemExit)
        return ended.exit_code, plain(ended.output)

    return run


# Every kind meets two commands; the others share their way of asking. All but a few are of the
# slice, for they are asked again until their time is over.
OTHERS = ("nobody there", "401", "login page")
QUICK = {("run", "nobody there"), *((name, "401") for name in COMMANDS)}
ROWS = [
    pytest.param(name, kind, marks=[] if (name, kind) in QUICK else [pytest.mark.slice])
    for name in COMMANDS
    for kind in (FAILURES if name in {"run", "usage"} else OTHERS)
]


@pytest.mark.waits(120)
@pytest.mark.parametrize(("name", "kind"), ROWS)
def test_command_that_needs_prefect_says_what_is_wrong_with_it(
    name: str, kind: str, command: Callable[..., tuple[int, str]]
) -> None:
    fails, words = FAILURES[kind]

    with fails() as url:
        exit_code, output = command(url, *COMMANDS[name])

    assert exit_code == 3, output
    # The last line for `run`, the whole of it for the others.
    told = json.loads(output[output.index("{") :])
    sentence = told.get("message") or told["error"]
    assert sentence.startswith("The Prefect API in use (")
    assert words in sentence
    assert told.get("advice", sentence)
    assert "Traceback" not in output
    assert HUSH not in output


@pytest.mark.slice
@pytest.mark.parametrize("kind", ["nobody there", "401", "login page", "503"])
def test_preflight_names_it_and_goes_on(kind: str, command: Callable[..., tuple[int, str]]) -> None:
    fails, words = FAILURES[kind]

    with fails() as url:
        exit_code, output = command(
            url, "preflight", "BLOCK", "--kubeconfig", "KUBECONFIG", "--json"
        )

    found = json.loads(output[output.index("{") :])["results"]
    assert exit_code == 1, output
    named = {r["check"] for r in found if words in r["finding"]}
    assert named >= {"prefect-api", "request"}
    assert HUSH not in output
