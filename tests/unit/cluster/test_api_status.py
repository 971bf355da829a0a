import inspect
import json

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

import tasks.cluster.cluster_errors as errors_module
from tasks.cluster.api_status import error_from_answer, error_from_failure
from tasks.cluster.cluster_errors import (
    ApiRefused,
    ClusterError,
    ClusterForbidden,
    ClusterTlsFailed,
    ClusterUnauthorised,
    ClusterUnavailable,
    ClusterUnreachable,
    NamespaceNotFound,
    NamespaceTerminating,
    ObjectAlreadyExists,
    ObjectConflict,
    ObjectInvalid,
    ObjectNotFound,
    PatchRefused,
    RequestRefused,
    ResourceExpired,
    TooManyRequests,
)
from tasks.cluster.http_transport import TRANSPORT_FAILURES
from tasks.cluster.json_objects import RequestTarget, describe_request
from tasks.cluster.refused_access import explain_refused_access

JOB = RequestTarget("create", "batch", "jobs", "agents", "job-1")
SECRET = RequestTarget("create", "", "secrets", "agents")


def body(
    code: int, reason: str, details: dict[str, object] | None = None, message: str = "why"
) -> bytes:
    return json.dumps(
        {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    ).encode()


@pytest.mark.parametrize(
    ("status", "reason", "details", "expected"),
    [
        (400, "BadRequest", {}, RequestRefused),
        (401, "Unauthorized", {}, ClusterUnauthorised),
        (403, "Forbidden", {}, ClusterForbidden),
        (404, "NotFound", {"kind": "jobs"}, ObjectNotFound),
        (404, "NotFound", {"kind": "namespaces"}, NamespaceNotFound),
        (405, "MethodNotAllowed", {}, RequestRefused),
        (409, "Conflict", {}, ObjectConflict),
        (409, "AlreadyExists", {}, ObjectAlreadyExists),
        (410, "Expired", {}, ResourceExpired),
        (413, "RequestEntityTooLarge", {}, RequestRefused),
        (422, "Invalid", {}, ObjectInvalid),
        (429, "TooManyRequests", {}, TooManyRequests),
        (500, "InternalError", {}, ClusterUnavailable),
        (503, "ServiceUnavailable", {}, ClusterUnavailable),
        (504, "Timeout", {}, ClusterUnavailable),
    ],
)
def test_answer_by_its_status_and_reason_becomes_one_error_type(
    status: int, reason: str, details: dict[str, object], expected: type[ClusterError]
) -> None:
    error = error_from_answer(JOB, status, body(status, reason, details))

    assert type(error) is expected
    assert str(error) == (
        f"The Kubernetes API answered {status} {reason} to "
        "create jobs.batch job-1 in namespace agents: why"
    )


@pytest.mark.parametrize("target", [JOB, SECRET], ids=["job", "secret"])
def test_create_in_a_namespace_that_goes_says_so_and_speaks_of_no_permission(
    target: RequestTarget,
) -> None:
    # As Kubernetes 1.36 answers it.
    causes = [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace agents is being terminated",
            "field": "metadata.namespace",
        }
    ]
    error = error_from_answer(target, 403, body(403, "Forbidden", {"causes": causes}))

    assert type(error) is NamespaceTerminating
    assert str(error).startswith("Namespace agents is being deleted, so")


@pytest.mark.parametrize("raw", [b"<html>Not Found</html>", b"", b'{"code": 5}', b"[]"])
@pytest.mark.parametrize("code", [404, 409, 410, 422])
def test_refusal_that_is_no_status_decides_nothing(code: int, raw: bytes) -> None:
    error = error_from_answer(JOB, code, raw, is_json_patch=True)

    assert type(error) is ClusterUnavailable
    assert error.status == code
    assert str(error).startswith("What answered is not the Kubernetes API. ")


@pytest.mark.parametrize("raw", [b"<html>Forbidden</html>", b"", b'{"code": 5}', b"[]"])
@pytest.mark.parametrize(
    ("code", "expected"), [(401, ClusterUnauthorised), (403, ClusterForbidden)]
)
def test_refused_access_that_is_no_status_keeps_its_type_and_is_told_as_somebody_elses(
    code: int, expected: type[ApiRefused], raw: bytes
) -> None:
    error = error_from_answer(JOB, code, raw)

    assert type(error) is expected
    assert error.answer.is_foreign
    assert str(error).startswith(f"What answered is not the Kubernetes API. It answered {code} to")


