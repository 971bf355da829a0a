"""What is known of a call beside the object that it is about."""

from dataclasses import dataclass, field

from deployments.local.api_errors import bad_request

WARN, STRICT, IGNORE = "Warn", "Strict", "Ignore"


@dataclass
class CallNotes:
    """One call, from outside or by a controller.

    Attributes:
        user: Who makes it, as in RBAC.
        groups: The user's groups.
        field_validation: What unknown fields do: `Warn`, `Strict` (refused) or `Ignore`.
        dry_run: Whether nothing may be stored.
        warnings: Sent with the answer, a header each.
    """

    user: str = "system:kube-controller-manager"
    groups: tuple[str, ...] = ()
    field_validation: str = IGNORE
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list[str])

    def meet_unknown(self, version: str, kind: str, fields: list[str]) -> None:
        """Warn of fields that the server does not know, or refuse them.

        Raises:
            ApiError: 400.
        """
        findings = [f'unknown field "{name}"' for name in fields]
        if findings and self.field_validation == STRICT:
            raise bad_request(
                f'{kind} in version "{version}" cannot be handled as a {kind}: '
                f"strict decoding error: {', '.join(findings)}"
            )
        if self.field_validation == WARN:
            self.warnings += findings
