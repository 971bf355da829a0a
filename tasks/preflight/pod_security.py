"""What Kubernetes' restricted Pod Security Standard forbids in a pod.

Follows the rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/ (the
restricted policy, which includes the baseline policy), so that a pod can be checked without a
cluster that enforces them. Rules for Windows and for annotations of servers before 1.19 are left
out, because we set none of these.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from tasks.agent_job.pod_template_shape import object_at, objects_at, text_at

_VOLUME_TYPES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SECCOMP_TYPES = frozenset({"RuntimeDefault", "Localhost"})
_APPARMOR_TYPES = frozenset({"RuntimeDefault", "Localhost"})
_SELINUX_TYPES = frozenset(
    {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)

Json = Mapping[str, Any]


class _Scope(NamedTuple):
    """The security context of the pod or of one of its containers."""

    name: str
    context: Json
    pod_context: Json
    is_pod: bool

    def own(self, field: str) -> Any:
        return self.context.get(field)

    def effective(self, field: str) -> Any:
        """Return a container's own value, else the pod's."""
        value = self.own(field)
        return self.pod_context.get(field) if value is None else value


def restricted_violations(pod_spec: Json) -> list[str]:
    """Return the rules of the restricted standard that a pod violates; empty if it is admitted.

    Each text starts with the rule's name in the standard and then names the fault.
    """
    return [*_pod_violations(pod_spec), *_context_violations(pod_spec)]


def _pod_violations(pod_spec: Json) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod_spec.get(field):
            yield f"Host Namespaces: {field} is set"
    for volume in objects_at(pod_spec, "volumes"):
        for kind in sorted(set(volume) - {"name"} - _VOLUME_TYPES):
            rule = "HostPath Volumes" if kind == "hostPath" else "Volume Types"
            yield f"{rule}: volume {volume.get('name')} is a {kind}"
    for sysctl in objects_at(object_at(pod_spec, "securityContext"), "sysctls"):
        if text_at(sysctl, "name") not in _SAFE_SYSCTLS:
            yield f"Sysctls: {sysctl.get('name')} is set"
    for container in _containers(pod_spec):
        yield from _host_violations(container)


def _host_violations(container: Json) -> Iterator[str]:
    name = container.get("name")
    if any(port.get("hostPort") for port in objects_at(container, "ports")):
        yield f"Host Ports: container {name} uses a port of the node"
    handlers = [
        object_at(container, f"{probe}Probe") for probe in ("liveness", "readiness", "startup")
    ]
    lifecycle = object_at(container, "lifecycle")
    handlers += [object_at(lifecycle, hook) for hook in lifecycle]
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if object_at(handler, action).get("host"):
                yield f"Host Probes / Lifecycle Hooks: container {name} sets a host"


def _context_violations(pod_spec: Json) -> Iterator[str]:
    pod_context = object_at(pod_spec, "securityContext")
    scopes = [_Scope("the pod", pod_context, pod_context, is_pod=True)]
    for container in _containers(pod_spec):
        context = object_at(container, "securityContext")
        name = f"container {container.get('name')}"
        scopes.append(_Scope(name, context, pod_context, is_pod=False))
    for scope in scopes:
        for rule in _RULES:
            if not scope.is_pod or rule.for_pod:
                yield from (f"{rule.name}: {scope.name} {fault}" for fault in rule.faults(scope))


def _containers(pod_spec: Json) -> Sequence[Json]:
    fields = ("initContainers", "containers", "ephemeralContainers")
    return [container for field in fields for container in objects_at(pod_spec, field)]


def _texts_at(value: Json, field: str) -> set[str]:
    items = value.get(field)
    return {item for item in items if isinstance(item, str)} if _is_list(items) else set()


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _privileged(scope: _Scope) -> Iterator[str]:
    if scope.own("privileged"):
        yield "is privileged"


def _privilege_escalation(scope: _Scope) -> Iterator[str]:
    if scope.own("allowPrivilegeEscalation") is not False:
        yield "allows privilege escalation"


def _capabilities(scope: _Scope) -> Iterator[str]:
    capabilities = object_at(scope.context, "capabilities")
    if "ALL" not in _texts_at(capabilities, "drop"):
        yield "does not drop ALL"
    if _texts_at(capabilities, "add") - {"NET_BIND_SERVICE"}:
        yield "adds more than NET_BIND_SERVICE"


def _non_root(scope: _Scope) -> Iterator[str]:
    if not scope.is_pod and scope.effective("runAsNonRoot") is not True:
        yield "may run as root"
    if scope.is_pod and scope.own("runAsNonRoot") is False:
        yield "allows its containers to run as root"


def _non_root_user(scope: _Scope) -> Iterator[str]:
    if scope.own("runAsUser") == 0:
        yield "runs as root"


def _seccomp(scope: _Scope) -> Iterator[str]:
    profile = object_at(scope.context, "seccompProfile")
    if profile and text_at(profile, "type") not in _SECCOMP_TYPES:
        yield "has no seccomp filter"
    elif not scope.is_pod and not scope.effective("seccompProfile"):
        yield "sets no seccomp profile"


def _proc_mount(scope: _Scope) -> Iterator[str]:
    if scope.own("procMount") not in (None, "Default"):
        yield "has an unmasked /proc"


def _app_armor(scope: _Scope) -> Iterator[str]:
    profile = object_at(scope.context, "appArmorProfile")
    if profile and text_at(profile, "type") not in _APPARMOR_TYPES:
        yield "has no AppArmor profile"


def _selinux(scope: _Scope) -> Iterator[str]:
    options = object_at(scope.context, "seLinuxOptions")
    if text_at(options, "type") not in _SELINUX_TYPES:
        yield "sets a custom SELinux type"
    if options.get("user") or options.get("role"):
        yield "sets an SELinux user or role"


def _host_process(scope: _Scope) -> Iterator[str]:
    if object_at(scope.context, "windowsOptions").get("hostProcess"):
        yield "is a host process"


class _Rule(NamedTuple):
    name: str
    faults: Callable[[_Scope], Iterator[str]]
    for_pod: bool


_RULES = (
    _Rule("HostProcess", _host_process, for_pod=True),
    _Rule("Privileged Containers", _privileged, for_pod=False),
    _Rule("Privilege Escalation", _privilege_escalation, for_pod=False),
    _Rule("Capabilities", _capabilities, for_pod=False),
    _Rule("Running as Non-root", _non_root, for_pod=True),
    _Rule("Running as Non-root user", _non_root_user, for_pod=True),
    _Rule("Seccomp", _seccomp, for_pod=True),
    _Rule("/proc Mount Type", _proc_mount, for_pod=False),
    _Rule("AppArmor", _app_armor, for_pod=True),
    _Rule("SELinux", _selinux, for_pod=True),
)
