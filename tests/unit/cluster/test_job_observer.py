import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.watching.job_feed import JobFeed
from tasks.cluster.watching.job_observer import JobObservation, JobObserver
from tests.scripted_api import serve, status

JOB_PATH = "/apis/batch/v1/namespaces/a/jobs/j"


class Cluster:
    """One Job and one pod, with the faults that a test switches on; watches are refused."""

    def __init__(self) -> None:
        self.job_uid: str | None = "uid-1"
        self.failing = False
        self.strange: Callable[[], web.Response] | None = None
        self.job_reads = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.failing:
            return status(500)
        if self.strange is not None:
            return self.strange()
        if request.path == JOB_PATH:
            self.job_reads += 1
            if self.job_uid is None:
                return status(404, "NotFound", details={"kind": "jobs"})
            metadata = {"uid": self.job_uid, "resourceVersion": "5"}
            return web.json_response({"kind": "Job", "metadata": metadata})
        if "watch" in request.query or "fieldSelector" in request.query:
            return status(403, "Forbidden")
        return web.json_response(
            {"kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": [self.pod()]}
        )

    def pod(self) -> dict[str, Any]:
        return {
            "metadata": {
                "name": "j-x",
                "uid": "p1",
                "resourceVersion": "6",
                "ownerReferences": [{"kind": "Job", "uid": "uid-1"}],
            }
        }


@asynccontextmanager
async def observing(
    cluster: Cluster, sleep: Callable[[float], Any] = asyncio.sleep
) -> AsyncGenerator[JobObserver, None]:
    async with serve(cluster.answer) as api, ClusterClient(api.connection) as client:
        observer = JobObserver(
            client,
            namespace="a",
            job_name="j",
            job_uid="uid-1",
            safety_read_seconds=30.0,
            unwatched_read_seconds=0.05,
            sleep=sleep,
        )
        running = asyncio.create_task(observer.run())
        yield observer
        running.cancel()
        await asyncio.wait([running])


async def until(observer: JobObserver, holds: Callable[[JobObservation], bool]) -> JobObservation:
    seen = observer.observation
    async with asyncio.timeout(5):
        while not holds(seen):
            seen = await observer.changed(seen.version)
    return seen


async def test_observer_without_watches_reads_and_says_that_no_watch_holds() -> None:
    async with observing(Cluster()) as observer:
        seen = await until(observer, lambda o: o.job is not None and len(o.pods) == 1)

        assert not seen.watch_holds
        assert not seen.job_is_gone
        assert observer.seconds_since_good_read < 5


async def test_missing_job_is_read_again_after_a_second_before_it_counts_as_gone() -> None:
    cluster = Cluster()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with observing(cluster, sleep) as observer:
        await until(observer, lambda o: o.job is not None)
        reads = cluster.job_reads
        cluster.job_uid = None
        seen = await until(observer, lambda o: o.job_is_gone)

    assert waited == [1.0]
    assert cluster.job_reads - reads >= 2
    assert seen.job is not None


async def test_job_that_is_back_at_the_second_read_has_not_gone() -> None:
    cluster = Cluster()
    waited = asyncio.Event()

    async def sleep(_: float) -> None:
        cluster.job_uid = "uid-1"
        waited.set()

    async with observing(cluster, sleep) as observer:
        await until(observer, lambda o: o.job is not None)
        cluster.job_uid = None
        async with asyncio.timeout(5):
            await waited.wait()
        await asyncio.sleep(0.2)

        assert not observer.observation.job_is_gone


async def test_another_job_of_the_same_name_means_ours_has_gone() -> None:
    cluster = Cluster()

    async def sleep(_: float) -> None:
        pass

    async with observing(cluster, sleep) as observer:
        await until(observer, lambda o: o.job is not None)
        cluster.job_uid = "uid-2"
        seen = await until(observer, lambda o: o.job_is_gone)

    assert seen.job is not None
    assert seen.job["metadata"]["uid"] == "uid-1"


