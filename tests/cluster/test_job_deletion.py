"""Deleting an agent's Job while others change it, against the API server."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectNotFound
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import create_job, delete_job, patch_job, read_job
from tasks.observation.snapshots import JobSnapshot
from tasks.run.job_deletion import Deletion, delete_job_when
from tasks.vocabulary.names import ANNOTATION_OWNER_FLOW_RUN_ID, FlowRunId, JobUid
from tests.cluster.contract_objects import job, unique

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(60)]

ME, ANOTHER = FlowRunId("me"), FlowRunId("another")


class Watched:
    """A Job whose every look is counted, and answered by changing it first."""

    def __init__(self, client: ClusterClient, namespace: str, raw: JsonObject) -> None:
        self.client, self.namespace = client, namespace
        self.job = JobSnapshot.from_api(raw)
        self.looks = 0
        self.writes = 0

    async def annotate(self, key: str, value: str) -> None:
        patch = [expect("/metadata/uid", self.job.uid), put(annotation_path(key), value)]
        await patch_job(self.client, self.namespace, self.job.name, patch)

    async def delete(self) -> None:
        await delete_job(
            self.client,
            self.namespace,
            self.job.name,
            uid=self.job.uid,
            propagation=Propagation.BACKGROUND,
        )

    def count_write(self) -> None:
        self.writes += 1

    async def delete_after(
        self, changes: Iterator[tuple[str, str] | None], uid: str | None = None
    ) -> Deletion:
        """Delete it as `me` would, changing it after each look as long as `changes` says how."""

        async def is_right(found: JobSnapshot) -> bool:
            self.looks += 1
            change = next(changes, None)
            if change == ("", ""):
                await self.delete()
            elif change is not None:
                await self.annotate(*change)
            return found.owner_flow_run_id == ME

        return await delete_job_when(
            self.client,
            self.namespace,
            self.job.name,
            uid=JobUid(uid or self.job.uid),
            is_right=is_right,
            may_write=self.count_write,
            propagation=Propagation.BACKGROUND,
        )

    async def is_there(self) -> bool:
        try:
            found = await read_job(self.client, self.namespace, self.job.name)
        except ObjectNotFound:
            return False
        return "deletionTimestamp" not in found["metadata"]


@pytest.fixture
async def watched(cluster_client: ClusterClient, namespace: str) -> Watched:
    manifest = job(unique("deleted"), secret_name="never-made")
    manifest["metadata"]["annotations"][ANNOTATION_OWNER_FLOW_RUN_ID] = ME
    found = await create_job(cluster_client, namespace, manifest)
    # The Job's controller changes it once more: when it has made the pod, which waits for a Secret.
    while "active" not in found["status"]:
        await asyncio.sleep(0.1)
        found = await read_job(cluster_client, namespace, manifest["metadata"]["name"])
    return Watched(cluster_client, namespace, found)


GONE = ("", "")
COUNTED = ("counted", "a pod")
TAKEN_OVER = (ANNOTATION_OWNER_FLOW_RUN_ID, ANOTHER)


@pytest.mark.parametrize(
    ("changes", "deletion", "looks", "writes", "left"),
    [
        ([], Deletion.DELETED, 1, 1, False),
        ([COUNTED], Deletion.DELETED, 2, 2, False),
        ([COUNTED, ("counted", "two")], Deletion.DELETED, 3, 3, False),
        ([TAKEN_OVER], Deletion.KEPT, 2, 1, True),
        ([COUNTED, TAKEN_OVER], Deletion.KEPT, 3, 2, True),
        ([GONE], Deletion.GONE, 1, 1, False),
        ([("counted", str(n)) for n in range(9)], Deletion.CHANGED, 4, 4, True),
    ],
    ids=[
        "as-seen",
        "counter-moved",
        "counter-moved-twice",
        "taken-over",
        "counted-then-taken-over",
        "deleted-by-another",
        "changed-each-time",
    ],
)
async def test_job_that_changes_after_the_look_is_judged_again(
    watched: Watched,
    changes: list[tuple[str, str]],
    deletion: Deletion,
    looks: int,
    writes: int,
    left: bool,
) -> None:
    assert await watched.delete_after(iter(changes)) is deletion
    assert (watched.looks, watched.writes) == (looks, writes)
    assert await watched.is_there() is left


async def test_another_job_of_the_name_is_left(watched: Watched) -> None:
    assert await watched.delete_after(iter([]), uid="of-a-former-one") is Deletion.GONE
    assert (watched.looks, watched.writes) == (0, 0)
    assert await watched.is_there()


async def test_job_that_is_not_there_is_gone(cluster_client: ClusterClient, namespace: str) -> None:
    deletion = await delete_job_when(
        cluster_client,
        namespace,
        "never-made",
        uid=JobUid("u"),
        is_right=lambda _: True,
        propagation=Propagation.BACKGROUND,
    )

    assert deletion is Deletion.GONE


class Paused(Exception):
    pass


def pause() -> None:
    raise Paused


def refuse_to_judge(_: JobSnapshot) -> bool:
    raise Paused


def always(_: JobSnapshot) -> bool:
    return True


@pytest.mark.parametrize(
    ("is_right", "may_write"),
    [(refuse_to_judge, None), (always, pause)],
    ids=["judgement", "right-to-write"],
)
async def test_what_the_caller_raises_ends_it_unwritten(
    watched: Watched,
    is_right: Callable[[JobSnapshot], bool],
    may_write: Callable[[], None] | None,
) -> None:
    with pytest.raises(Paused):
        await delete_job_when(
            watched.client,
            watched.namespace,
            watched.job.name,
            uid=watched.job.uid,
            is_right=is_right,
            may_write=may_write,
            propagation=Propagation.BACKGROUND,
        )

    assert await watched.is_there()


async def test_not_found_of_what_the_judgement_reads_is_not_the_job_s(watched: Watched) -> None:
    async def look_elsewhere(_: JobSnapshot) -> bool:
        await read_job(watched.client, watched.namespace, "elsewhere")
        return True

    with pytest.raises(ObjectNotFound):
        await delete_job_when(
            watched.client,
            watched.namespace,
            watched.job.name,
            uid=watched.job.uid,
            is_right=look_elsewhere,
            propagation=Propagation.BACKGROUND,
        )
