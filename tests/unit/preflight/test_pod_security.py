from copy import deepcopy
from typing import Any

import pytest

from tasks.preflight.pod_security import restricted_violations

CONTEXT: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
POD_CONTEXT: dict[str, Any] = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _pod(
    context: dict[str, Any] | None = None,
    pod_context: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
    **pod: Any,
) -> dict[str, Any]:
    """Return an admitted pod with fields replaced; a field that is `None` is taken out."""

    def merged(base: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
        fields = {**deepcopy(base), **(changes or {})}
        return {field: value for field, value in fields.items() if value is not None}

    agent = {"name": "agent", "securityContext": merged(CONTEXT, context), **(container or {})}
    return {"securityContext": merged(POD_CONTEXT, pod_context), "containers": [agent], **pod}


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(_pod(), id="least"),
        pytest.param(
            _pod(
                context={"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}},
                pod_context={"runAsNonRoot": None, "seccompProfile": None},
            ),
            id="containers_say_it_themselves",
        ),
        pytest.param(
            _pod(
                context={
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                    "procMount": "Default",
                    "seLinuxOptions": {"type": "container_t", "level": "s0"},
                    "appArmorProfile": {"type": "RuntimeDefault"},
                    "runAsUser": 1000,
                },
                pod_context={"sysctls": [{"name": "net.ipv4.tcp_syncookies"}]},
                volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {}}],
                container={
                    "ports": [{"containerPort": 80}],
                    "livenessProbe": {"httpGet": {"path": "/"}},
                    "lifecycle": {"preStop": {"exec": {}}},
                },
            ),
            id="what_the_standard_admits",
        ),
    ],
)
def test_admitted_pod_has_no_violation(pod: dict[str, Any]) -> None:
    assert restricted_violations(pod) == []


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(_pod(hostNetwork=True), "Host Namespaces: hostNetwork is set", id="network"),
        pytest.param(_pod(hostPID=True), "Host Namespaces: hostPID is set", id="pid"),
        pytest.param(_pod(hostIPC=True), "Host Namespaces: hostIPC is set", id="ipc"),
        pytest.param(
            _pod(context={"windowsOptions": {"hostProcess": True}}),
            "HostProcess: container agent is a host process",
            id="host_process",
        ),
        pytest.param(
            _pod(context={"privileged": True}),
            "Privileged Containers: container agent is privileged",
            id="privileged",
        ),
        pytest.param(
            _pod(context={"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}),
            "Capabilities: container agent adds more than NET_BIND_SERVICE",
            id="capability_added",
        ),
        pytest.param(
            _pod(context={"capabilities": {"drop": ["NET_RAW"]}}),
            "Capabilities: container agent does not drop ALL",
            id="capabilities_kept",
        ),
        pytest.param(
            _pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
            "HostPath Volumes: volume v is a hostPath",
            id="host_path",
        ),
        pytest.param(
            _pod(volumes=[{"name": "v", "nfs": {}}]), "Volume Types: volume v is a nfs", id="nfs"
        ),
        pytest.param(
            _pod(container={"ports": [{"hostPort": 80}]}),
            "Host Ports: container agent uses a port of the node",
            id="host_port",
        ),
        pytest.param(
            _pod(container={"readinessProbe": {"tcpSocket": {"host": "h"}}}),
            "Host Probes / Lifecycle Hooks: container agent sets a host",
            id="probe",
        ),
        pytest.param(
            _pod(container={"lifecycle": {"postStart": {"httpGet": {"host": "h"}}}}),
            "Host Probes / Lifecycle Hooks: container agent sets a host",
            id="hook",
        ),
        pytest.param(
            _pod(context={"appArmorProfile": {"type": "Unconfined"}}),
            "AppArmor: container agent has no AppArmor profile",
            id="app_armor",
        ),
        pytest.param(
            _pod(pod_context={"seLinuxOptions": {"type": "spc_t"}}),
            "SELinux: the pod sets a custom SELinux type",
            id="selinux_type",
        ),
        pytest.param(
            _pod(context={"seLinuxOptions": {"role": "r"}}),
            "SELinux: container agent sets an SELinux user or role",
            id="selinux_role",
        ),
        pytest.param(
            _pod(context={"procMount": "Unmasked"}),
            "/proc Mount Type: container agent has an unmasked /proc",
            id="proc",
        ),
        pytest.param(
            _pod(pod_context={"sysctls": [{"name": "kernel.msgmax"}]}),
            "Sysctls: kernel.msgmax is set",
            id="sysctl",
        ),
        pytest.param(
            _pod(context={"allowPrivilegeEscalation": None}),
            "Privilege Escalation: container agent allows privilege escalation",
            id="escalation",
        ),
        pytest.param(
            _pod(pod_context={"runAsNonRoot": None}),
            "Running as Non-root: container agent may run as root",
            id="root_unless_said",
        ),
        pytest.param(
            _pod(context={"runAsNonRoot": True}, pod_context={"runAsNonRoot": False}),
            "Running as Non-root: the pod allows its containers to run as root",
            id="root_allowed_by_pod",
        ),
        pytest.param(
            _pod(pod_context={"runAsUser": 0}),
            "Running as Non-root user: the pod runs as root",
            id="root",
        ),
        pytest.param(
            _pod(pod_context={"seccompProfile": None}),
            "Seccomp: container agent sets no seccomp profile",
            id="no_seccomp",
        ),
        pytest.param(
            _pod(context={"seccompProfile": {"type": "Unconfined"}}),
            "Seccomp: container agent has no seccomp filter",
            id="seccomp_off",
        ),
        pytest.param(
            _pod(
                initContainers=[{"name": "i", "securityContext": {**CONTEXT, "privileged": True}}]
            ),
            "Privileged Containers: container i is privileged",
            id="init_containers_count",
        ),
    ],
)
def test_pod_that_breaks_one_rule_is_told_which(pod: dict[str, Any], expected: str) -> None:
    assert restricted_violations(pod) == [expected]


NO_VALUE_OF_ANY_FIELD: list[Any] = [None, 7, "text", [], [None], [[]], {}, {"type": []}]


@pytest.mark.parametrize("value", NO_VALUE_OF_ANY_FIELD, ids=repr)
def test_field_of_a_wrong_shape_is_judged_and_breaks_nothing(value: Any) -> None:
    fields = ("volumes", "initContainers", "ephemeralContainers")
    parts = ("capabilities", "seccompProfile", "seLinuxOptions", "appArmorProfile", "procMount")
    odd = {
        "name": "odd",
        **dict.fromkeys(("ports", "securityContext", "livenessProbe", "lifecycle", "env"), value),
    }
    nested = {"name": "nested", "securityContext": dict.fromkeys((*parts, "runAsUser"), value)}
    context = dict.fromkeys((*parts, "sysctls", "windowsOptions"), value)

    found = restricted_violations(
        {**dict.fromkeys(fields, value), "containers": [odd, nested], "securityContext": context}
    )

    assert "Capabilities: container odd does not drop ALL" in found
    assert "Capabilities: container nested does not drop ALL" in found
