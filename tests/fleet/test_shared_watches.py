"""Observers of many Jobs share one pair of watches, over real HTTP."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.jobs import create_job
from tasks.cluster.watching.job_feed import JobFeed
from tasks.cluster.watching.job_observer import JobObserver
from tasks.cluster.watching.shared_clusters import SharedClusters
from tasks.observation.snapshots import JobSnapshot
from tasks.vocabulary.names import MANAGED_SELECTOR
from tests.embedded.local_api import Api
from tests.fleet.conftest import requests_of
from tests.waits import WaitRanOut

pytestmark = [pytest.mark.long, pytest.mark.slice, pytest.mark.timeout(180)]

JOBS = 8
NEWS_SECONDS = 60


def job(seconds: float) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "claude-jobs"}
    container = {"name": "agent", "image": "any", "command": ["sleep", str(seconds)]}
    pod_spec = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"job-{uuid.uuid4().hex[:8]}", "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod_spec},
        },
    }


@pytest.fixture
async def clusters() -> AsyncIterator[SharedClusters]:
    async with SharedClusters(MANAGED_SELECTOR) as shared:
        yield shared


@pytest.fixture
async def client(clusters: SharedClusters, fleet_kubeconfig: Path) -> ClusterClient:
    connection = ClusterConnection.from_kubeconfig_file(str(fleet_kubeconfig))
    opened = await clusters.client(connection)
    assert await clusters.client(connection) is opened
    return opened


class Observed:
    """Observers of new Jobs, at work until the block is left."""

    def __init__(self, clusters: SharedClusters, client: ClusterClient, namespace: str) -> None:
        self._clusters, self._client, self._namespace = clusters, client, namespace
        self.feed = clusters.feed(client, namespace)
        self._stack = AsyncExitStack()
        self.observers: list[JobObserver] = []

    async def __aenter__(self) -> "Observed":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def add(self, seconds: float) -> JobObserver:
        created = await create_job(self._client, self._namespace, job(seconds))
        observer = JobObserver(
            self._client,
            namespace=self._namespace,
            job_name=created["metadata"]["name"],
            job_uid=created["metadata"]["uid"],
            feed=self._clusters.feed(self._client, self._namespace),
            # What is known is known by the watches.
            safety_read_seconds=600,
            unwatched_read_seconds=600,
        )
        running = asyncio.create_task(observer.run())
        self._stack.push_async_callback(_end, running)
        self.observers.append(observer)
        return observer


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until_finished(observer: JobObserver) -> None:
    async with asyncio.timeout(NEWS_SECONDS):
        seen = observer.observation
        while seen.job is None or not JobSnapshot.from_api(seen.job).finished:
            seen = await observer.changed(seen.version)


async def until_closed(feed: JobFeed) -> None:
    for _ in range(NEWS_SECONDS * 20):
        if not feed.holds:
            return
        await asyncio.sleep(0.05)
    raise WaitRanOut("the watches are still open")


async def test_many_observers_need_two_watches_and_each_sees_its_own_job(
    clusters: SharedClusters, client: ClusterClient, fleet_namespace: str
) -> None:
    async with Observed(clusters, client, fleet_namespace) as observed:
        await asyncio.gather(*(observed.add(1) for _ in range(JOBS)))
        await asyncio.gather(*map(until_finished, observed.observers))

        for observer in observed.observers:
            seen = observer.observation
            assert seen.job is not None
            [pod] = seen.pods
            [owner] = pod.latest["metadata"]["ownerReferences"]
            assert owner["uid"] == seen.job["metadata"]["uid"]
        assert (client.requests["watch jobs.batch"], client.requests["watch pods"]) == (1, 1)

    await until_closed(observed.feed)


async def test_lost_watches_are_listed_anew_for_every_observer(
    clusters: SharedClusters, client: ClusterClient, kubernetes: Api, fleet_namespace: str
) -> None:
    rules = [
        {
            "match": {"verb": "watch", "resource": resource, "namespace": fleet_namespace},
            "do": {"stream": {"afterSeconds": 0.2, "end": "cut"}},
            "times": 2,
        }
        for resource in ("jobs", "pods")
    ]
    kubernetes.ok("POST", "/_faults", {"rules": rules})

    async with Observed(clusters, client, fleet_namespace) as observed:
        await asyncio.gather(*(observed.add(3) for _ in range(JOBS)))
        await asyncio.gather(*map(until_finished, observed.observers))

        watches = client.requests["watch jobs.batch"], client.requests["watch pods"]
        assert watches == (3, 3)
        assert all(len(observer.observation.pods) == 1 for observer in observed.observers)


async def test_watches_end_with_the_last_observer_and_start_again_with_the_next(
    clusters: SharedClusters, client: ClusterClient, kubernetes: Api, fleet_namespace: str
) -> None:
    before = requests_of(kubernetes)
    for _ in range(2):
        async with Observed(clusters, client, fleet_namespace) as observed:
            await until_finished(await observed.add(0.1))
        await until_closed(observed.feed)

    after = requests_of(kubernetes)
    for watch in ("watch jobs", "watch pods"):
        assert after[watch] - before.get(watch, 0) == 2
