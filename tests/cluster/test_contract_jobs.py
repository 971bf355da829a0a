"""How Jobs, pods, Secrets and their controllers behave, as far as a run relies on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectNotFound
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.api_objects import Propagation, expect, put
from tasks.cluster.kinds.jobs import create_job, delete_job, patch_job, read_job
from tasks.cluster.kinds.read_only import list_kubernetes_events, list_pods
from tasks.cluster.kinds.secrets import create_secret, read_secret
from tasks.cluster.watching.job_feed import JobFeed
from tasks.cluster.watching.job_observer import JobObservation, JobObserver
from tasks.vocabulary.names import job_pods_selector
from tests.cluster.contract_objects import UNTIL_TERM, job, secret, unique

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(120)]


async def until(
    observer: JobObserver, holds: Callable[[JobObservation], bool], seconds: float = 60.0
) -> JobObservation:
    """Observe until the condition holds; the observer runs only meanwhile."""
    running = asyncio.create_task(observer.run())
    try:
        async with asyncio.timeout(seconds):
            seen = observer.observation
            while not holds(seen):
                seen = await observer.changed(seen.version)
        return seen
    finally:
        running.cancel()
        await asyncio.wait([running])


async def eventually(
    read: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], seconds: float = 60.0
) -> Any:
    async with asyncio.timeout(seconds):
        found = await read()
        while not holds(found):
            await asyncio.sleep(0.2)
            found = await read()
    return found


def observer_of(client: ClusterClient, created: JsonObject, feed: Any = None) -> JobObserver:
    metadata = created["metadata"]
    return JobObserver(
        client,
        namespace=metadata["namespace"],
        job_name=metadata["name"],
        job_uid=metadata["uid"],
        feed=feed,
    )


def phases(seen: JobObservation) -> list[str]:
    return [pod.latest["status"]["phase"] for pod in seen.pods]


def agent_state(pod: JsonObject | None) -> dict[str, Any]:
    pod_status: dict[str, Any] = (pod or {}).get("status") or {}
    statuses: list[dict[str, Any]] = pod_status.get("containerStatuses") or []
    found = [status["state"] for status in statuses if status["name"] == "agent"]
    return found[0] if found else {}


def conditions(found: JsonObject | None) -> dict[str, JsonObject]:
    status: dict[str, Any] = (found or {}).get("status") or {}
    listed: list[JsonObject] = status.get("conditions") or []
    return {c["type"]: c for c in listed if c["status"] == "True"}


def is_unschedulable(pod: JsonObject) -> bool:
    listed: list[JsonObject] = pod["status"].get("conditions") or []
    return any(c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable" for c in listed)


def is_running(seen: JobObservation) -> bool:
    return any("running" in agent_state(pod.latest) for pod in seen.pods)


async def remove(client: ClusterClient, created: JsonObject) -> None:
    metadata = created["metadata"]
    await delete_job(
        client,
        metadata["namespace"],
        metadata["name"],
        uid=metadata["uid"],
        propagation=Propagation.FOREGROUND,
    )


async def test_job_that_ends_well_has_a_complete_condition_and_exit_code_zero(
    cluster_client: ClusterClient, namespace: str
) -> None:
    created = await create_job(cluster_client, namespace, job(unique("good"), "exit 0"))
    seen = await until(
        observer_of(cluster_client, created), lambda o: "Complete" in conditions(o.job)
    )

    assert phases(seen) == ["Succeeded"]
    assert agent_state(seen.pods[0].terminated)["terminated"]["exitCode"] == 0


async def test_job_that_fails_once_is_failed_with_exit_code_and_termination_message(
    cluster_client: ClusterClient, namespace: str
) -> None:
    script = "printf 'last words' > /dev/termination-log; exit 7"
    created = await create_job(cluster_client, namespace, job(unique("bad"), script))
    seen = await until(
        observer_of(cluster_client, created), lambda o: "Failed" in conditions(o.job)
    )

    terminated = agent_state(seen.pods[0].terminated)["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (7, "last words")
    assert conditions(seen.job)["Failed"]["reason"] == "BackoffLimitExceeded"
    assert phases(seen) == ["Failed"]


async def test_pod_carries_the_jobs_labels_and_is_owned_by_its_uid(
    cluster_client: ClusterClient, namespace: str
) -> None:
    created = await create_job(
        cluster_client, namespace, job(unique("owned"), secret_name="never-made")
    )
    name = created["metadata"]["name"]
    found = await eventually(
        lambda: list_pods(cluster_client, namespace, label_selector=job_pods_selector(name)),
        lambda pods: len(pods.items) == 1,
    )

    metadata = found.items[0]["metadata"]
    assert metadata["labels"]["batch.kubernetes.io/job-name"] == name
    assert metadata["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    owner = metadata["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Job", created["metadata"]["uid"])
    assert owner["controller"] is True


async def test_pod_waits_for_its_secret_and_runs_when_it_is_created(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("inert")
    created = await create_job(
        cluster_client, namespace, job(name, "exec cat /input/prompt", secret_name=name)
    )
    observer = observer_of(cluster_client, created)
    seen = await until(
        observer, lambda o: any("waiting" in agent_state(pod.latest) for pod in o.pods)
    )
    assert agent_state(seen.pods[0].latest)["waiting"]["reason"] == "ContainerCreating"
    await asyncio.sleep(1.0)
    assert phases(observer.observation) == ["Pending"]

    await create_secret(cluster_client, namespace, secret(name, created, prompt="hello"))
    seen = await until(
        observer_of(cluster_client, created), lambda o: "Complete" in conditions(o.job)
    )
    assert agent_state(seen.pods[0].terminated)["terminated"]["exitCode"] == 0


async def test_wait_for_a_secret_is_told_by_an_event_about_the_pod(
    cluster_client: ClusterClient, namespace: str
) -> None:
    created = await create_job(
        cluster_client, namespace, job(unique("told"), secret_name="never-made")
    )
    seen = await until(observer_of(cluster_client, created), lambda o: len(o.pods) == 1)
    uid = seen.pods[0].latest["metadata"]["uid"]
    events = await eventually(
        lambda: list_kubernetes_events(cluster_client, namespace, involved_uid=uid),
        lambda found: any(event["reason"] == "FailedMount" for event in found),
    )

    assert any('secret "never-made" not found' in event["message"] for event in events)


async def test_secret_goes_with_the_job_that_owns_it(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("owner")
    created = await create_job(cluster_client, namespace, job(name, secret_name="never-made"))
    await create_secret(cluster_client, namespace, secret(name, created, prompt="hello"))
    await delete_job(
        cluster_client,
        namespace,
        name,
        uid=created["metadata"]["uid"],
        propagation=Propagation.BACKGROUND,
    )

    await until_not_found(lambda: read_secret(cluster_client, namespace, name))


async def test_secret_of_an_owner_that_never_was_is_collected(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("orphan")
    owner = {"metadata": {"name": name, "uid": "00000000-0000-0000-0000-000000000000"}}
    await create_secret(cluster_client, namespace, secret(name, owner, prompt="hello"))

    await until_not_found(lambda: read_secret(cluster_client, namespace, name))


async def until_not_found(read: Callable[[], Awaitable[Any]]) -> None:
    async def is_gone() -> bool:
        try:
            await read()
        except ObjectNotFound:
            return True
        return False

    await eventually(is_gone, bool)


@pytest.mark.parametrize("is_shared", [False, True], ids=["own watches", "shared watches"])
async def test_foreground_deletion_is_the_sigterm_and_the_last_events_carry_the_ending(
    cluster_client: ClusterClient, namespace: str, is_shared: bool
) -> None:
    name = unique("term")
    created = await create_job(cluster_client, namespace, job(name, UNTIL_TERM))
    feed = JobFeed.of_namespace(cluster_client, namespace, f"test={name}") if is_shared else None
    feeding = asyncio.create_task(feed.run()) if feed else None
    observer = observer_of(cluster_client, created, feed)
    await until(observer, is_running)
    # The container's shell needs a moment to set its trap.
    await asyncio.sleep(0.5)
    await remove(cluster_client, created)
    seen = await until(observer, lambda o: o.job_is_gone and all(pod.is_gone for pod in o.pods))
    if feeding is not None:
        feeding.cancel()
        await asyncio.wait([feeding])

    assert len(seen.pods) == 1
    terminated = agent_state(seen.pods[0].terminated)["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (143, "by-signal\n")
    assert seen.job is not None
    assert seen.job["metadata"]["deletionTimestamp"]


async def test_deleted_pod_of_a_live_job_fails_it_and_is_not_replaced(
    cluster_client: ClusterClient, admin_client: ClusterClient, namespace: str
) -> None:
    created = await create_job(cluster_client, namespace, job(unique("deleted"), UNTIL_TERM))
    observer = observer_of(cluster_client, created)
    seen = await until(observer, is_running)
    first = seen.pods[0].latest["metadata"]
    # The container's shell needs a moment to set its trap.
    await asyncio.sleep(0.5)
    await admin_client.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{first['name']}")
    seen = await until(observer, lambda o: "Failed" in conditions(o.job) and o.pods[0].is_gone)

    assert [pod.latest["metadata"]["uid"] for pod in seen.pods] == [first["uid"]]
    assert conditions(seen.job)["Failed"]["reason"] == "BackoffLimitExceeded"
    assert agent_state(seen.pods[0].terminated)["terminated"]["exitCode"] == 143


async def test_deadline_fails_the_job_and_deletes_its_pod(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = job(unique("deadline"), UNTIL_TERM, activeDeadlineSeconds=3)
    created = await create_job(cluster_client, namespace, manifest)
    seen = await until(
        observer_of(cluster_client, created),
        lambda o: "Failed" in conditions(o.job) and all(pod.is_gone for pod in o.pods),
    )

    assert conditions(seen.job)["Failed"]["reason"] == "DeadlineExceeded"
    assert agent_state(seen.pods[0].terminated)["terminated"]["exitCode"] == 143


async def test_lowered_ttl_of_an_ended_job_takes_it_away(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = job(unique("ttl"), "exit 0", ttlSecondsAfterFinished=86_400)
    created = await create_job(cluster_client, namespace, manifest)
    name, uid = created["metadata"]["name"], created["metadata"]["uid"]
    await until(observer_of(cluster_client, created), lambda o: "Complete" in conditions(o.job))
    await patch_job(
        cluster_client,
        namespace,
        name,
        [expect("/metadata/uid", uid), put("/spec/ttlSecondsAfterFinished", 2)],
    )

    await until_not_found(lambda: read_job(cluster_client, namespace, name))


async def test_image_that_cannot_be_pulled_is_told_by_the_waiting_reason(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = job(unique("pull"))
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "127.0.0.1:1/none:1"
    created = await create_job(cluster_client, namespace, manifest)
    seen = await until(
        observer_of(cluster_client, created),
        lambda o: any(
            agent_state(pod.latest).get("waiting", {}).get("reason")
            in {"ErrImagePull", "ImagePullBackOff"}
            for pod in o.pods
        ),
    )

    assert phases(seen) == ["Pending"]
    await remove(cluster_client, created)


async def test_pod_that_fits_nowhere_is_told_by_a_condition(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = job(unique("nowhere"))
    manifest["spec"]["template"]["spec"]["nodeSelector"] = {"no-such": "label"}
    created = await create_job(cluster_client, namespace, manifest)

    await until(
        observer_of(cluster_client, created),
        lambda o: any(is_unschedulable(pod.latest) for pod in o.pods),
    )
    await remove(cluster_client, created)
