"""From a failed answer, or no answer, to one of our errors. Pure; knows no socket."""

import asyncio
import math
import re
import ssl
from http import HTTPStatus
from typing import Any

import aiohttp

from tasks.cluster.api_answers import parse_json_object
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
    StatusBody,
    TooManyRequests,
)
from tasks.cluster.json_objects import RequestTarget
from tasks.observation.api_fields import RawObject, object_at, objects_at, text_at

# A validation error of a pod template dumps the whole of it; the beginning says what is wrong.
_QUOTE_LIMIT_CHARACTERS = 500

# The only sign of it in a field; the answer is otherwise that of a missing permission.
_NAMESPACE_GOES = "NamespaceTerminating"
_ALERT = re.compile(
    r"(?:SSLV3|TLSV1|TLSV13)_ALERT_(?P<words>[A-Z_]*"
    r"(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)[A-Z_]*)"
)

_REFUSALS: dict[int, type[ApiRefused]] = {
    401: ClusterUnauthorised,
    403: ClusterForbidden,
    404: ObjectNotFound,
    409: ObjectConflict,
    410: ResourceExpired,
    422: ObjectInvalid,
    429: TooManyRequests,
}
# Runs are decided by these; that the API itself says so, only a Status shows.
_NEEDS_A_STATUS = frozenset({404, 409, 410, 422})
# Told to people as what a Role or a token lacks; the API never answers them without a Status.
_TELLS_OF_ACCESS = frozenset({401, 403})
_ANONYMOUS = 'User "system:anonymous"'


def error_from_answer(
    target: RequestTarget,
    status: int,
    body: bytes | None,
    *,
    retry_after: str | None = None,
    is_json_patch: bool = False,
) -> ClusterError:
    """Make the error of an answer whose status is not a success.

    Args:
        target: What was asked for.
        status: HTTP status, 300 or above.
        body: The whole body; a `Status`, or anything that a proxy in between sent. None where it
            cannot be read, as a websocket's.
        retry_after: The header's value; only seconds are understood (the API sends nothing else).
        is_json_patch: A 422 without causes then means that the patch did not apply.
    """
    answer = parse_status(
        body, retry_after=retry_after, quotes_body=not target.resource.startswith("secrets")
    )
    if status == 403 and any(reason == _NAMESPACE_GOES for reason, _ in answer.causes):
        return NamespaceTerminating(
            f"Namespace {target.namespace} is being deleted, so the Kubernetes API refused to "
            f"{target.rule} in it.",
            target=target,
            status=status,
            answer=answer,
        )
    sentence = _sentence(target, status, answer)
    is_elsewhere = answer.is_foreign and status in _NEEDS_A_STATUS
    if status >= 500 or is_elsewhere:
        return ClusterUnavailable(
            sentence, target=target, status=status, retry_after_seconds=answer.retry_after_seconds
        )
    error = _refusal_type(status, answer, is_json_patch=is_json_patch)
    return error(sentence, target=target, status=status, answer=answer)


def _refusal_type(status: int, answer: StatusBody, *, is_json_patch: bool) -> type[ApiRefused]:
    if status == 404 and answer.kind == "namespaces":
        return NamespaceNotFound
    if status == 409 and answer.reason == "AlreadyExists":
        return ObjectAlreadyExists
    if status == 422 and is_json_patch and not answer.causes:
        return PatchRefused
    return _REFUSALS.get(status, RequestRefused)


def _sentence(target: RequestTarget, status: int, answer: StatusBody) -> str:
    causes = ", ".join(f"{reason} at {field}" for reason, field in answer.causes)
    said = answer.message or _one_line(causes)
    label = f"{status} {answer.reason}".strip()
    is_elsewhere = answer.is_foreign and status in _NEEDS_A_STATUS | _TELLS_OF_ACCESS
    who = "What answered is not the Kubernetes API. It" if is_elsewhere else "The Kubernetes API"
    return f"{who} answered {label} to {target}{f': {said}' if said else '.'}"


def parse_status(
    body: bytes | None, *, retry_after: str | None = None, quotes_body: bool = True
) -> StatusBody:
    """Read a `Status` body; anything else gives its first characters as message.

    Args:
        body: The whole body; None where it cannot be read, which says nothing of who answered.
        retry_after: The `Retry-After` header.
        quotes_body: False drops the message, for requests whose content must not be repeated.
    """
    if body is None:
        return StatusBody(retry_after_seconds=_seconds(retry_after))
    status = parse_json_object(body)
    if status is None:
        text = body[:_QUOTE_LIMIT_CHARACTERS].decode(errors="replace")
        return StatusBody(
            message=_one_line(text) if quotes_body else "",
            retry_after_seconds=_seconds(retry_after),
            is_foreign=True,
        )
    details = object_at(status, "details")
    causes = objects_at(details, "causes")
    return StatusBody(
        reason=_line_at(status, "reason"),
        message=_line_at(status, "message") if quotes_body else "",
        kind=_line_at(details, "kind"),
        name=_line_at(details, "name"),
        causes=tuple((_line_at(cause, "reason"), _line_at(cause, "field")) for cause in causes),
        retry_after_seconds=_seconds(retry_after) or _seconds(details.get("retryAfterSeconds")),
        is_foreign=status.get("kind") != "Status",
        is_anonymous=_ANONYMOUS in (text_at(status, "message") or ""),
    )


