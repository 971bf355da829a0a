"""The kinds of objects that the server keeps, and how their names are written."""

from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]
"""One object of the API as JSON. A stored one is shared and never changed in place."""


@dataclass(frozen=True)
class Resource:
    """One kind of object at one API version.

    Attributes:
        group: API group; empty for the core API.
        version: The API version.
        plural: Name in paths and in the rules of a Role.
        kind: Name in `kind`.
        namespaced: Whether objects belong to a namespace.
        short_names: What kubectl accepts besides the plural.
        has_status: Whether `status` is written through its own subresource only.
        returns_deleted: Whether DELETE answers with the object in place of a Status.
        in_all: Whether `kubectl get all` shows it.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    has_status: bool = False
    returns_deleted: bool = False
    in_all: bool = False

    @property
    def api_version(self) -> str:
        """`batch/v1`, or `v1` for the core API."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`jobs.batch`, or `pods` for the core API."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """`Job.batch`, or `Pod` for the core API."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

NAMESPACES = Resource(
    "", "v1", "namespaces", "Namespace", False, ("ns",), has_status=True, returns_deleted=True
)
NODES = Resource("", "v1", "nodes", "Node", False, ("no",), has_status=True)
PODS = Resource(
    "", "v1", "pods", "Pod", True, ("po",), has_status=True, returns_deleted=True, in_all=True
)
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", True, ("cm",))
EVENTS = Resource("", "v1", "events", "Event", True, ("ev",))
SERVICE_ACCOUNTS = Resource(
    "", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",), returns_deleted=True
)
VOLUME_CLAIMS = Resource(
    "",
    "v1",
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    True,
    ("pvc",),
    has_status=True,
    returns_deleted=True,
)
VOLUMES = Resource(
    "",
    "v1",
    "persistentvolumes",
    "PersistentVolume",
    False,
    ("pv",),
    has_status=True,
    returns_deleted=True,
)
RESOURCE_QUOTAS = Resource(
    "",
    "v1",
    "resourcequotas",
    "ResourceQuota",
    True,
    ("quota",),
    has_status=True,
    returns_deleted=True,
)
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange", True, ("limits",))
PRIORITY_CLASSES = Resource(
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, ("pc",)
)
RUNTIME_CLASSES = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False)
MUTATING_WEBHOOKS = Resource(
    _ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
VALIDATING_WEBHOOKS = Resource(
    _ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)
JOBS = Resource("batch", "v1", "jobs", "Job", True, has_status=True, in_all=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ROLES = Resource(_RBAC, "v1", "roles", "Role")
ROLE_BINDINGS = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource(_RBAC, "v1", "clusterroles", "ClusterRole", False)
CLUSTER_ROLE_BINDINGS = Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False)

STORED = (
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    CONFIG_MAPS,
    EVENTS,
    SERVICE_ACCOUNTS,
    VOLUME_CLAIMS,
    VOLUMES,
    RESOURCE_QUOTAS,
    LIMIT_RANGES,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    JOBS,
    LEASES,
    ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
)

ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)
RULES_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False
)
REVIEWS = (ACCESS_REVIEWS, RULES_REVIEWS)

TOKEN_REQUESTS = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", False)


def find_resource(group: str, version: str, plural: str) -> Resource | None:
    """Return the resource of a path; None when the server has no such thing."""
    for resource in (*STORED, *REVIEWS):
        if (resource.group, resource.version, resource.plural) == (group, version, plural):
            return resource
    return None


def find_kind(api_version: str, kind: str) -> Resource | None:
    """Return the stored resource of an ownerReference's or a body's `apiVersion` and `kind`."""
    for resource in STORED:
        if resource.kind == kind and resource.api_version == api_version:
            return resource
    return None
