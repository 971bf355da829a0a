"""Pod Security: what the levels `baseline` and `restricted` forbid, in the server's words. Pure."""

from collections.abc import Callable
from typing import Literal

from deployments.local.objects import listed, mapped
from deployments.local.resources import JsonObject

Level = Literal["privileged", "baseline", "restricted"]
LEVELS: tuple[Level, ...] = ("privileged", "baseline", "restricted")
Check = Callable[[JsonObject], str]

_BASELINE_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_RESTRICTED_VOLUMES = frozenset(
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


def evaluate_pod(spec: JsonObject, level: Level) -> str:
    """Return what a level forbids of a pod, joined by commas; empty when it may run.

    Args:
        spec: The pod's.
        level: An unknown one forbids nothing.
    """
    checks = {"baseline": _BASELINE, "restricted": _RESTRICTED}.get(level, ())
    return ", ".join(finding for check in checks if (finding := check(spec)))


def _containers(spec: JsonObject) -> list[JsonObject]:
    return [*listed(spec, "initContainers"), *listed(spec, "containers")]


def _context(holder: JsonObject) -> JsonObject:
    return mapped(holder, "securityContext")


def _named(containers: list[JsonObject]) -> str:
    names = ", ".join(f'"{c["name"]}"' for c in containers)
    return f"container{'s' if len(containers) > 1 else ''} {names}"


def _bad(spec: JsonObject, is_bad: Callable[[JsonObject], bool]) -> list[JsonObject]:
    return [c for c in _containers(spec) if is_bad(c)]


def _host_namespaces(spec: JsonObject) -> str:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return f"host namespaces ({', '.join(found)})" if found else ""


def _host_paths(spec: JsonObject) -> str:
    names = [f'"{v["name"]}"' for v in listed(spec, "volumes") if "hostPath" in v]
    if not names:
        return ""
    return f"hostPath volumes (volume{'s' if len(names) > 1 else ''} {', '.join(names)})"


def _host_ports(spec: JsonObject) -> str:
    bad = _bad(spec, lambda c: any(p.get("hostPort") for p in listed(c, "ports")))
    if not bad:
        return ""
    ports = sorted({p["hostPort"] for c in bad for p in listed(c, "ports") if p.get("hostPort")})
    plural = "s" if len(ports) > 1 else ""
    verb = "use" if len(bad) > 1 else "uses"
    return f"hostPort ({_named(bad)} {verb} hostPort{plural} {', '.join(map(str, ports))})"


def _privileged(spec: JsonObject) -> str:
    bad = _bad(spec, lambda c: bool(_context(c).get("privileged")))
    if not bad:
        return ""
    return f"privileged ({_named(bad)} must not set securityContext.privileged=true)"


def _sysctls(spec: JsonObject) -> str:
    names = [s["name"] for s in listed(_context(spec), "sysctls")]
    unsafe = [name for name in names if name not in _SAFE_SYSCTLS]
    return f"forbidden sysctls ({', '.join(unsafe)})" if unsafe else ""


def _added(container: JsonObject) -> list[str]:
    return listed(mapped(_context(container), "capabilities"), "add")


def _baseline_capabilities(spec: JsonObject) -> str:
    bad = _bad(spec, lambda c: bool(set(_added(c)) - _BASELINE_CAPABILITIES))
    if not bad:
        return ""
    names = sorted({n for c in bad for n in _added(c)} - _BASELINE_CAPABILITIES)
    quoted = ", ".join(f'"{name}"' for name in names)
    rule = f"must not include {quoted} in securityContext.capabilities.add"
    return f"non-default capabilities ({_named(bad)} {rule})"


def _baseline_seccomp(spec: JsonObject) -> str:
    rule = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    parts: list[str] = []
    if mapped(_context(spec), "seccompProfile").get("type") == "Unconfined":
        parts.append(f"pod {rule}")
    bad = _bad(spec, lambda c: mapped(_context(c), "seccompProfile").get("type") == "Unconfined")
    if bad:
        parts.append(f"{_named(bad)} {rule}")
    return f"seccompProfile ({' and '.join(parts)})" if parts else ""


def _privilege_escalation(spec: JsonObject) -> str:
    bad = _bad(spec, lambda c: _context(c).get("allowPrivilegeEscalation") is not False)
    if not bad:
        return ""
    rule = "must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({_named(bad)} {rule})"


def _restricted_capabilities(spec: JsonObject) -> str:
    def keeps(container: JsonObject) -> bool:
        return "ALL" not in listed(mapped(_context(container), "capabilities"), "drop")

    parts: list[str] = []
    keeping = _bad(spec, keeps)
    if keeping:
        parts.append(f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    adding = _bad(spec, lambda c: bool(set(_added(c)) - {"NET_BIND_SERVICE"}))
    if adding:
        names = sorted({n for c in adding for n in _added(c)} - {"NET_BIND_SERVICE"})
        quoted = ", ".join(f'"{name}"' for name in names)
        rule = f"must not include {quoted} in securityContext.capabilities.add"
        parts.append(f"{_named(adding)} {rule}")
    return f"unrestricted capabilities ({'; '.join(parts)})" if parts else ""


def _restricted_volumes(spec: JsonObject) -> str:
    bad = [
        (volume["name"], kind)
        for volume in listed(spec, "volumes")
        for kind in volume
        if kind != "name" and kind not in _RESTRICTED_VOLUMES
    ]
    if not bad:
        return ""
    names = ", ".join(f'"{name}"' for name, _ in bad)
    kinds = ", ".join(f'"{kind}"' for kind in sorted({kind for _, kind in bad}))
    volumes = f"volume{'s' if len(bad) > 1 else ''} {names}"
    verb = "use" if len(bad) > 1 else "uses"
    plural = "s" if "," in kinds else ""
    return f"restricted volume types ({volumes} {verb} restricted volume type{plural} {kinds})"


def _run_as_non_root(spec: JsonObject) -> str:
    denying = _bad(spec, lambda c: _context(c).get("runAsNonRoot") is False)
    if denying:
        rule = "must not set securityContext.runAsNonRoot=false"
        return f"runAsNonRoot != true ({_named(denying)} {rule})"
    if _context(spec).get("runAsNonRoot"):
        return ""
    silent = _bad(spec, lambda c: _context(c).get("runAsNonRoot") is None)
    if not silent:
        return ""
    rule = "must set securityContext.runAsNonRoot=true"
    return f"runAsNonRoot != true (pod or {_named(silent)} {rule})"


def _run_as_user(spec: JsonObject) -> str:
    parts: list[str] = (
        ["pod must not set runAsUser=0"] if _context(spec).get("runAsUser") == 0 else []
    )
    bad = _bad(spec, lambda c: _context(c).get("runAsUser") == 0)
    if bad:
        parts.append(f"{_named(bad)} must not set runAsUser=0")
    return f"runAsUser=0 ({' and '.join(parts)})" if parts else ""


def _restricted_seccomp(spec: JsonObject) -> str:
    good = ("RuntimeDefault", "Localhost")
    of_pod = mapped(_context(spec), "seccompProfile").get("type")
    rule = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'

    def own(container: JsonObject) -> str | None:
        return mapped(_context(container), "seccompProfile").get("type")

    wrong = _bad(spec, lambda c: own(c) not in (None, *good))
    if wrong:
        return f"seccompProfile ({_named(wrong)} {rule})"
    silent = _bad(spec, lambda c: own(c) is None)
    if of_pod in good or not silent:
        return ""
    subject = "pod" if of_pod else f"pod or {_named(silent)}"
    return f"seccompProfile ({subject} {rule})"


# In the server's order: the baseline by name, then what `restricted` adds or replaces.
_BASELINE: tuple[Check, ...] = (
    _baseline_capabilities,
    _host_namespaces,
    _host_paths,
    _host_ports,
    _privileged,
    _baseline_seccomp,
    _sysctls,
)
_RESTRICTED: tuple[Check, ...] = (
    _host_namespaces,
    _host_ports,
    _privileged,
    _sysctls,
    _privilege_escalation,
    _restricted_capabilities,
    _restricted_volumes,
    _run_as_non_root,
    _run_as_user,
    _restricted_seccomp,
)