@pytest.mark.parametrize("target", [JOB, SECRET], ids=["job", "secret"])
@pytest.mark.parametrize(("name", "expected"), [("system:anonymous", True), ("ada", False)])
def test_refused_request_without_credentials_is_told_from_one_without_a_permission(
    name: str, expected: bool, target: RequestTarget
) -> None:
    message = f'jobs.batch is forbidden: User "{name}" cannot list resource "jobs"'
    error = error_from_answer(target, 403, body(403, "Forbidden", message=message))

    assert isinstance(error, ClusterForbidden)
    assert (error.answer.is_anonymous, error.answer.is_foreign) == (expected, False)


@pytest.mark.parametrize(
    ("code", "raw", "expected"),
    [
        (403, b"<html>", "Something else than the Kubernetes API refused the request; check"),
        (401, b"<html>", "Something else than the Kubernetes API refused the request; check"),
        (401, body(401, "Unauthorized"), "The credentials were refused (401); renew them"),
        (
            403,
            body(403, "Forbidden", message='User "system:anonymous" cannot list'),
            "The credentials did not arrive, so the cluster took the request for anonymous; check",
        ),
        (
            403,
            body(403, "Forbidden", message='User "ada" cannot create'),
            "A permission is missing: create jobs.batch job-1 in namespace agents; add it to the",
        ),
        (403, None, "A permission is missing: create jobs.batch"),
    ],
    ids=["page, 403", "page, 401", "401", "anonymous", "permission", "websocket"],
)
def test_only_a_refusal_of_the_api_itself_is_told_as_a_missing_permission(
    code: int, raw: bytes | None, expected: str
) -> None:
    error = error_from_answer(JOB, code, raw)

    assert isinstance(error, (ClusterUnauthorised, ClusterForbidden))
    assert explain_refused_access(error).sentence.startswith(expected)


@pytest.mark.parametrize(
    ("code", "raw", "expected"),
    [
        (502, b'{"code":14,"message":"up","details":[{"@type":"t"}]}', ClusterUnavailable),
        (502, b'{"message":"up","details":"text"}', ClusterUnavailable),
        (403, b'{"kind":"Status","message":"up","details":{"causes":["x"]}}', ClusterForbidden),
        (403, b'{"kind":"Status","message":"up","details":{"causes":[null]}}', ClusterForbidden),
        (403, b'{"kind":"Status","message":"up","details":{"causes":{}}}', ClusterForbidden),
    ],
)
def test_error_of_another_shape_is_told_by_its_status(
    code: int, raw: bytes, expected: type[ClusterError]
) -> None:
    error = error_from_answer(JOB, code, raw)

    assert type(error) is expected
    assert str(error).endswith(": up")


def test_refused_websocket_whose_answer_cannot_be_read_is_told_by_its_status() -> None:
    error = error_from_answer(JOB, 404, None)

    assert type(error) is ObjectNotFound


def test_refused_json_patch_without_causes_is_a_lost_race() -> None:
    error = error_from_answer(JOB, 422, body(422, "Invalid"), is_json_patch=True)

    assert type(error) is PatchRefused


def test_refused_json_patch_with_causes_is_an_invalid_object() -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "spec.template"}]
    error = error_from_answer(
        JOB, 422, body(422, "Invalid", {"causes": causes}), is_json_patch=True
    )

    assert type(error) is ObjectInvalid
    assert error.answer.causes == (("FieldValueInvalid", "spec.template"),)


def test_error_about_a_secret_never_quotes_what_was_sent() -> None:
    raw = body(
        400,
        "BadRequest",
        {"causes": [{"reason": "FieldValueInvalid", "field": "data", "message": "HUSH-HUSH"}]},
        'error found in #10 byte of ...|"prompt":["HUSH-HUSH"',
    )
    error = error_from_answer(SECRET, 400, raw)

    assert isinstance(error, ApiRefused)
    assert "HUSH" not in str(error) + repr(error) + repr(error.answer)
    assert str(error).endswith("FieldValueInvalid at data")


def test_answer_of_a_proxy_in_between_is_quoted_shortly() -> None:
    error = error_from_answer(JOB, 502, b"<html>\n" + b"x" * 10_000)

    assert type(error) is ClusterUnavailable
    assert "502 to create jobs.batch" in str(error)
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("header", "details", "expected"),
    [
        ("7", {}, 7.0),
        (None, {"retryAfterSeconds": 3}, 3.0),
        ("7", {"retryAfterSeconds": 3}, 7.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", {}, None),
        ("nan", {}, None),
        ("inf", {}, None),
        ("-5", {}, None),
        (None, {"retryAfterSeconds": 10**400}, None),
        (None, {"retryAfterSeconds": [3]}, None),
        (None, {}, None),
    ],
)
def test_retry_after_is_taken_from_header_then_from_body(
    header: str | None, details: dict[str, object], expected: float | None
) -> None:
    error = error_from_answer(JOB, 429, body(429, "TooManyRequests", details), retry_after=header)

    assert isinstance(error, TooManyRequests)
    assert error.answer.retry_after_seconds == expected


