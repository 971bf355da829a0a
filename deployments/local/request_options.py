"""Parameters of a write: a dry run, and what unknown fields do."""

from deployments.local.api_errors import ApiError, invalid_kind
from deployments.local.call_notes import IGNORE, STRICT, WARN
from deployments.local.routing import Request

_OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def check_dry_run(request: Request) -> None:
    """Accept one value alone.

    Raises:
        ApiError: 422, another value.
    """
    value = request.query.get("dryRun", "All")
    if value != "All":
        message = f'Unsupported value: []string{{"{value}"}}: supported values: "All"'
        raise _unsupported(request, message, "dryRun")


def parse_field_validation(request: Request) -> str:
    """Return what a request wants done with unknown fields.

    Raises:
        ApiError: 422, it wants something unknown.
    """
    wanted = request.query.get("fieldValidation") or WARN
    if wanted not in (WARN, STRICT, IGNORE):
        supported = '"", "Ignore", "Strict", "Warn"'
        message = f'Unsupported value: "{wanted}": supported values: {supported}'
        raise _unsupported(request, message, "fieldValidation")
    return wanted


def _unsupported(request: Request, message: str, field: str) -> ApiError:
    kind = _OPTIONS.get(request.verb, "CreateOptions")
    details = {"group": "meta.k8s.io", "kind": kind}
    causes = [("FieldValueNotSupported", message, field)]
    return invalid_kind(f"{kind}.meta.k8s.io", details, "", causes)
