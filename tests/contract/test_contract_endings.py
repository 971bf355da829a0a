"""How Jobs end: condition pairs, deleted pods, failure policies, suspension."""

from typing import Any

import pytest

from tests.contract.raw_cluster import (
    RawSpace,
    conditions,
    is_final,
    manifest,
    pairs,
    until_term,
)

pytestmark = [pytest.mark.slice, pytest.mark.any_cluster, pytest.mark.timeout(120)]

BACKOFF = "BackoffLimitExceeded"
POLICY = "PodFailurePolicy"
REACHED = "CompletionsReached"
ON_DISRUPTION: dict[str, Any] = {
    "podReplacementPolicy": "Failed",
    "podFailurePolicy": {
        "rules": [
            {
                "action": "FailJob",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            }
        ]
    },
}
FINALIZER = ["batch.kubernetes.io/job-tracking"]


def failed(reason: str) -> list[tuple[str, str]]:
    return [("FailureTarget", reason), ("Failed", reason)]


COMPLETE = [("SuccessCriteriaMet", REACHED), ("Complete", REACHED)]


@pytest.mark.parametrize(
    ("name", "script", "expected", "count"),
    [("good", "exit 0", COMPLETE, "succeeded"), ("bad", "exit 7", failed(BACKOFF), "failed")],
)
def test_first_condition_of_a_pair_stands_alone_and_counts_come_with_the_second(
    space: RawSpace, name: str, script: str, expected: list[tuple[str, str]], count: str
) -> None:
    watch = f"{space.jobs}?watch=1&fieldSelector=metadata.name={name}&timeoutSeconds=12"
    with space.watched(watch) as events:
        space.create(manifest(name, script))
    seen = [event["object"] for event in events]
    first = next(job for job in seen if conditions(job))
    last = seen[-1]

    assert pairs(conditions(first)) == expected[:1]
    assert count not in first["status"]
    assert len(first["status"]["uncountedTerminatedPods"][count]) == 1
    assert pairs(conditions(last)) == expected
    assert last["status"][count] == 1
    assert (last["status"]["ready"], last["status"]["terminating"]) == (0, 0)
    assert last["status"]["uncountedTerminatedPods"] == {}
    assert space.pods(name)[0]["metadata"].get("finalizers") is None


@pytest.mark.parametrize(
    ("name", "code", "more", "expected"),
    [
        ("deleted", 143, {}, [failed(BACKOFF)]),
        # Whether the pod ends or the controller looks first decides.
        ("deleted-well", 0, {}, [COMPLETE, failed(BACKOFF)]),
        ("deleted-policy", 143, ON_DISRUPTION, [failed(BACKOFF)]),
        ("deleted-policy-well", 0, ON_DISRUPTION, [COMPLETE]),
    ],
)
def test_deleted_pod_ends_its_job_by_its_exit_code_and_is_not_replaced(
    space: RawSpace,
    name: str,
    code: int,
    more: dict[str, Any],
    expected: list[list[tuple[str, str]]],
) -> None:
    space.create(manifest(name, until_term(code), **more))
    pod = space.running_pod(name)
    space.cluster.ok("DELETE", f"{space.core}/pods/{pod['metadata']['name']}")
    found = space.ended_job(name)

    assert pod["metadata"]["finalizers"] == FINALIZER
    assert pairs(found) in expected
    space.until(lambda: space.pods(name) == [])


def test_deleted_pod_is_counted_while_it_ends_unless_the_job_waits_for_that(
    space: RawSpace,
) -> None:
    for name, more in (("slow", {}), ("slow-policy", ON_DISRUPTION)):
        space.create(manifest(name, until_term(143, 4), **more))
    for name in ("slow", "slow-policy"):
        pod = space.running_pod(name)["metadata"]["name"]
        space.cluster.ok("DELETE", f"{space.core}/pods/{pod}")
    counted = space.until(lambda: conditions(space.job("slow")))

    def waiting_job() -> Any:
        status = space.job("slow-policy")["status"]
        return status.get("terminating") and status

    waiting = space.until(waiting_job)

    assert pairs(counted) == failed(BACKOFF)[:1]
    assert (waiting["terminating"], waiting.get("failed"), waiting.get("conditions")) == (
        1,
        None,
        None,
    )
    for name in ("slow", "slow-policy"):
        assert pairs(space.ended_job(name)) == failed(BACKOFF)


