"""What pods tell while they live and when they end: sidecars, init containers, tokens, Events."""

from typing import Any

import pytest

from tests.contract.raw_cluster import (
    RawSpace,
    container,
    manifest,
    pairs,
    until_term,
)

pytestmark = [pytest.mark.slice, pytest.mark.any_cluster, pytest.mark.timeout(120)]

ENDLESS = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def sidecar(script: str = ENDLESS) -> dict[str, Any]:
    return container("mesh", script, restartPolicy="Always")


def states(pod: Any) -> dict[str, Any]:
    status = pod["status"]
    return {
        entry["name"]: entry["state"]
        for field in ("initContainerStatuses", "containerStatuses")
        for entry in status.get(field, [])
    }


def ready(pod: Any) -> tuple[str, str | None]:
    [found] = [c for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    return found["status"], found.get("reason")


def the_pod(space: RawSpace, name: str) -> Any:
    [pod] = space.until(lambda: space.pods(name))
    return pod


def pod_whose_container_is(space: RawSpace, name: str, of: str, state: str) -> Any:
    """Return the pod as it was seen in that state; another look may find the next one."""

    def look() -> Any:
        pod = the_pod(space, name)
        return state in states(pod).get(of, {}) and pod

    return space.until(look)


@pytest.mark.parametrize(
    ("name", "code", "phase", "reason"),
    [("done", 0, "Succeeded", "PodCompleted"), ("broken", 3, "Failed", "PodFailed")],
)
def test_ended_pod_has_its_conditions_in_order_with_the_reasons(
    space: RawSpace, name: str, code: int, phase: str, reason: str
) -> None:
    space.create(manifest(name, f"exit {code}"))
    space.ended_job(name)
    pod = the_pod(space, name)
    found = pod["status"]["conditions"]

    assert pod["status"]["phase"] == phase
    assert [c["type"] for c in found] == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    assert [c.get("reason") for c in found[2:4]] == [reason, reason]
    assert pod["status"]["observedGeneration"] == pod["metadata"]["generation"] == 1


def test_native_sidecar_ends_after_the_agent_and_the_pod_after_the_sidecar(
    space: RawSpace,
) -> None:
    first = container("prepare", "sleep 1")
    pod_fields = {"initContainers": [sidecar(), first]}
    space.create(manifest("native", "sleep 1; exit 3", pod_fields))
    running = pod_whose_container_is(space, "native", "agent", "running")
    found = space.ended_job("native")
    ended = the_pod(space, "native")

    [mesh, prepare] = running["status"]["initContainerStatuses"]
    assert ("running" in mesh["state"], mesh["started"]) == (True, True)
    assert prepare["state"]["terminated"]["exitCode"] == 0
    codes = {name: state["terminated"]["exitCode"] for name, state in states(ended).items()}
    assert codes == {"mesh": 0, "prepare": 0, "agent": 3}
    assert found[-1]["type"] == "Failed"
    assert space.events("native", "Killing")[0]["involvedObject"]["fieldPath"] == (
        "spec.initContainers{mesh}"
    )


def test_sidecar_that_crashes_is_restarted_and_fails_nothing(space: RawSpace) -> None:
    crashing = sidecar("if [ -e /shared/once ]; then exec sleep 60; fi; touch /shared/once; exit 9")
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    pod_fields: dict[str, Any] = {
        "initContainers": [{**crashing, **mount}],
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 2,
    }
    space.create(manifest("crashes", "sleep 5", pod_fields))
    space.until(
        lambda: (
            the_pod(space, "crashes")["status"]
            .get("initContainerStatuses", [{}])[0]
            .get("restartCount")
        )
    )
    found = space.ended_job("crashes")

    assert found[-1]["type"] == "Complete"
    [mesh] = the_pod(space, "crashes")["status"]["initContainerStatuses"]
    assert (mesh["restartCount"], mesh["lastState"]["terminated"]["exitCode"]) == (1, 9)


def test_native_sidecar_that_ignores_its_signal_holds_the_pod_for_its_grace(
    space: RawSpace,
) -> None:
    deaf = sidecar("trap '' TERM; while :; do sleep 0.1; done")
    pod_fields = {"initContainers": [deaf], "terminationGracePeriodSeconds": 4}
    space.create(manifest("deaf", "sleep 1", pod_fields))
    held = pod_whose_container_is(space, "deaf", "agent", "terminated")
    found = space.ended_job("deaf")

    assert (held["status"]["phase"], ready(held)) == ("Running", ("False", "ContainersNotReady"))
    assert found[-1]["type"] == "Complete"
    assert states(the_pod(space, "deaf"))["mesh"]["terminated"]["exitCode"] == 137


def test_plain_sidecar_keeps_pod_and_job_going_after_the_agent(space: RawSpace) -> None:
    both = [container("agent", "sleep 1; exit 3"), container("side", ENDLESS)]
    space.create(manifest("plain", pod={"containers": both}))
    pod = pod_whose_container_is(space, "plain", "agent", "terminated")

    assert pod["status"]["phase"] == "Running"
    assert "running" in states(pod)["side"]
    assert space.job("plain")["status"].get("conditions") is None
    space.cluster.ok("DELETE", f"{space.jobs}/plain?propagationPolicy=Background")


def test_init_container_that_fails_is_the_pods_end(space: RawSpace) -> None:
    space.create(manifest("init", pod={"initContainers": [container("first", "exit 5")]}))
    found = space.ended_job("init")
    pod = the_pod(space, "init")

    assert found[-1]["type"] == "Failed"
    assert states(pod)["first"]["terminated"]["exitCode"] == 5
    assert states(pod)["agent"]["waiting"]["reason"] == "PodInitializing"


def test_crashing_init_container_backs_off_after_its_first_restart(space: RawSpace) -> None:
    pod_fields = {"restartPolicy": "OnFailure", "initContainers": [container("first", "exit 5")]}
    space.create(manifest("loop", pod=pod_fields, backoffLimit=6))

    def waiting() -> Any:
        found = the_pod(space, "loop")["status"].get("initContainerStatuses", [])
        return [s for s in found if "back-off" in s["state"].get("waiting", {}).get("message", "")]

    [first] = space.until(waiting)
    text = first["state"]["waiting"]["message"]
    space.cluster.ok("DELETE", f"{space.jobs}/loop?propagationPolicy=Background")

    assert text.startswith("back-off 10s restarting failed container=first pod=loop-")
    assert first["restartCount"] == 1
    assert first["lastState"]["terminated"]["exitCode"] == 5


def test_account_token_is_a_projected_volume_and_no_secret(space: RawSpace) -> None:
    pod_fields = {"automountServiceAccountToken": True}
    script = "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; sleep 1"
    space.create(manifest("token", script, pod_fields))
    space.ended_job("token")
    pod = the_pod(space, "token")
    log = space.cluster.call("GET", f"{space.core}/pods/{pod['metadata']['name']}/log").text

    [volume] = pod["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    kinds = [next(iter(source)) for source in volume["projected"]["sources"]]
    assert kinds == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3607
    assert log == space.name
    assert space.cluster.ok("GET", f"{space.core}/secrets")["items"] == []
    names = [
        m["metadata"]["name"] for m in space.cluster.ok("GET", f"{space.core}/configmaps")["items"]
    ]
    assert names == ["kube-root-ca.crt"]


def test_events_name_who_tells_them(space: RawSpace) -> None:
    space.create(manifest("told"))
    space.ended_job("told")
    [scheduled] = space.events("told", "Scheduled")
    [started] = space.events("told", "Started")
    [completed] = space.events("told", "Completed")

    assert scheduled["reportingComponent"] == "default-scheduler"
    assert (scheduled["source"], scheduled["firstTimestamp"]) == ({}, None)
    assert scheduled["eventTime"]
    assert (started["reportingComponent"], started["message"]) == ("kubelet", "Container started")
    assert started["reportingInstance"] == started["source"]["host"]
    assert (completed["reportingComponent"], completed["count"]) == ("job-controller", 1)


def test_time_stands_once_before_a_long_line(space: RawSpace) -> None:
    space.create(manifest("long", "head -c 50000 /dev/zero | tr '\\0' x; echo; echo end"))
    space.ended_job("long")
    pod = the_pod(space, "long")["metadata"]["name"]
    path = f"{space.core}/pods/{pod}/log"
    lines = space.cluster.call("GET", f"{path}?timestamps=true").text.splitlines()

    assert [line.partition(" ")[2] for line in lines] == ["x" * 50_000, "end"]


def test_follower_of_a_deleted_pod_gets_the_last_lines_and_nothing_else(space: RawSpace) -> None:
    script = until_term(0).replace("sleep 0;", "echo bye;")
    space.create(manifest("followed", script))
    pod = space.running_pod("followed")["metadata"]["name"]
    with space.cluster.http.stream("GET", f"{space.core}/pods/{pod}/log?follow=true") as answer:
        space.cluster.ok("DELETE", f"{space.jobs}/followed?propagationPolicy=Background")
        lines = list(answer.iter_lines())

    assert lines == ["up", "bye"]


def test_job_has_the_defaults_and_labels_of_its_version(space: RawSpace) -> None:
    created = space.create(manifest("defaults"))
    spec, uid = created["spec"], created["metadata"]["uid"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "defaults",
        "controller-uid": uid,
        "job-name": "defaults",
    }

    assert created["metadata"]["generation"] == 1
    assert created["metadata"]["labels"] == spec["template"]["metadata"]["labels"] == labels
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    kept = ("completionMode", "suspend", "podReplacementPolicy", "manualSelector")
    assert [spec[key] for key in kept] == ["NonIndexed", False, "TerminatingOrFailed", False]
    assert pairs(space.ended_job("defaults"))