def _line_at(raw: RawObject, key: str) -> str:
    return _one_line(text_at(raw, key) or "")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _QUOTE_LIMIT_CHARACTERS:
        return line
    return line[:_QUOTE_LIMIT_CHARACTERS] + "…"


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def error_from_failure(target: RequestTarget, failure: BaseException) -> ClusterError:
    """Make the error of a request that got no whole answer.

    Args:
        target: What was asked for.
        failure: What aiohttp or the operating system raised.
    """
    if isinstance(failure, aiohttp.ClientHttpProxyError):
        said = _one_line(f"{failure.status} {failure.message}")
        return ClusterUnreachable(
            f"The proxy on the way to the Kubernetes API does not connect ({said}); check "
            "proxy-url in the kubeconfig, or HTTPS_PROXY and NO_PROXY.",
            target=target,
        )
    if isinstance(failure, aiohttp.ClientProxyConnectionError):
        return ClusterUnreachable(
            f"The proxy on the way to the Kubernetes API cannot be reached ({_brief(failure)}).",
            target=target,
        )
    if (alert := _alert_of(failure)) is not None:
        return ClusterTlsFailed(
            f"The Kubernetes API refused our side of TLS ({alert}); check the client certificate "
            "in the kubeconfig, or what its credential plugin gives.",
            target=target,
            is_ours=True,
        )
    if isinstance(failure, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        # A cluster that was made anew under an old address, or whose authority was rotated.
        return ClusterTlsFailed(
            f"TLS with the Kubernetes API failed ({_brief(failure)}); "
            "check the certificate authority in the kubeconfig and the server's address.",
            target=target,
        )
    if isinstance(failure, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return ClusterUnreachable(
            f"The Kubernetes API cannot be reached ({_brief(failure)}).", target=target
        )
    if isinstance(failure, asyncio.TimeoutError):
        return ClusterUnavailable(
            f"The Kubernetes API did not answer {target} in time.", target=target
        )
    return ClusterUnreachable(
        f"The connection to the Kubernetes API broke during {target} ({_brief(failure)}).",
        target=target,
        was_sent=True,
    )


def cause_of(failure: BaseException) -> BaseException | None:
    """Return what an error may be chained to: no exception that carries the request's headers."""
    return None if isinstance(failure, aiohttp.ClientResponseError) else failure


def _alert_of(failure: BaseException) -> str | None:
    """Return the other side's alert about our certificate; None for every other failure.

    With TLS 1.3 it comes after our own handshake has ended, when the request has been written;
    the server then drops it unread.
    """
    found = _ALERT.search(str(failure)) if isinstance(failure, aiohttp.ClientOSError) else None
    return " ".join(found["words"].lower().split("_")) if found else None


def _brief(failure: BaseException) -> str:
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        return _one_line(f"{failure.host}:{failure.port}: {failure.certificate_error}")
    if isinstance(failure, aiohttp.ClientConnectorError):  # its own text shows an object
        reason = failure.strerror or type(failure.os_error).__name__
        return _one_line(f"{failure.host}:{failure.port}: {reason}")
    # Only these carry nothing but an address and the system's own words.
    if isinstance(failure, (aiohttp.ClientConnectionError, ssl.SSLError, OSError)):
        return _one_line(str(failure)) or type(failure).__name__
    return type(failure).__name__


# The kubelet answers 200 before it opens the log, and then has the body alone to say that there is
# none (`kuberuntime_container.go`, `logs.go`).
_EXCUSES = (
    b"unable to retrieve container logs for ",
    b"failed to try resolving symlinks in path ",
    b"failed to open log file ",
)


def refuse_kubelet_excuse(start: bytes) -> None:
    """Refuse the start of a log that the kubelet has written in place of a log.

    Raises:
        RequestRefused: It is no log.
    """
    if start.startswith(_EXCUSES):
        said = start.partition(b"\n")[0][:500].decode(errors="replace").strip()
        raise RequestRefused(f"The kubelet has no log to show: {said}.", status=HTTPStatus.OK)