def test_evicted_pod_fails_its_job_by_the_policy_that_names_disruptions(space: RawSpace) -> None:
    space.create(manifest("evicted", until_term(143), **ON_DISRUPTION))
    pod = space.running_pod("evicted")["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    watch = f"{space.core}/pods?watch=1&fieldSelector=metadata.name={pod}&timeoutSeconds=6"
    with space.watched(watch) as events:
        answer = space.cluster.ok("POST", f"{space.core}/pods/{pod}/eviction", body)
    found = space.ended_job("evicted")
    told = [
        condition["reason"]
        for event in events
        for condition in event["object"]["status"].get("conditions", [])
        if condition["type"] == "DisruptionTarget"
    ]

    assert (answer["status"], set(told)) == ("Success", {"EvictionByEvictionAPI"})
    assert events[-1]["type"] == "DELETED"
    assert pairs(found) == failed(POLICY)
    assert found[-1]["message"] == (
        f"Pod {space.name}/{pod} has condition DisruptionTarget matching FailJob rule at index 0"
    )


def test_exit_code_that_a_policy_names_fails_the_job_before_its_retries(space: RawSpace) -> None:
    codes = {"containerName": "agent", "operator": "In", "values": [42]}
    policy = {"rules": [{"action": "FailJob", "onExitCodes": codes}]}
    space.create(manifest("code", "exit 42", backoffLimit=3, podFailurePolicy=policy))
    found = space.ended_job("code")

    assert pairs(found) == failed(POLICY)
    assert found[0]["message"].endswith("failed with exit code 42 matching FailJob rule at index 0")
    assert len(space.pods("code")) == 1


def test_ignored_disruption_is_not_counted_and_another_pod_comes(space: RawSpace) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    script = until_term(143)
    space.create(manifest("ignored", script, podFailurePolicy={"rules": [rule]}))
    pod = space.running_pod("ignored")["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    space.cluster.ok("POST", f"{space.core}/pods/{pod}/eviction", body)
    space.until(lambda: [p for p in space.pods("ignored") if p["metadata"]["name"] != pod])
    status = space.job("ignored")["status"]

    assert (status.get("failed"), status.get("conditions")) == (None, None)
    space.cluster.ok("DELETE", f"{space.jobs}/ignored?propagationPolicy=Background")


def test_deadline_is_told_at_once_and_the_failure_when_the_pod_has_ended(space: RawSpace) -> None:
    space.create(manifest("deadline", until_term(143, 3), activeDeadlineSeconds=3))

    def job_whose_pod_ends() -> Any:
        job = space.job("deadline")
        return job["status"].get("terminating") and job

    ending = space.until(job_whose_pod_ends)
    found = space.ended_job("deadline")

    assert pairs(conditions(ending)) == failed("DeadlineExceeded")[:1]
    assert ending["status"]["terminating"] == 1
    assert pairs(found) == failed("DeadlineExceeded")
    assert space.job("deadline")["status"]["failed"] == 1


def test_retry_comes_after_a_back_off(space: RawSpace) -> None:
    space.create(manifest("again", "exit 1", backoffLimit=1))
    space.until(lambda: space.job("again")["status"].get("failed") == 1)

    assert len(space.pods("again")) == 1
    space.until(lambda: len(space.pods("again")) == 2)
    assert pairs(space.ended_job("again")) == failed(BACKOFF)


def test_deleted_job_gets_no_condition_and_lets_go_of_its_pods_at_once(space: RawSpace) -> None:
    space.create(manifest("stopped", until_term(143, 3)))
    space.running_pod("stopped")
    watch = f"{space.jobs}?watch=1&fieldSelector=metadata.name=stopped&timeoutSeconds=10"
    with space.watched(watch) as events:
        space.cluster.ok("DELETE", f"{space.jobs}/stopped?propagationPolicy=Foreground")
        # It ends for three seconds more; which of both is written first is not promised.
        space.until(
            lambda: [
                pod
                for pod in space.pods("stopped")
                if "finalizers" not in pod["metadata"] and "deletionTimestamp" in pod["metadata"]
            ]
        )

    assert [conditions(event["object"]) for event in events] == [[]] * len(events)
    assert (events[-1]["type"], events[-1]["object"]["metadata"]["finalizers"]) == (
        "DELETED",
        ["foregroundDeletion"],
    )


def set_suspended(space: RawSpace, name: str, wanted: bool) -> None:
    patch = {"spec": {"suspend": wanted}}
    space.cluster.ok("PATCH", f"{space.jobs}/{name}", patch, "application/merge-patch+json")


def suspension(space: RawSpace, name: str) -> list[tuple[str, str, str]]:
    return [(c["type"], c["status"], c["reason"]) for c in conditions(space.job(name))]


def test_suspended_job_has_no_pod_and_goes_on_with_another_one(space: RawSpace) -> None:
    space.create(manifest("queued", until_term(143), suspend=True))
    suspended, resumed = (
        [("Suspended", "True", "JobSuspended")],
        [("Suspended", "False", "JobResumed")],
    )
    space.until(lambda: suspension(space, "queued") == suspended)
    assert space.pods("queued") == []
    assert "startTime" not in space.job("queued")["status"]

    place: list[Any] = [{"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {}}]
    kind = "application/json-patch+json"
    space.cluster.ok("PATCH", f"{space.jobs}/queued", place, kind)
    set_suspended(space, "queued", False)
    first = space.running_pod("queued")
    assert suspension(space, "queued") == resumed
    assert space.job("queued")["status"]["startTime"]

    set_suspended(space, "queued", True)
    space.until(lambda: suspension(space, "queued") == suspended)
    space.until(lambda: space.pods("queued") == [])
    status = space.job("queued")["status"]
    assert (status.get("failed"), status.get("startTime")) == (None, None)

    set_suspended(space, "queued", False)
    second = space.running_pod("queued")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert not is_final(conditions(space.job("queued")))
    space.cluster.ok("DELETE", f"{space.jobs}/queued?propagationPolicy=Background")
