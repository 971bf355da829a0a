"""Who a bearer token speaks for: the administrator, or a ServiceAccount."""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.local.api_errors import unauthorized
from deployments.local.objects import after, name_of, namespace_of, now, uid_of
from deployments.local.resources import PODS, SERVICE_ACCOUNTS, JsonObject
from deployments.local.store import Store

ADMIN_GROUP = "system:masters"


@dataclass(frozen=True)
class User:
    """Who makes a request.

    Attributes:
        name: As in RBAC subjects and messages.
        groups: Groups of RBAC subjects.
    """

    name: str
    groups: tuple[str, ...]

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return ADMIN_GROUP in self.groups


ADMIN = User("admin", (ADMIN_GROUP, "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Tokens:
    """Signs tokens and reads them back; those of deleted ServiceAccounts are worth nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self.admin_token = secrets.token_urlsafe(32)

    def issue(
        self,
        account: JsonObject,
        *,
        lifetime_seconds: int | None = None,
        pod: JsonObject | None = None,
    ) -> tuple[str, datetime | None]:
        """Return a token for a ServiceAccount, and when it ends; None means never.

        Args:
            account: The ServiceAccount.
            lifetime_seconds: None for no end.
            pod: The token is worth nothing once this pod has gone.
        """
        expires_at = after(now(), lifetime_seconds) if lifetime_seconds else None
        claims: JsonObject = {
            "iss": "https://kubernetes.default.svc",
            "sub": f"system:serviceaccount:{namespace_of(account)}:{name_of(account)}",
            "namespace": namespace_of(account),
            "name": name_of(account),
            "uid": uid_of(account),
            "jti": secrets.token_hex(8),
        }
        if pod:
            claims["pod"] = {"name": name_of(pod), "uid": uid_of(pod)}
        if expires_at:
            claims["exp"] = int(expires_at.timestamp())
        head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        signed = f"{head}.{_encode(json.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}", expires_at

    def user_of(self, authorization: str | None) -> User:
        """Return who the `Authorization` header names; no header is the anonymous user.

        Raises:
            ApiError: 401.
        """
        if authorization is None:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthorized()
        if hmac.compare_digest(token.encode(), self.admin_token.encode()):
            return ADMIN
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise unauthorized()
        return self._account_user(json.loads(_decode(signed.partition(".")[2])))

    def _account_user(self, claims: dict[str, Any]) -> User:
        account = self._store.get(SERVICE_ACCOUNTS, claims["namespace"], claims["name"])
        is_late = "exp" in claims and now().timestamp() >= claims["exp"]
        if account is None or uid_of(account) != claims["uid"] or is_late:
            raise unauthorized()
        bound = claims.get("pod")
        if bound:
            pod = self._store.get(PODS, claims["namespace"], bound["name"])
            if pod is None or uid_of(pod) != bound["uid"]:
                raise unauthorized()
        groups = (
            "system:serviceaccounts",
            f"system:serviceaccounts:{claims['namespace']}",
            "system:authenticated",
        )
        return User(claims["sub"], groups)

    def _signature(self, signed: str) -> str:
        return _encode(hmac.digest(self._key, signed.encode(), hashlib.sha256))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
