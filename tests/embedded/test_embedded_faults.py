"""Faults of the embedded cluster, each seen from the client's side."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.embedded.local_api import ClusterProcess, Space, terminated

LEASE = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseTransitions": 0}}


def on(verb: str, resource: str, **rest: Any) -> dict[str, Any]:
    match = {"verb": verb, "resource": resource}
    return {"match": match, **rest}


def test_status_before_the_effect_leaves_nothing(space: Space) -> None:
    space.api.faults(on("create", "leases", do={"status": 503, "retryAfterSeconds": 2}))
    refused = space.api.call("POST", space.leases, LEASE)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert space.api.call("GET", f"{space.leases}/l").status_code == 404
    assert space.api.call("POST", space.leases, LEASE).status_code == 201


def test_status_after_the_effect_has_done_the_write(space: Space) -> None:
    space.api.faults(on("create", "leases", do={"status": 500, "after": True}))

    assert space.api.call("POST", space.leases, LEASE).status_code == 500
    assert space.api.call("GET", f"{space.leases}/l").status_code == 200


def test_dropped_answer_has_done_the_write(space: Space) -> None:
    space.api.faults(on("create", "leases", do={"drop": True, "after": True}))
    with pytest.raises(httpx.TransportError):
        space.api.call("POST", space.leases, LEASE)

    assert space.api.call("GET", f"{space.leases}/l").status_code == 200


def test_skip_and_times_choose_the_calls(space: Space) -> None:
    space.api.faults(on("get", "leases", skip=1, times=2, do={"status": 500}))
    codes = [space.api.call("GET", f"{space.leases}/none").status_code for _ in range(5)]

    assert codes == [404, 500, 500, 404, 404]


@pytest.mark.parametrize("seed", [1, 2])
def test_random_faults_are_the_same_under_the_same_seed(space: Space, seed: int) -> None:
    def codes() -> list[int]:
        space.api.ok("DELETE", "/_faults")
        rule = on("get", "leases", times=None, probability=0.5, do={"status": 500})
        space.api.faults(rule, seed=seed)
        return [space.api.call("GET", f"{space.leases}/none").status_code for _ in range(12)]

    first = codes()

    assert codes() == first
    assert set(first) == {404, 500}


def test_held_call_waits_for_its_release(cluster: ClusterProcess, space: Space) -> None:
    space.api.faults(on("create", "leases", do={"hold": "gate"}))
    other = cluster.api()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(other.call, "POST", space.leases, LEASE)
        held = space.api.ok("GET", "/_faults/held?name=gate&timeout=5")
        assert held == {"reached": True, "calls": ["create leases"]}
        assert space.api.call("GET", f"{space.leases}/l").status_code == 404
        assert space.api.ok("POST", "/_faults/release", {"hold": "gate"}) == {"released": 1}
        assert call.result(5).status_code == 201


@pytest.mark.parametrize(
    ("end", "failures"),
    [
        ("cut", (httpx.RemoteProtocolError, httpx.ReadError)),
        ("eof", (type(None),)),
        ("hang", (httpx.ReadTimeout,)),
    ],
    ids=["cut", "eof", "hang"],
)
def test_limited_stream_gives_that_many_bytes_and_ends(
    space: Space, end: str, failures: tuple[type[Any], ...]
) -> None:
    space.create_job("talks", "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done")
    name = space.ended_pod("talks")["metadata"]["name"]
    space.api.faults(on("get", "pods/log", do={"stream": {"afterBytes": 100, "end": end}}))
    seen = b""
    failure: Exception | None = None
    path = f"{space.core}/pods/{name}/log"
    with space.api.http.stream("GET", path, timeout=2) as answer:
        try:
            for chunk in answer.iter_raw():
                seen += chunk
        except httpx.TransportError as raised:
            failure = raised

    assert len(seen) == 100
    assert isinstance(failure, failures)


def test_expired_watch_is_an_error_event(space: Space) -> None:
    space.api.faults(on("watch", "pods", do={"expire": True}))
    answer = space.api.call("GET", f"{space.core}/pods?watch=1&timeoutSeconds=5")

    assert answer.status_code == 200
    assert answer.json()["type"] == "ERROR"
    assert answer.json()["object"]["code"] == 410


def test_stale_list_shows_an_older_state(space: Space) -> None:
    space.api.ok("POST", space.leases, LEASE)
    space.api.faults(on("list", "leases", do={"staleBy": 1}))

    assert space.api.ok("GET", space.leases)["items"] == []
    assert len(space.api.ok("GET", space.leases)["items"]) == 1


def test_clock_skew_moves_the_date_header(space: Space) -> None:
    space.api.ok("PUT", "/_faults/settings", {"clockSkewSeconds": 600})
    answer = space.api.call("GET", f"{space.core}/pods")
    space.api.ok("PUT", "/_faults/settings", {"clockSkewSeconds": 0})

    ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
    assert 590 < ahead < 610


def test_late_status_keeps_an_ended_container_running(space: Space) -> None:
    space.api.ok("PUT", "/_faults/settings", {"lateStatusSeconds": 2})
    space.create_job("tardy", "sleep 0.5; echo over")
    name = space.running_pod("tardy")
    log = space.api.call("GET", f"{space.core}/pods/{name}/log?follow=true").text
    phase = space.pods("tardy")[0]["status"]["phase"]
    space.api.ok("PUT", "/_faults/settings", {"lateStatusSeconds": 0})

    assert (log, phase) == ("over\n", "Running")
    assert terminated(space.ended_pod("tardy"))["exitCode"] == 0


def test_late_condition_leaves_a_job_active_whose_pod_has_ended(space: Space) -> None:
    space.api.ok("PUT", "/_faults/settings", {"lateConditionSeconds": 3})
    space.create_job("overdue", "exit 0")
    space.ended_pod("overdue")
    status = space.api.ok("GET", f"{space.jobs}/overdue")["status"]
    space.api.ok("PUT", "/_faults/settings", {"lateConditionSeconds": 0})

    assert (status["active"], "conditions" in status) == (1, False)
    job = space.until(lambda: finished(space.api.ok("GET", f"{space.jobs}/overdue")))
    assert job["status"]["succeeded"] == 1


def finished(job: Any) -> Any:
    kinds = {condition["type"] for condition in job["status"].get("conditions", [])}
    return job if kinds & {"Complete", "Failed"} else None


def test_evicted_pod_fails_with_the_reason(space: Space) -> None:
    space.create_job("evicted", "sleep 30")
    name = space.running_pod("evicted")
    action = {"do": "evict-pod", "namespace": space.name, "name": name}
    space.api.ok("POST", "/_faults/actions", action)
    pod = space.ended_pod("evicted")

    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Evicted")


def test_gone_node_reports_nothing_until_it_is_back(space: Space) -> None:
    space.create_job("lost", "sleep 1; exit 4")
    name = space.running_pod("lost")
    space.api.ok("POST", "/_faults/actions", {"do": "node-gone", "kill": False})
    refused = space.api.call("GET", f"{space.core}/pods/{name}/log")
    time.sleep(1.5)
    phase = space.pods("lost")[0]["status"]["phase"]
    space.api.ok("POST", "/_faults/actions", {"do": "node-back"})

    assert (refused.status_code, phase) == (500, "Running")
    assert terminated(space.ended_pod("lost"))["exitCode"] == 4


def test_restarted_api_cuts_streams_and_expires_versions(
    start_cluster: Callable[..., ClusterProcess],
) -> None:
    space = Space(start_cluster().api())
    version = space.api.ok("GET", f"{space.core}/pods")["metadata"]["resourceVersion"]
    path = f"{space.core}/pods?watch=1&resourceVersion={version}"
    with space.api.http.stream("GET", path) as watch:
        space.api.ok("POST", "/_faults/actions", {"do": "restart-api", "downSeconds": 0.3})
        with pytest.raises(httpx.TransportError):
            list(watch.iter_lines())

    def answered() -> Any:
        try:
            return space.api.call("GET", path + "&timeoutSeconds=2")
        except httpx.TransportError:
            return None

    answer = space.until(answered)
    assert answer.json()["object"]["reason"] == "Expired"


@pytest.mark.parametrize(
    "rule",
    [
        {"do": {}},
        {"do": {"status": 500}, "skipp": 1},
        {"match": {"path": "x"}, "do": {"status": 500}},
        {"do": {"stream": {"afterBytes": 1, "end": "later"}}},
    ],
    ids=["no_effect", "unknown_field", "unknown_match", "unknown_end"],
)
def test_misspelt_rule_is_refused(space: Space, rule: dict[str, Any]) -> None:
    assert space.api.call("POST", "/_faults", {"rules": [rule]}).status_code == 400