KEY = ConnectionKey("api.example", 443, True, True, None, None, None)
OS_ERROR = ConnectionRefusedError(111, "Connect call failed")


@pytest.mark.parametrize(
    ("failure", "expected", "was_sent"),
    [
        (aiohttp.ClientConnectorError(KEY, OS_ERROR), ClusterUnreachable, False),
        (aiohttp.ClientConnectorDNSError(KEY, OS_ERROR), ClusterUnreachable, False),
        (aiohttp.ClientConnectorSSLError(KEY, OS_ERROR), ClusterTlsFailed, False),
        (
            aiohttp.ClientConnectorCertificateError(KEY, Exception("self-signed")),
            ClusterTlsFailed,
            False,
        ),
        (
            aiohttp.ClientOSError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"),
            ClusterTlsFailed,
            False,
        ),
        (aiohttp.ClientOSError(1, "[SSL: SSLV3_ALERT_BAD_RECORD_MAC]"), ClusterUnreachable, True),
        (aiohttp.ClientProxyConnectionError(KEY, OS_ERROR), ClusterUnreachable, False),
        (aiohttp.ConnectionTimeoutError("connect"), ClusterUnreachable, False),
        (aiohttp.ClientOSError(104, "reset"), ClusterUnreachable, True),
        (aiohttp.ServerDisconnectedError(), ClusterUnreachable, True),
        (aiohttp.ClientPayloadError("cut"), ClusterUnreachable, True),
        (ConnectionResetError(104, "reset"), ClusterUnreachable, True),
        (aiohttp.InvalidURL("http://x y"), ClusterUnreachable, True),
        (TimeoutError(), ClusterUnavailable, None),
        (aiohttp.SocketTimeoutError("read"), ClusterUnavailable, None),
    ],
)
def test_failure_without_an_answer_becomes_one_error_type(
    failure: Exception, expected: type[ClusterError], was_sent: bool | None
) -> None:
    error = error_from_failure(JOB, failure)

    assert type(error) is expected
    assert getattr(error, "was_sent", None) == was_sent


# Raised only by receiving a websocket message as a type it has not, which we never ask for.
NEVER_MET = {aiohttp.WSMessageTypeError}


def test_every_exception_of_the_http_library_is_turned_into_an_error_of_ours() -> None:
    members: list[object] = list(vars(aiohttp.client_exceptions).values())
    raised = {m for m in members if isinstance(m, type) and issubclass(m, Exception)}

    assert len(raised) > 20
    assert {m for m in raised if not issubclass(m, TRANSPORT_FAILURES)} == NEVER_MET


def test_error_tree_in_the_docstring_names_every_error_under_its_parent() -> None:
    lines = (inspect.getdoc(errors_module) or "").splitlines()
    drawn = {
        line.split()[i]: len(line) - len(line.lstrip("│├└─ "))
        for line in lines
        for i in [next((k for k, word in enumerate(line.split()) if word[0].isupper()), -1)]
        if i >= 0 and line.split()[i] in vars(errors_module)
    }
    classes = [
        kind
        for kind in vars(errors_module).values()
        if isinstance(kind, type) and issubclass(kind, ClusterError)
    ]

    assert {kind.__name__ for kind in classes} == drawn.keys()
    for kind in classes:
        assert drawn[kind.__name__] == 4 * (len(kind.__mro__) - len(ClusterError.__mro__))


@pytest.mark.parametrize(
    ("method", "path", "watch", "expected"),
    [
        ("GET", "/api/v1/namespaces/a/pods", False, "list pods in namespace a"),
        ("GET", "/api/v1/namespaces/a/pods", True, "watch pods in namespace a"),
        ("GET", "/api/v1/namespaces/a/pods/p/log", False, "get pods/log p in namespace a"),
        ("GET", "/api/v1/pods", False, "list pods"),
        ("GET", "/api/v1/namespaces/a", False, "get namespaces a"),
        (
            "PUT",
            "/apis/g.io/v1/namespaces/a/leases/l",
            False,
            "update leases.g.io l in namespace a",
        ),
        ("PATCH", "/apis/batch/v1/namespaces/a/jobs/j", False, "patch jobs.batch j in namespace a"),
        (
            "DELETE",
            "/apis/batch/v1/namespaces/a/jobs/j",
            False,
            "delete jobs.batch j in namespace a",
        ),
        ("POST", "/apis/g.io/v1/reviews", False, "create reviews.g.io"),
        ("GET", "/version", False, "get /version"),
    ],
)
def test_request_is_described_in_the_words_of_a_role(
    method: str, path: str, watch: bool, expected: str
) -> None:
    assert str(describe_request(method, path, watch=watch)) == expected
