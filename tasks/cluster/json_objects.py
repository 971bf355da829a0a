"""The kinds of objects we speak to the API about, and how a request names what it wants."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

JsonObject = dict[str, Any]
"""One JSON object of the API, as it came or as it is sent; never one of a library's models."""


@dataclass(frozen=True)
class ApiResource:
    """One kind of object at one API version.

    Attributes:
        group: API group; empty for the core API.
        version: The API version that every supported server has.
        plural: The name used in paths and in the rules of a Role.
        kind: The name that objects have; a list's ends in `List`.
    """

    group: str
    version: str
    plural: str
    kind: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
        """Return the request path; `namespace` None means cluster-scoped or all namespaces."""
        parts = ["apis", self.group] if self.group else ["api"]
        parts.append(self.version)
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


JOBS = ApiResource("batch", "v1", "jobs", "Job")
PODS = ApiResource("", "v1", "pods", "Pod")
SECRETS = ApiResource("", "v1", "secrets", "Secret")
LEASES = ApiResource("coordination.k8s.io", "v1", "leases", "Lease")
KUBERNETES_EVENTS = ApiResource("", "v1", "events", "Event")
NODES = ApiResource("", "v1", "nodes", "Node")
VOLUME_CLAIMS = ApiResource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
RESOURCE_QUOTAS = ApiResource("", "v1", "resourcequotas", "ResourceQuota")
ACCESS_REVIEWS = ApiResource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"
)
RULES_REVIEWS = ApiResource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"
)


@dataclass(frozen=True)
class RequestTarget:
    """What a request wants, in the words of a Role: `create jobs.batch in namespace x`.

    Attributes:
        verb: get, list, watch, create, update, patch or delete.
        group: API group; empty for the core API.
        resource: Plural, with the subresource: `jobs`, `pods/log`; the bare path where it is none.
        namespace: None for cluster-scoped requests.
        name: None for collections.
    """

    verb: str
    group: str
    resource: str
    namespace: str | None = None
    name: str | None = None

    @property
    def rule(self) -> str:
        """Verb and resource only, as one counts requests: `get pods/log`, `list jobs.batch`."""
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.rule}{name}{place}"


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def describe_request(method: str, path: str, *, watch: bool = False) -> RequestTarget:
    """Tell what a request to `path` wants; paths outside the API groups stand for themselves.

    Source:
        Kubernetes "API Overview" (resource URIs) and "Authorization Overview" (request verbs).
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return RequestTarget(_VERBS.get(method, "get"), "", path)
    namespace = None
    # `/namespaces/NAME` alone is the Namespace object itself.
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else None
    resource = "/".join([rest[0], *rest[2:]])
    verb = _VERBS.get(method) or ("watch" if watch else "get" if name else "list")
    return RequestTarget(verb, group, resource, namespace, name)
