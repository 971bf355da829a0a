"""What can go wrong between us and the Kubernetes API; nothing else leaves this package.

ClusterError
├── KubeconfigInvalid           what tells us how to connect is unreadable or incomplete
│   └── ClusterNotConfigured    nothing tells us how to connect
├── ClusterUnreachable          no answer: name, connection, reset
│   ├── ClusterTlsFailed        one side did not accept the other's certificate
│   ├── CredentialsUnavailable  nothing was sent: the credentials have run out
│   └── StreamBroken            an open stream was cut
├── ClusterUnavailable          the server cannot answer: 5xx, too slow, or something else did
│   └── StreamSilent            an open stream said nothing for longer than its bound
├── ApiRefused                  the server answered no
│   ├── RequestRefused          400
│   ├── ClusterUnauthorised     401
│   ├── ClusterForbidden        403: RBAC, quota, Pod Security, a webhook
│   ├── NamespaceTerminating    403 of a create: the namespace is being deleted
│   ├── ObjectNotFound          404 with a Status
│   │   └── NamespaceNotFound   404, and it is the namespace that is missing
│   ├── ObjectConflict          409: changed since it was read, or a precondition does not hold
│   │   └── ObjectAlreadyExists 409 of a create
│   ├── ResourceExpired         410: resourceVersion or list position too old
│   ├── ObjectInvalid           422
│   │   └── PatchRefused        422 of a JSON patch: a `test` does not hold, so a lost race
│   └── TooManyRequests         429
└── ExecFailed                  a command in a pod could not be run to its end

The library's exception is chained as `__cause__`. Messages quote the server, never a credential,
and never what was sent: servers may answer a malformed Secret with its content.
"""

from dataclasses import dataclass, field

from tasks.cluster.json_objects import RequestTarget


class ClusterError(Exception):
    """Something between us and the API went wrong; `str()` is a sentence for people."""

    def __init__(self, message: str, *, target: RequestTarget | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.target = target


class KubeconfigInvalid(ClusterError):
    """What tells us how to connect is unreadable or incomplete; says which and what to do."""


class ClusterNotConfigured(KubeconfigInvalid):
    """Neither a service account nor a kubeconfig was found."""


class ClusterUnreachable(ClusterError):
    """No answer came.

    Attributes:
        was_sent: The request may have reached the server, so a write may have happened.
    """

    def __init__(
        self, message: str, *, target: RequestTarget | None = None, was_sent: bool = False
    ) -> None:
        super().__init__(message, target=target)
        self.was_sent = was_sent


class ClusterTlsFailed(ClusterUnreachable):
    """TLS was not agreed on, so the request was not sent.

    Attributes:
        is_ours: The server, or a proxy before it, did not accept our certificate; else we did not
            accept the server's.
    """

    def __init__(
        self, message: str, *, target: RequestTarget | None = None, is_ours: bool = False
    ) -> None:
        super().__init__(message, target=target)
        self.is_ours = is_ours


class CredentialsUnavailable(ClusterUnreachable):
    """The credentials have run out and cannot be renewed; nothing was sent."""


class StreamBroken(ClusterUnreachable):
    """An open stream was cut in the middle; what came before is good."""


class ClusterUnavailable(ClusterError):
    """The server cannot answer now, or not in time; a write may have happened.

    What a proxy answers in its place says nothing either, whatever its status.

    Attributes:
        status: HTTP status; None when the time ran out.
        retry_after_seconds: What the server asked for, if anything.
    """

    def __init__(
        self,
        message: str,
        *,
        target: RequestTarget | None = None,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, target=target)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class StreamSilent(ClusterUnavailable):
    """An open stream said nothing for longer than its bound; normal, open it again."""


@dataclass(frozen=True)
class StatusBody:
    """What a Kubernetes `Status` answer says.

    Attributes:
        reason: The stable word, such as `AlreadyExists`; empty when the answer was no Status.
        message: The server's sentence, at most a screen; empty where it could quote a Secret.
        kind: `details.kind`; on a 404 the plural of what is missing.
        name: `details.name`.
        causes: `details.causes` as (reason, field) pairs.
        retry_after_seconds: `Retry-After`, else `details.retryAfterSeconds`.
        is_foreign: The answer was read and is not a Status: something before the API gave it.
        is_anonymous: The API knew nobody, so the credentials did not arrive.
    """

    reason: str = ""
    message: str = ""
    kind: str = ""
    name: str = ""
    causes: tuple[tuple[str, str], ...] = field(default=())
    retry_after_seconds: float | None = None
    is_foreign: bool = False
    is_anonymous: bool = False

    @property
    def is_about_rights(self) -> bool:
        """Whether a refusal is the API's own, to somebody whom it knows."""
        return not (self.is_foreign or self.is_anonymous)


class ApiRefused(ClusterError):
    """The server answered with a 4xx; nothing was changed by this request.

    Attributes:
        status: HTTP status.
        answer: What the body said.
        earlier_try_unanswered: An earlier try of the same call got no clear answer, so that one
            may have been carried out, or still be.
    """

    def __init__(
        self,
        message: str,
        *,
        target: RequestTarget | None = None,
        status: int,
        answer: StatusBody | None = None,
    ) -> None:
        super().__init__(message, target=target)
        self.status = status
        self.answer = answer or StatusBody()
        self.earlier_try_unanswered = False


class RequestRefused(ApiRefused):
    """400 and every 4xx without a type of its own: not now, or not in this form."""


class ClusterUnauthorised(ApiRefused):
    """401: the credentials are wrong or have run out."""


class ClusterForbidden(ApiRefused):
    """403; `target` holds verb and resource, `answer` the server's reason."""


class NamespaceTerminating(ApiRefused):
    """403 of a create whose only reason is that its namespace is being deleted."""


class ObjectNotFound(ApiRefused):
    """404."""


class NamespaceNotFound(ObjectNotFound):
    """404 because the namespace does not exist; lists do not tell, they answer empty."""


class ObjectConflict(ApiRefused):
    """409: the object is another one, or a newer one, than the request named."""


class ObjectAlreadyExists(ObjectConflict):
    """409 of a create: the name is taken."""


class ResourceExpired(ApiRefused):
    """410: list again."""


class ObjectInvalid(ApiRefused):
    """422: the object breaks a rule of its kind."""


class PatchRefused(ObjectInvalid):
    """422 of a JSON patch that could not be applied: somebody else changed the object."""


class TooManyRequests(ApiRefused):
    """429: nothing was done; ask again after `answer.retry_after_seconds`."""


class ExecFailed(ClusterError):
    """A command in a pod could not be started, or its ending was never reported."""
