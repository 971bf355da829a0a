"""What a pod counts for in a quota, as Kubernetes counts it."""

from typing import Any

import pytest

from tasks.preflight.pod_needs import pod_needs


def container(name: str = "agent", policy: str | None = None, **requests: str) -> dict[str, Any]:
    own = {"restartPolicy": policy} if policy else {}
    return {"name": name, "resources": {"requests": requests}, **own}


def sidecar(**requests: str) -> dict[str, Any]:
    return container("mesh", "Always", **requests)


def cpu_of(*init: dict[str, Any], containers: tuple[dict[str, Any], ...], **spec: Any) -> str:
    pod = {"spec": {"initContainers": [*init], "containers": [*containers], **spec}}
    return pod_needs(pod)["requests.cpu"]


@pytest.mark.parametrize(
    ("init", "containers", "expected"),
    [
        pytest.param((), ("1",), "1", id="one"),
        pytest.param((), ("1", "500m"), "1500m", id="containers are added"),
        pytest.param(("500m",), ("1",), "1", id="smaller init container"),
        pytest.param(("3", "2"), ("1", "1"), "3", id="largest init container"),
    ],
)
def test_containers_are_added_and_the_largest_init_container_counts(
    init: tuple[str, ...], containers: tuple[str, ...], expected: str
) -> None:
    found = cpu_of(
        *(container(cpu=cpu) for cpu in init),
        containers=tuple(container(cpu=cpu) for cpu in containers),
    )

    assert found == expected


def test_native_sidecars_run_beside_the_agent_and_the_init_containers_after_them() -> None:
    agent = (container(cpu="1"),)

    assert cpu_of(sidecar(cpu="500m"), containers=agent) == "1500m"
    assert cpu_of(sidecar(cpu="1"), container(cpu="2"), containers=agent) == "3"
    assert cpu_of(container(cpu="2"), sidecar(cpu="1"), containers=agent) == "2"


def test_overhead_is_added_and_the_pods_own_resources_come_first() -> None:
    agent = (container(cpu="1"),)

    assert cpu_of(containers=agent, overhead={"cpu": "250m"}) == "1250m"
    assert cpu_of(containers=agent, resources={"requests": {"cpu": "4"}}) == "4"


def test_every_name_of_a_quota_has_its_amount() -> None:
    resources = {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1.5Gi", "nvidia.com/gpu": 2, "hugepages-2Mi": "4Mi"},
    }

    assert pod_needs({"spec": {"containers": [{"name": "agent", "resources": resources}]}}) == {
        "requests.cpu": "500m",
        "cpu": "500m",
        "requests.memory": "1Gi",
        "memory": "1Gi",
        "limits.memory": "1536Mi",
        "requests.nvidia.com/gpu": "2",
        "limits.nvidia.com/gpu": "2",
        "requests.hugepages-2Mi": "4Mi",
        "limits.hugepages-2Mi": "4Mi",
        "hugepages-2Mi": "4Mi",
    }


@pytest.mark.parametrize("pod", [{}, {"spec": 5}, {"spec": {"containers": [{"resources": 5}]}}])
def test_pod_that_names_nothing_needs_nothing(pod: dict[str, Any]) -> None:
    assert pod_needs(pod) == {}


def test_quantity_that_cannot_be_read_is_left_out() -> None:
    assert pod_needs({"spec": {"containers": [container(cpu="many", memory="1Gi")]}}) == {
        "requests.memory": "1Gi",
        "memory": "1Gi",
    }
