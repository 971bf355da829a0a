"""The whole embedded cluster over HTTPS: what the contract tests do not reach, and its process."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.embedded.local_api import ROOT, ClusterProcess, Space, terminated

FOREGROUND = {"propagationPolicy": "Foreground"}
UNTIL_TERM = (
    "trap 'echo stopped; echo -n by-signal >/dev/termination-log; exit 143' TERM; echo up; "
    "while :; do sleep 0.05; done"
)


def test_job_with_exit_code_fails_and_its_lines_can_be_read(space: Space) -> None:
    space.create_job("lines", "echo one; echo two >&2; printf three; exit 3")
    pod = space.ended_pod("lines")
    log = space.api.call("GET", f"{space.core}/pods/{pod['metadata']['name']}/log").text

    state = terminated(pod)
    assert (state["exitCode"], state["reason"]) == (3, "Error")
    assert sorted(log.replace("three", "three\n").split()) == ["one", "three", "two"]
    found = space.until(lambda: space.conditions("lines", "Failed"))
    kinds = ("FailureTarget", "Failed")
    assert [(c["type"], c["reason"]) for c in found] == [(k, "BackoffLimitExceeded") for k in kinds]


def test_foreground_deletion_is_the_signal_and_the_last_lines_are_followed(space: Space) -> None:
    space.create_job("stop", UNTIL_TERM)
    name = space.running_pod("stop")
    path = f"{space.core}/pods/{name}/log?follow=true"
    with space.api.http.stream("GET", path) as answer:
        deleted = space.api.ok("DELETE", f"{space.jobs}/stop", FOREGROUND)
        lines = list(answer.iter_lines())

    assert deleted["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert lines == ["up", "stopped"]
    space.until(lambda: space.api.call("GET", f"{space.jobs}/stop").status_code == 404)
    assert space.pods("stop") == []


def test_watch_of_a_deleted_job_ends_with_exit_code_and_message(space: Space) -> None:
    space.create_job("told", UNTIL_TERM)
    space.running_pod("told")
    listed = space.api.ok("GET", f"{space.core}/pods")["metadata"]["resourceVersion"]
    space.api.ok("DELETE", f"{space.jobs}/told", FOREGROUND)
    path = f"{space.core}/pods?watch=1&resourceVersion={listed}"
    with space.api.http.stream("GET", path) as answer:
        events: list[Any] = []
        for line in answer.iter_lines():
            events.append(json.loads(line))
            if events[-1]["type"] == "DELETED":
                break

    state = terminated(events[-1]["object"])
    assert (state["exitCode"], state["message"]) == (143, "by-signal")
    assert all(event["object"]["kind"] == "Pod" for event in events)


def test_container_sees_its_mounts_user_and_variables(space: Space) -> None:
    secret = {"metadata": {"name": "in"}, "stringData": {"prompt": "Do it."}}
    space.api.ok("POST", f"{space.core}/secrets", secret)
    env = [
        {"name": "IN", "value": "/var/run/x/input"},
        {"name": "FILE", "value": "$(IN)/prompt"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "in", "key": "prompt"}}},
    ]
    mounts = [{"name": "in", "mountPath": "/var/run/x/input", "readOnly": True}]
    space.create_job(
        "sees",
        'cat "$0"; echo; cat $FILE; echo; echo $KEY; echo $POD; pwd',
        container={
            "env": env,
            "volumeMounts": mounts,
            "args": ["$(IN)/prompt"],
            "workingDir": "/var/run/x/input",
        },
        volumes=[{"name": "in", "secret": {"secretName": "in"}}],
    )
    pod = space.ended_pod("sees")
    name = pod["metadata"]["name"]
    log = space.api.call("GET", f"{space.core}/pods/{name}/log").text.splitlines()

    assert log[:4] == ["Do it.", "Do it.", "Do it.", name]


def test_memory_limit_kills_and_says_so(space: Space) -> None:
    script = "python3 -c 'x = bytearray(200_000_000); import time; time.sleep(20)'"
    limits = {"resources": {"limits": {"memory": "50Mi"}}}
    space.create_job("oom", script, container=limits)

    state = terminated(space.ended_pod("oom"))
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")


def test_missing_secret_holds_the_container_until_it_comes(space: Space) -> None:
    space.create_job("late", "cat /in/k", volumes=[SECRET_VOLUME], container=SECRET_MOUNT)
    name = space.until(lambda: space.pods("late"))[0]["metadata"]["name"]
    refused = space.api.call("GET", f"{space.core}/pods/{name}/log")
    events = space.until(
        lambda: [
            event["message"]
            for event in space.api.ok("GET", f"{space.core}/events")["items"]
            if event["reason"] == "FailedMount"
        ]
    )
    secret = {"metadata": {"name": "none"}, "stringData": {"k": "here"}}
    space.api.ok("POST", f"{space.core}/secrets", secret)

    assert refused.status_code == 400
    assert refused.json()["message"].endswith("is waiting to start: ContainerCreating")
    assert events == ['MountVolume.SetUp failed for volume "in" : secret "none" not found']
    assert terminated(space.ended_pod("late"))["exitCode"] == 0


SECRET_VOLUME = {"name": "in", "secret": {"secretName": "none"}}
SECRET_MOUNT = {"volumeMounts": [{"name": "in", "mountPath": "/in"}]}


def test_rotation_ends_a_follow_and_hides_the_beginning(space: Space) -> None:
    small = {"rotationBytes": 100_000, "rotationIntervalSeconds": 0.2}
    before = space.api.ok("GET", "/_faults")["settings"]
    space.api.ok("PUT", "/_faults/settings", small)
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; head -c 5000 /dev/zero | "
    script += "tr '\\0' x; echo; sleep 0.02; done"
    space.create_job("rotated", script)
    name = space.running_pod("rotated")
    path = f"{space.core}/pods/{name}/log"
    followed = space.api.call("GET", f"{path}?follow=true").text.split()
    space.ended_pod("rotated")
    kept = space.api.call("GET", path).text.split()
    space.api.ok("PUT", "/_faults/settings", before)

    assert followed[0] == "1"
    assert "60" not in followed
    assert "1" not in kept
    assert kept[-2] == "60"


@pytest.mark.parametrize("isolation", ["none", "auto"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_cluster(
    start_cluster: Callable[..., ClusterProcess],
    isolation: str,
    number: signal.Signals,
    tmp_path: Path,
) -> None:
    cluster = start_cluster("--isolation", isolation)
    space = Space(cluster.api())
    marker = f"sleep {30_000 + os.getpid()}"
    # A child of its own session is what escapes a process group.
    space.create_job("stays", f"trap '' TERM; setsid {marker} & {marker}")
    space.running_pod("stays")
    assert processes(marker)
    cluster.stop(number)

    deadline = time.monotonic() + 10
    while processes(marker):
        assert time.monotonic() < deadline, processes(marker)
        time.sleep(0.05)
    assert number is signal.SIGKILL or not cluster.kubeconfig.exists()


async def test_command_ends_when_its_client_leaves(cluster: ClusterProcess, space: Space) -> None:
    space.create_job("entered", UNTIL_TERM)
    name = space.running_pod("entered")
    marker = f"sleep {40_000 + os.getpid()}"
    words = "".join(f"&command={word}" for word in marker.split())
    path = f"{space.core}/pods/{name}/exec?stdout=true{words}"
    headers = {"Authorization": space.api.http.headers["Authorization"]}
    async with (
        aiohttp.ClientSession(space.api.url, headers=headers) as session,
        session.ws_connect(path, protocols=["v4.channel.k8s.io"], ssl=space.api.tls) as socket,
    ):
        assert (await socket.receive()).data == b"\x01"
        await asyncio.to_thread(space.until, lambda: processes(marker))

    await asyncio.to_thread(space.until, lambda: not processes(marker))


def processes(command: str) -> list[str]:
    listed = subprocess.run(
        ["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if line == command]


def test_rewritten_paths_give_the_same_result_without_namespaces(
    start_cluster: Callable[..., ClusterProcess], tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "greet"
    program.write_text("#!/bin/sh\necho hello from $1\n")
    program.chmod(0o755)
    cluster = start_cluster("--isolation", "none", "--bin", str(tmp_path / "bin"))
    space = Space(cluster.api())
    secret = {"metadata": {"name": "in"}, "stringData": {"k": "secret text"}}
    space.api.ok("POST", f"{space.core}/secrets", secret)
    container = {
        "env": [
            {"name": "IN", "value": "/in"},
            {"name": "LOG", "value": "/dev/termination-log"},
            {"name": "WORK", "value": "/work/deep"},
        ],
        "volumeMounts": [
            {"name": "in", "mountPath": "/in"},
            {"name": "work", "mountPath": "/work/deep"},
        ],
    }
    space.create_job(
        "paths",
        "greet you; cat $IN/k; echo; cat /in/k; echo; echo x >$WORK/f; cat /work/deep/f; "
        "printf done >$LOG",
        container=container,
        volumes=[
            {"name": "in", "secret": {"secretName": "in"}},
            {"name": "work", "emptyDir": {}},
        ],
    )
    pod = space.ended_pod("paths")
    log = space.api.call("GET", f"{space.core}/pods/{pod['metadata']['name']}/log").text

    assert log.splitlines() == ["hello from you", "secret text", "secret text", "x"]
    assert terminated(pod)["message"] == "done"


def test_limited_account_may_do_what_its_role_says(cluster: ClusterProcess, space: Space) -> None:
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space.name}"
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": space.name}
    space.api.ok("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    space.api.ok(
        "POST",
        f"{rbac}/rolebindings",
        {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]},
    )
    path = f"{space.core}/serviceaccounts/default/token"
    token = space.api.ok("POST", path, {})["status"]["token"]
    limited = cluster.api(token)

    assert limited.call("GET", f"{space.core}/pods").status_code == 200
    assert limited.call("GET", "/api/v1/pods").status_code == 403
    refused = limited.call("GET", f"{space.core}/secrets/x").json()
    assert refused["message"] == (
        f'secrets "x" is forbidden: User "system:serviceaccount:{space.name}:default" cannot get '
        f'resource "secrets" in API group "" in the namespace "{space.name}"'
    )
    assert limited.call("GET", "/_faults").status_code == 403
    assert cluster.api("nonsense").call("GET", "/version").status_code == 401


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [
        ("deployments/local", ("flows", "tasks", "blocks", "tests", "prefect", "kubernetes")),
        ("flows", ("deployments",)),
        ("tasks", ("deployments",)),
        ("blocks", ("deployments",)),
    ],
)
def test_cluster_and_product_do_not_import_each_other(
    folder: str, strangers: tuple[str, ...]
) -> None:
    imports = [
        (path.name, line)
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("import ", "from ")) and line.split()[1].split(".")[0] in strangers
    ]

    assert imports == []
