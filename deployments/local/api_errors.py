"""Failures as the API words them: one exception that carries a whole `Status` body.

The wording was recorded from a real server; clients must not decide on it, people read it.
"""

from typing import Any

from deployments.local.resources import JsonObject, Resource

Cause = tuple[str, str, str]
"""Reason, message and field of one finding."""


class ApiError(Exception):
    """A request cannot be carried out; `body()` is what the client gets.

    Attributes:
        code: HTTP status.
        reason: The API's CamelCase reason; empty where the real server sends none.
        message: The sentence.
        details: `details` of the Status, or None for none.
        retry_after_seconds: Sent as header and in the details.
        continue_token: A fresh token, for an expired list.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: JsonObject | None = None,
        retry_after_seconds: int | None = None,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after_seconds = retry_after_seconds
        self.continue_token = continue_token

    def body(self) -> JsonObject:
        """Return the `Status` object."""
        metadata: JsonObject = {"continue": self.continue_token} if self.continue_token else {}
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = self.details
        if self.retry_after_seconds is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after_seconds}
        if details is not None:
            status["details"] = details
        status["code"] = self.code
        return status


def _about(resource: Resource, name: str, *, by_kind: bool = False) -> JsonObject:
    details: JsonObject = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind if by_kind else resource.plural
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    """404 for one object."""
    return ApiError(
        404,
        "NotFound",
        f'{resource.qualified} "{name}" not found',
        details=_about(resource, name),
    )


def no_such_path() -> ApiError:
    """404 for a path that means nothing."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        details={},
    )


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 for a create of an existing name."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{resource.qualified} "{name}" already exists',
        details=_about(resource, name),
    )


def modified(resource: Resource, name: str) -> ApiError:
    """409 for a write under an old resourceVersion."""
    return conflict(
        resource,
        name,
        "the object has been modified; "
        "please apply your changes to the latest version and try again",
    )


def conflict(resource: Resource, name: str, why: str, *, by_kind: bool = False) -> ApiError:
    """409 with a reason; preconditions of a DELETE name the kind in place of the plural."""
    subject = resource.qualified_kind if by_kind else resource.qualified
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {subject} "{name}": {why}',
        details=_about(resource, name, by_kind=by_kind),
    )


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def patch_refused() -> ApiError:
    """422 without causes: an operation of a JSON patch did not apply, a failed `test` included."""
    return ApiError(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
        details={},
    )


def invalid(resource: Resource, name: str, causes: list[Cause]) -> ApiError:
    """422 for an object that breaks the rules of its kind."""
    return invalid_kind(resource.qualified_kind, _about(resource, name, by_kind=True), name, causes)


def invalid_kind(kind: str, details: JsonObject, name: str, causes: list[Cause]) -> ApiError:
    """422 for things that are no stored objects: options of a request."""
    findings = [f"{field}: {message}" for _, message, field in causes]
    text = findings[0] if len(findings) == 1 else f"[{', '.join(findings)}]"
    rows: list[dict[str, Any]] = [
        {"reason": reason, "message": message, "field": field} for reason, message, field in causes
    ]
    return ApiError(
        422, "Invalid", f'{kind} "{name}" is invalid: {text}', details={**details, "causes": rows}
    )


def expired(message: str, *, continue_token: str = "") -> ApiError:
    """410 for a resourceVersion or a continue token that history no longer covers."""
    return ApiError(410, "Expired", message, continue_token=continue_token)


def forbidden(resource: Resource | None, name: str, why: str) -> ApiError:
    """403; `resource` None is a path outside of the API groups."""
    if resource is None:
        return ApiError(403, "Forbidden", f"forbidden: {why}", details={})
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(
        403, "Forbidden", f"{subject} is forbidden: {why}", details=_about(resource, name)
    )
