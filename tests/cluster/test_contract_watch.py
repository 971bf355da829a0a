"""What a watch brings, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, ResourceExpired
from tasks.cluster.json_objects import JOBS, JsonObject
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import create_job, delete_job, patch_job
from tasks.cluster.watching.watch import (
    Changed,
    Deleted,
    Listed,
    Selection,
    StillWatching,
    WatchEvent,
    WatchLost,
    watch_objects,
    watch_once,
)
from tests.cluster.contract_objects import job, unique

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(60)]

T = TypeVar("T", bound=WatchEvent)


async def next_of(kind: type[T], events: AsyncGenerator[WatchEvent, None]) -> T:
    """Return the next event; it must be of this kind, bookmarks aside."""
    async with asyncio.timeout(20):
        async for event in events:
            if kind is StillWatching or not isinstance(event, StillWatching):
                assert isinstance(event, kind)
                return event
    raise AssertionError("the watch ended")


async def change_until(
    holds: Callable[[JsonObject], bool], events: AsyncGenerator[WatchEvent, None]
) -> JsonObject:
    """Return the first change of which it holds; a Job's controller makes changes of its own."""
    while not holds(changed := (await next_of(Changed, events)).object):
        pass
    return changed


async def deletion_of(events: AsyncGenerator[WatchEvent, None]) -> JsonObject:
    """Return the object of the next deletion; only changes may come before it."""
    async with asyncio.timeout(20):
        async for event in events:
            if isinstance(event, Deleted):
                return event.object
            assert isinstance(event, Changed | StillWatching)
    raise AssertionError("the watch ended")


async def create_idle_job(client: ClusterClient, namespace: str, name: str) -> JsonObject:
    return await create_job(client, namespace, job(name, parallelism=0))


async def test_watch_brings_what_is_there_and_each_change_after_it(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("watched")
    first = await create_idle_job(cluster_client, namespace, name)
    uid = first["metadata"]["uid"]
    selection = Selection(JOBS, namespace, label_selector=f"test={name}")
    async with aclosing(watch_objects(cluster_client, selection)) as events:
        listed = await next_of(Listed, events)
        assert [item["metadata"]["uid"] for item in listed.objects] == [uid]

        await create_idle_job(cluster_client, namespace, unique("unselected"))
        claim = [expect("/metadata/uid", uid), put(annotation_path("owner"), "other")]
        written = await patch_job(cluster_client, namespace, name, claim)
        changed = await change_until(
            lambda found: found["metadata"]["annotations"]["owner"] == "other", events
        )
        assert changed["metadata"]["uid"] == uid

        await delete_job(
            cluster_client, namespace, name, uid=uid, propagation=Propagation.BACKGROUND
        )
        last = await deletion_of(events)
        assert last["metadata"]["annotations"]["owner"] == "other"
        assert int(last["metadata"]["resourceVersion"]) > int(
            written["metadata"]["resourceVersion"]
        )


async def test_object_that_loses_its_label_is_deleted_from_a_labelled_watch(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("relabelled")
    stored = await create_idle_job(cluster_client, namespace, name)
    uid = stored["metadata"]["uid"]
    selection = Selection(JOBS, namespace, label_selector=f"test={name}")
    async with aclosing(watch_objects(cluster_client, selection)) as events:
        await next_of(Listed, events)
        relabel = [expect("/metadata/uid", uid), put("/metadata/labels/test", "another")]
        await patch_job(cluster_client, namespace, name, relabel)
        gone = await deletion_of(events)

    assert gone["metadata"]["uid"] == uid


async def test_watch_of_one_name_brings_that_object_only(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("named")
    selection = Selection(JOBS, namespace, field_selector=f"metadata.name={name}")
    async with aclosing(watch_objects(cluster_client, selection)) as events:
        assert (await next_of(Listed, events)).objects == ()
        await create_idle_job(cluster_client, namespace, unique("unnamed"))
        await create_idle_job(cluster_client, namespace, name)
        assert (await next_of(Changed, events)).object["metadata"]["name"] == name


async def test_watch_that_the_server_ends_is_listed_and_watched_again(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("ending")
    selection = Selection(JOBS, namespace, label_selector=f"test={name}")
    async with aclosing(watch_objects(cluster_client, selection, watch_seconds=1)) as events:
        await next_of(Listed, events)
        assert (await next_of(WatchLost, events)).error is None
        await create_idle_job(cluster_client, namespace, name)
        assert len((await next_of(Listed, events)).objects) == 1


async def test_watch_from_a_version_that_is_too_old_has_expired(
    cluster_client: ClusterClient, namespace: str
) -> None:
    watch = watch_once(
        cluster_client,
        Selection(JOBS, namespace),
        resource_version="1",
        silence_seconds=10.0,
        watch_seconds=5,
    )
    async with aclosing(watch) as events:
        try:
            seen = [event async for event in events]
        except ResourceExpired as failure:
            expired = failure
        else:
            assert all(isinstance(event, Changed | Deleted | StillWatching) for event in seen)
            pytest.skip("the server is minutes old and still has its whole history")

    assert expired.status == 410


async def test_watch_of_something_unknown_goes_on_trying(cluster_client: ClusterClient) -> None:
    selection = Selection(JOBS, "a", field_selector="no.such.field=x")
    async with aclosing(watch_objects(cluster_client, selection)) as events:
        lost = await next_of(WatchLost, events)
        assert isinstance(lost.error, ClusterError)
        assert isinstance((await next_of(WatchLost, events)).error, ClusterError)


@pytest.mark.long
@pytest.mark.timeout(200)
async def test_idle_watch_gets_a_bookmark_before_it_counts_as_silent(
    cluster_client: ClusterClient, namespace: str
) -> None:
    selection = Selection(JOBS, namespace, field_selector="metadata.name=none")
    async with aclosing(watch_objects(cluster_client, selection)) as events:
        assert isinstance(await anext(events), Listed)
        async with asyncio.timeout(150):
            assert isinstance(await anext(events), StillWatching)