async def test_failed_reads_are_counted_and_end_nothing() -> None:
    cluster = Cluster()
    async with observing(cluster) as observer:
        await until(observer, lambda o: o.job is not None)
        cluster.failing = True
        seen = await until(observer, lambda o: o.failed_reads >= 3)
        assert not seen.job_is_gone
        assert observer.seconds_since_good_read > 0.05

        cluster.failing = False
        seen = await until(observer, lambda o: o.failed_reads == 0)

    assert not seen.job_is_gone


@pytest.mark.parametrize(
    ("answers", "expected"),
    [((403, 401), True), ((500, 403), False), ((403, 500), False), ((429,), False)],
)
async def test_reads_count_as_refused_when_all_were(
    answers: tuple[int, ...], expected: bool
) -> None:
    cluster = Cluster()
    async with observing(cluster) as observer:
        await until(observer, lambda o: o.job is not None)
        for code in answers:
            cluster.strange = partial(status, code)
            failed = observer.observation.failed_reads
            await until(observer, lambda o, failed=failed: o.failed_reads > failed + 1)
        assert observer.is_refused is expected

        cluster.strange = None
        await until(observer, lambda o: o.failed_reads == 0)
        assert not observer.is_refused


def json_answer(code: int, body: object) -> Callable[[], web.Response]:
    return lambda: web.json_response(body, status=code)


@pytest.mark.parametrize("code", [401, 403])
async def test_refusals_of_a_gateway_are_no_refusals_of_the_api(code: int) -> None:
    cluster = Cluster()
    async with observing(cluster) as observer:
        await until(observer, lambda o: o.job is not None)
        cluster.strange = json_answer(code, {"message": "log in first"})
        await until(observer, lambda o: o.failed_reads > 1)

        assert not observer.is_refused
        assert "What answered is not the Kubernetes API" in str(observer.last_failure)


def page(code: int) -> Callable[[], web.Response]:
    return lambda: web.Response(status=code, text="<html>Maintenance</html>")


POD_LIST: dict[str, Any] = {"kind": "PodList", "metadata": {}, "items": []}


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param(json_answer(200, {"status": "maintenance"}), id="200, another object"),
        pytest.param(json_answer(200, {"kind": "Job", "metadata": {}}), id="200, no UID"),
        pytest.param(json_answer(200, POD_LIST), id="200, another kind"),
        pytest.param(json_answer(200, [1]), id="200, list"),
        pytest.param(json_answer(200, None), id="200, null"),
        pytest.param(page(200), id="200, page"),
        pytest.param(page(404), id="404, page"),
        pytest.param(json_answer(404, {"code": 5, "message": "no route"}), id="404, no Status"),
        pytest.param(page(410), id="410, page"),
        pytest.param(
            json_answer(502, {"code": 14, "message": "upstream", "details": [{"@type": "t"}]}),
            id="502, details in a list",
        ),
        pytest.param(json_answer(502, {"details": "text"}), id="502, details as text"),
    ],
)
async def test_answer_of_something_else_than_the_api_is_a_failed_read(
    strange: Callable[[], web.Response],
) -> None:
    cluster = Cluster()

    async def sleep(_: float) -> None:
        pass

    async with observing(cluster, sleep) as observer:
        await until(observer, lambda o: o.job is not None)
        cluster.strange = strange
        seen = await until(observer, lambda o: o.failed_reads >= 3)
        assert not seen.job_is_gone
        assert not any(pod.is_gone for pod in seen.pods)

        cluster.strange = None
        seen = await until(observer, lambda o: o.failed_reads == 0)

    assert not seen.job_is_gone


async def test_feed_that_nobody_runs_still_leaves_the_safety_reads() -> None:
    cluster = Cluster()
    async with serve(cluster.answer) as api, ClusterClient(api.connection) as client:
        feed = JobFeed.of_namespace(client, "a", "managed=yes")
        observer = JobObserver(client, namespace="a", job_name="j", job_uid="uid-1", feed=feed)
        running = asyncio.create_task(observer.run())
        seen = await until(observer, lambda o: o.job is not None)
        running.cancel()
        await asyncio.wait([running])

    assert not seen.watch_holds
    assert client.requests == {"get jobs.batch": 1, "list pods": 1}
