"""From method, path and query to what is wanted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployments.local.access import Wish
from deployments.local.api_errors import no_such_path
from deployments.local.registry import Target
from deployments.local.resources import NAMESPACES, PODS, SERVICE_ACCOUNTS, Resource, find_resource

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Request:
    """One request for objects.

    Attributes:
        verb: As a Role names it.
        target: What it is about.
        subresource: `log`, `exec`, `eviction`, `status`, `token`, or empty.
        query: Parameters; of repeated ones the last, but see `commands`.
        commands: The repeated `command` of an exec.
    """

    verb: str
    target: Target
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    commands: tuple[str, ...] = ()

    @property
    def resource(self) -> Resource:
        """The kind."""
        return self.target.resource

    @property
    def resource_name(self) -> str:
        """Plural with subresource, as a Role names it."""
        plural = self.resource.plural
        return f"{plural}/{self.subresource}" if self.subresource else plural

    @property
    def wish(self) -> Wish:
        """What must be allowed."""
        target = self.target
        return Wish(
            self.verb, self.resource.group, self.resource_name, target.namespace, target.name
        )

    def flag(self, name: str) -> bool:
        """Tell whether a boolean parameter is set."""
        return self.query.get(name, "").lower() in ("1", "true", "t")

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing may be stored."""
        return "dryRun" in self.query


def parse_request(method: str, path: str, query: list[tuple[str, str]]) -> Request:
    """Tell what a request under `/api/` or `/apis/` wants.

    Raises:
        ApiError: 404, no such path.
    """
    parts = path.strip("/").split("/")
    group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1], parts[2:])
    if len(rest) < 2:
        raise no_such_path()
    version, *rest = rest
    namespace = ""
    # `/namespaces/NAME` is the Namespace itself, `/namespaces/NAME/status` its status.
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    resource = find_resource(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in _subresources(resource):
        raise no_such_path()
    parameters = dict(query)
    target = Target(resource, namespace, name, subresource if subresource == "status" else "")
    return Request(
        verb=_verb(method, name, parameters),
        target=target,
        subresource=subresource,
        query=parameters,
        commands=tuple(value for key, value in query if key == "command"),
    )


def _subresources(resource: Resource) -> tuple[str, ...]:
    found = ("status",) if resource.has_status else ()
    if resource == PODS:
        return (*found, "log", "exec", "eviction")
    if resource == SERVICE_ACCOUNTS:
        return (*found, "token")
    if resource == NAMESPACES:
        return (*found, "finalize")
    return found


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method == "DELETE" and not name:
        return "deletecollection"
    if method in _VERBS:
        return _VERBS[method]
    if query.get("watch", "").lower() in ("1", "true"):
        return "watch"
    return "get" if name else "list"
