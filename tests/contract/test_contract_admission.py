"""What a namespace lets in: Pod Security, quotas, limits, accounts, webhooks, unknown fields."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.contract.raw_cluster import IMAGE, RawSpace, container, manifest, until_term
from tests.mutating_webhook import mutating_webhook

pytestmark = [pytest.mark.slice, pytest.mark.any_cluster, pytest.mark.timeout(120)]

LEVEL = "pod-security.kubernetes.io/"
VIOLATIONS = (
    'allowPrivilegeEscalation != false (container "agent" must set '
    "securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "
    '"agent" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or '
    'container "agent" must set securityContext.runAsNonRoot=true), seccompProfile (pod or '
    'container "agent" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)
SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SAFE_POD = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}

MakeSpace = Callable[..., RawSpace]


def pod(name: str, agent: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    main = {"name": "agent", "image": IMAGE, "command": ["true"], **(agent or {})}
    return {"metadata": {"name": name}, "spec": {"containers": [main], **spec}}


def resources(cpu: str, memory: str) -> dict[str, Any]:
    return {"resources": {"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": cpu}}}


def refusal(space: RawSpace, body: dict[str, Any], plural: str = "pods") -> tuple[int, str]:
    answer = space.cluster.call("POST", f"{space.core}/{plural}", body)
    return answer.status_code, answer.json().get("message", "")


def created(space: RawSpace, body: dict[str, Any]) -> Any:
    return space.cluster.ok("POST", f"{space.core}/pods?dryRun=All", body)


def failed_create(space: RawSpace, job_name: str) -> str:
    """Return the first FailedCreate event's text, without the random part of the pod's name."""
    event = space.until(lambda: space.events(job_name, "FailedCreate"))[0]
    message: str = event["message"]
    return message.partition("is forbidden: ")[2]


def warnings(answer: Any) -> list[str]:
    return [json.loads(text.partition(" - ")[2]) for text in answer.headers.get_list("warning")]


def test_enforced_level_refuses_the_pod_and_warns_of_the_job(make_space: MakeSpace) -> None:
    space = make_space({f"{LEVEL}enforce": "restricted"})
    told = f'PodSecurity "restricted:latest": {VIOLATIONS}'
    answer = space.cluster.call("POST", space.jobs, manifest("blocked"))

    assert refusal(space, pod("a")) == (403, f'pods "a" is forbidden: violates {told}')
    assert (answer.status_code, warnings(answer)) == (201, [f"would violate {told}"])
    assert failed_create(space, "blocked") == f"violates {told}"
    assert space.pods("blocked") == []
    assert "conditions" not in space.job("blocked")["status"]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (SAFE, ""),
        ({**SAFE, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, ""),
        (
            {**SAFE, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}},
            'unrestricted capabilities (container "agent" must not include "CHOWN" in '
            "securityContext.capabilities.add)",
        ),
        ({**SAFE, "runAsUser": 0}, 'runAsUser=0 (container "agent" must not set runAsUser=0)'),
        (
            {**SAFE, "runAsNonRoot": False},
            'runAsNonRoot != true (container "agent" must not set '
            "securityContext.runAsNonRoot=false)",
        ),
    ],
    ids=["safe", "bind", "chown", "root", "denied"],
)
def test_restricted_level_names_what_it_forbids(
    restricted: RawSpace, context: dict[str, Any], expected: str
) -> None:
    body = pod("v", {"securityContext": context}, securityContext=SAFE_POD)
    answer = restricted.cluster.call("POST", f"{restricted.core}/pods?dryRun=All", body)

    _, _, found = answer.json().get("message", "").partition('"restricted:latest": ')
    assert found == expected
    assert answer.status_code == (403 if expected else 201)


@pytest.fixture(scope="module")
def restricted(make_space: MakeSpace) -> RawSpace:
    return make_space({f"{LEVEL}enforce": "restricted"})


def test_level_that_only_warns_lets_the_pod_in(make_space: MakeSpace) -> None:
    space = make_space({f"{LEVEL}enforce": "baseline", f"{LEVEL}warn": "restricted"})
    answer = space.cluster.call("POST", f"{space.core}/pods?dryRun=All", pod("a"))
    host = pod("b", volumes=[{"name": "h", "hostPath": {"path": "/x"}}], hostNetwork=True)

    assert answer.status_code == 201
    assert warnings(answer) == [f'would violate PodSecurity "restricted:latest": {VIOLATIONS}']
    assert refusal(space, host) == (
        403,
        'pods "b" is forbidden: violates PodSecurity "baseline:latest": host namespaces '
        '(hostNetwork=true), hostPath volumes (volume "h")',
    )


def test_quota_wants_limits_and_counts_them(make_space: MakeSpace) -> None:
    space = make_space()
    hard = {"limits.cpu": "1", "limits.memory": "1Gi", "requests.cpu": "500m", "pods": "2"}
    body = {"metadata": {"name": "q"}, "spec": {"hard": {**hard, "secrets": "1"}}}
    space.cluster.ok("POST", f"{space.core}/resourcequotas", body)
    path = f"{space.core}/resourcequotas/q"
    space.until(lambda: space.cluster.ok("GET", path)["status"].get("used"))
    missing = "failed quota: q: must specify limits.cpu for: agent; limits.memory for: agent; "
    missing += "requests.cpu for: agent"

    assert refusal(space, pod("a")) == (403, f'pods "a" is forbidden: {missing}')
    space.create(manifest("must"))
    assert failed_create(space, "must") == missing
    assert refusal(space, pod("big", resources("2", "1Gi"))) == (
        403,
        'pods "big" is forbidden: exceeded quota: q, requested: limits.cpu=2,requests.cpu=2, '
        "used: limits.cpu=0,requests.cpu=0, limited: limits.cpu=1,requests.cpu=500m",
    )
    fits = pod("fits", {**resources("300m", "100Mi"), "command": ["sleep", "100"]})
    space.cluster.ok("POST", f"{space.core}/pods", fits)
    over = container("agent", "exit 0", **resources("300m", "100Mi"))
    space.create(manifest("over", pod={"containers": [over]}))
    assert failed_create(space, "over") == (
        "exceeded quota: q, requested: requests.cpu=300m, used: requests.cpu=300m, "
        "limited: requests.cpu=500m"
    )
    space.cluster.ok("POST", f"{space.core}/secrets", {"metadata": {"name": "one"}})
    assert refusal(space, {"metadata": {"name": "two"}}, "secrets")[1].endswith(
        "exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"
    )
    used = {**dict.fromkeys(("limits.cpu", "requests.cpu"), "300m"), "limits.memory": "100Mi"}
    expected = {**used, "pods": "1", "secrets": "1"}
    space.until(lambda: space.cluster.ok("GET", path)["status"]["used"] == expected)


def test_limit_range_gives_defaults_and_sets_bounds(make_space: MakeSpace) -> None:
    space = make_space()
    of_container = {
        "type": "Container",
        "default": {"cpu": "200m", "memory": "64Mi"},
        "defaultRequest": {"cpu": "100m"},
        "max": {"memory": "128Mi"},
        "min": {"cpu": "50m"},
        "maxLimitRequestRatio": {"cpu": "4"},
    }
    limits = [of_container, {"type": "Pod", "max": {"memory": "150Mi"}}]
    body = {"metadata": {"name": "lr"}, "spec": {"limits": limits}}
    space.cluster.ok("POST", f"{space.core}/limitranges", body)
    # The server's cache of LimitRanges is a moment behind.
    path = f"{space.core}/pods?dryRun=All"
    space.until(lambda: space.cluster.ok("POST", path, pod("d"))["metadata"].get("annotations"))
    found = created(space, pod("d"))

    assert found["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "200m", "memory": "64Mi"},
        "requests": {"cpu": "100m", "memory": "64Mi"},
    }
    assert found["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu, memory request for container "
        "agent; cpu, memory limit for container agent"
    }
    assert refusal(space, pod("m", resources("200m", "1Gi")))[1] == (
        'pods "m" is forbidden: [maximum memory usage per Container is 128Mi, but limit is 1Gi, '
        "maximum memory usage per Pod is 150Mi, but limit is 1Gi]"
    )
    assert refusal(space, pod("m", resources("10m", "64Mi")))[1].endswith(
        "minimum cpu usage per Container is 50m, but request is 10m"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"serviceAccountName": "nobody"},
            'error looking up service account {space}/nobody: serviceaccount "nobody" not found',
        ),
        ({"priorityClassName": "nope"}, "no PriorityClass with name nope was found"),
        ({"runtimeClassName": "gvisor"}, 'pod rejected: RuntimeClass "gvisor" not found'),
    ],
    ids=["account", "priority class", "runtime class"],
)
def test_pod_that_names_something_missing_is_refused_and_its_job_tells_by_events(
    space: RawSpace, spec: dict[str, Any], expected: str
) -> None:
    text = expected.format(space=space.name)
    name = next(iter(spec)).lower()
    space.create(manifest(name, pod=spec))

    assert refusal(space, pod("x", **spec)) == (403, f'pods "x" is forbidden: {text}')
    assert failed_create(space, name) == text


def test_namespace_that_goes_refuses_all_that_is_new(make_space: MakeSpace) -> None:
    space = make_space()
    # Its pod holds the namespace for as long as it takes to end.
    space.create(manifest("holds", until_term(0, 4)))
    space.running_pod("holds")
    space.cluster.ok("DELETE", f"/api/v1/namespaces/{space.name}")
    answer = space.cluster.call("POST", space.jobs, manifest("late"))
    cause = answer.json()["details"]["causes"][0]

    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'jobs.batch "late" is forbidden: unable to create new content in namespace '
        f"{space.name} because it is being terminated"
    )
    assert (cause["reason"], cause["field"]) == ("NamespaceTerminating", "metadata.namespace")


def test_webhook_changes_the_pods_that_a_job_makes(
    make_space: MakeSpace, core_api: client.CoreV1Api, node_address: str, tmp_path: Path
) -> None:
    space = make_space()
    extra = container("mesh", "exit 0")
    patch = [{"op": "add", "path": "/spec/containers/-", "value": extra}]
    with mutating_webhook(core_api, space.name, node_address, tmp_path, "pods", patch):
        space.until(lambda: len(created(space, pod("dry"))["spec"]["containers"]) == 2)
        space.create(manifest("meshed"))
        space.ended_job("meshed")
    [found] = space.pods("meshed")

    assert [c["name"] for c in found["spec"]["containers"]] == ["agent", "mesh"]
    assert found["spec"]["containers"][1]["terminationMessagePath"] == "/dev/termination-log"


def test_webhook_that_denies_is_told_with_its_sentence(
    make_space: MakeSpace, core_api: client.CoreV1Api, node_address: str, tmp_path: Path
) -> None:
    space = make_space()
    denied = 'admission webhook "mutate.claude-jobs.test" denied the request: not on a Friday'
    with mutating_webhook(
        core_api, space.name, node_address, tmp_path, "pods", [], denial="not on a Friday"
    ):
        path = f"{space.core}/pods?dryRun=All"
        space.until(lambda: space.cluster.call("POST", path, pod("dry")).status_code != 201)
        answer = space.cluster.call("POST", path, pod("dry"))
        space.create(manifest("denied"))
        event = space.until(lambda: space.events("denied", "FailedCreate"))[0]

    assert (answer.status_code, answer.json()["message"]) == (400, denied)
    assert event["message"] == f"Error creating: {denied}"
    assert "conditions" not in space.job("denied")["status"]


MISSPELT = {
    **manifest("misspelt", pod={"nonsense": True, "containers": [container("a", "", comand=[])]}),
    "metadata": {"name": "misspelt"},
}
FIELDS = {"spec.template.spec.containers[0].comand", "spec.template.spec.nonsense"}


def test_unknown_fields_are_dropped_with_a_warning_or_refused(space: RawSpace) -> None:
    path = f"{space.jobs}?dryRun=All"
    warned = space.cluster.call("POST", path, MISSPELT)
    silent = space.cluster.call("POST", f"{path}&fieldValidation=Ignore", MISSPELT)
    strict = space.cluster.call("POST", f"{path}&fieldValidation=Strict", MISSPELT)

    assert warned.status_code == silent.status_code == 201
    assert set(warnings(warned)) == {f'unknown field "{field}"' for field in FIELDS}
    assert warnings(silent) == []
    assert "nonsense" not in warned.json()["spec"]["template"]["spec"]
    assert (strict.status_code, strict.json()["reason"]) == (400, "BadRequest")
    assert all(f'unknown field "{field}"' in strict.json()["message"] for field in FIELDS)


def test_deletion_of_a_job_without_a_policy_warns_that_its_pods_stay(space: RawSpace) -> None:
    space.create(manifest("left", "sleep 1", suspend=True))
    answer = space.cluster.call("DELETE", f"{space.jobs}/left")

    assert warnings(answer)[0].startswith("child pods are preserved by default")


@pytest.mark.parametrize(
    "query",
    [
        "allowWatchBookmarks=true",
        "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    ],
    ids=["from nowhere", "asked for"],
)
def test_bookmark_marks_the_end_of_what_there_was(space: RawSpace, query: str) -> None:
    path = f"{space.core}/configmaps?watch=1&timeoutSeconds=20&{query}"
    seen: list[Any] = []
    is_marked = threading.Event()
    with space.cluster.http.stream("GET", path) as answer:
        for line in answer.iter_lines():
            seen.append(json.loads(line))
            if seen[-1]["type"] == "BOOKMARK":
                is_marked.set()
                break

    assert is_marked.is_set()
    assert [event["type"] for event in seen] == ["ADDED", "BOOKMARK"]
    assert seen[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_log_refuses_the_choice_of_a_stream(space: RawSpace) -> None:
    space.create(manifest("streams"))
    space.ended_job("streams")
    name = space.pods("streams")[0]["metadata"]["name"]
    answer = space.cluster.call("GET", f"{space.core}/pods/{name}/log?stream=Stdout")

    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")


def test_server_says_its_version(space: RawSpace) -> None:
    version = space.cluster.ok("GET", "/version")

    assert (version["major"], int(version["minor"].rstrip("+")) >= 32) == ("1", True)
