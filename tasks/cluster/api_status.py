"""From a failed answer, or no answer, to one of our errors. Pure; knows no socket."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import aiohttp

from tasks.cluster.cluster_errors import (
    ApiRefused,
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    ClusterUnavailable,
    ClusterUnreachable,
    NamespaceNotFound,
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

# A validation error of a pod template dumps the whole of it; the beginning says what is wrong.
_QUOTE_LIMIT_CHARACTERS = 500

_REFUSALS: dict[int, type[ApiRefused]] = {
    401: ClusterUnauthorised,
    403: ClusterForbidden,
    404: ObjectNotFound,
    409: ObjectConflict,
    410: ResourceExpired,
    422: ObjectInvalid,
    429: TooManyRequests,
}


def error_from_answer(
    target: RequestTarget,
    status: int,
    body: bytes,
    *,
    retry_after: str | None = None,
    is_json_patch: bool = False,
) -> ClusterError:
    """Make the error of an answer whose status is not a success.

    Args:
        target: What was asked for.
        status: HTTP status, 300 or above.
        body: The whole body; a `Status`, or anything that a proxy in between sent.
        retry_after: The header's value; only seconds are understood (the API sends nothing else).
        is_json_patch: A 422 without causes then means that the patch did not apply.
    """
    answer = parse_status(
        body, retry_after=retry_after, quotes_body=not target.resource.startswith("secrets")
    )
    sentence = _sentence(target, status, answer)
    if status >= 500:
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
    said = answer.message or ", ".join(f"{reason} at {field}" for reason, field in answer.causes)
    label = f"{status} {answer.reason}".strip()
    return f"The Kubernetes API answered {label} to {target}{f': {said}' if said else '.'}"


def parse_status(
    body: bytes, *, retry_after: str | None = None, quotes_body: bool = True
) -> StatusBody:
    """Read a `Status` body; anything else gives its first characters as message.

    Args:
        body: The whole body.
        retry_after: The `Retry-After` header.
        quotes_body: False drops the message, for requests whose content must not be repeated.
    """
    try:
        raw: Any = json.loads(body)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        text = body[:_QUOTE_LIMIT_CHARACTERS].decode(errors="replace")
        return StatusBody(
            message=_one_line(text) if quotes_body else "",
            retry_after_seconds=_seconds(retry_after),
        )
    status = cast("dict[str, Any]", raw)
    details: Mapping[str, Any] = status.get("details") or {}
    causes: list[Mapping[str, Any]] = details.get("causes") or []
    return StatusBody(
        reason=str(status.get("reason") or ""),
        message=_one_line(str(status.get("message") or "")) if quotes_body else "",
        kind=str(details.get("kind") or ""),
        name=str(details.get("name") or ""),
        causes=tuple((str(c.get("reason") or ""), str(c.get("field") or "")) for c in causes),
        retry_after_seconds=_seconds(retry_after) or _seconds(details.get("retryAfterSeconds")),
    )


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _QUOTE_LIMIT_CHARACTERS:
        return line
    return line[:_QUOTE_LIMIT_CHARACTERS] + "…"


def _seconds(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def error_from_failure(target: RequestTarget, failure: BaseException) -> ClusterError:
    """Make the error of a request that got no whole answer.

    Args:
        target: What was asked for.
        failure: What aiohttp or the operating system raised.
    """
    if isinstance(failure, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        # Most often a cluster that was made anew under an old address.
        return ClusterUnreachable(
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


def _brief(failure: BaseException) -> str:
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
