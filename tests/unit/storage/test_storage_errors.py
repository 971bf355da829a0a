"""The libraries' own errors, raised by real clients that got the services' answers over HTTP."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, cast

import pytest
from azure.storage.blob import BlobClient
from google.api_core import exceptions as google_errors

from tasks.storage.storage_errors import Absence, find_absence
from tests.unit.storage.object_stores import S3Server


class OneAnswer(BaseHTTPRequestHandler):
    status: ClassVar[int]
    headers_sent: ClassVar[dict[str, str]]

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int, **headers: str) -> Generator[str, None, None]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    handler = type("Answer", (OneAnswer,), {"status": status, "headers_sent": sent})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def error_of(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is the question
        call()
    return caught.value


def read_from_azure(url: str) -> None:
    client = BlobClient(
        f"{url}/account",
        "results",
        "a/b.json",
        retry_total=0,
        credential={"account_name": "account", "account_key": "a2V5"},
    )
    with client:
        client.download_blob().readall()


@pytest.mark.parametrize(
    ("status", "code", "absence"),
    [
        pytest.param(404, "BlobNotFound", Absence.OBJECT, id="blob"),
        pytest.param(404, "ContainerNotFound", Absence.PLACE, id="container"),
        pytest.param(404, "ResourceNotFound", Absence.EITHER, id="neither_named"),
        pytest.param(403, "AuthorizationFailure", None, id="denied"),
        pytest.param(409, "ContainerBeingDeleted", None, id="being_deleted"),
    ],
)
def test_azure_names_what_is_missing(status: int, code: str, absence: Absence | None) -> None:
    with answering(status, x_ms_error_code=code) as url:
        assert find_absence(error_of(lambda: read_from_azure(url))) is absence


@pytest.mark.parametrize(
    ("status", "absence"),
    [
        pytest.param(404, Absence.EITHER, id="not_found"),
        pytest.param(403, None, id="denied"),
        pytest.param(401, None, id="unauthorised"),
        pytest.param(400, None, id="refused"),
    ],
)
def test_google_tells_only_that_something_is_missing(status: int, absence: Absence | None) -> None:
    # The library carries no annotations.
    error = cast("Any", google_errors).from_http_status(status, "No such object: a/b.json")

    assert find_absence(error) is absence


@pytest.mark.parametrize(
    ("bucket_exists", "call", "absence"),
    [
        pytest.param(True, "get_object", Absence.OBJECT, id="key"),
        pytest.param(True, "head_object", Absence.EITHER, id="head_of_key"),
        pytest.param(False, "get_object", Absence.PLACE, id="bucket"),
        pytest.param(False, "head_object", Absence.EITHER, id="head_without_bucket"),
    ],
)
def test_s3_names_what_is_missing_unless_asked_by_head(
    s3_server: S3Server, bucket_exists: bool, call: str, absence: Absence
) -> None:
    bucket = s3_server.new_bucket() if bucket_exists else "no-such-bucket"
    method = getattr(s3_server.client(), call)

    assert find_absence(error_of(lambda: method(Bucket=bucket, Key="a"))) is absence


@pytest.mark.parametrize("status", [400, 401, 403])
def test_s3_answers_of_other_kinds_say_nothing_of_absence(status: int) -> None:
    with answering(status) as url:
        client = S3Server(url).client()
        assert find_absence(error_of(lambda: client.head_object(Bucket="b", Key="a"))) is None


def raised(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "absence"),
    [
        pytest.param(FileNotFoundError(), Absence.EITHER, id="no_file"),
        pytest.param(
            raised(RuntimeError("read failed"), FileNotFoundError()), Absence.EITHER, id="wrapped"
        ),
        pytest.param(
            raised(PermissionError(), FileNotFoundError()), None, id="denied_because_of_no_file"
        ),
        pytest.param(
            raised(RuntimeError(), raised(ValueError(), TimeoutError())), None, id="no_answer"
        ),
        pytest.param(NotADirectoryError(), None, id="no_folder"),
        pytest.param(ValueError("Path a does not exist."), None, id="only_the_text_says_so"),
        pytest.param(KeyError("NoSuchKey"), None, id="only_the_key_says_so"),
    ],
)
def test_outermost_known_error_decides(error: Exception, absence: Absence | None) -> None:
    assert find_absence(error) is absence


def test_error_that_causes_itself_comes_to_an_end() -> None:
    error = RuntimeError()
    error.__cause__ = error

    assert find_absence(error) is None
