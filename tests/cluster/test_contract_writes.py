"""What the API server does with conditional writes: Lease updates, JSON patches, preconditions."""

import asyncio

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectConflict, ObjectInvalid, ObjectNotFound, PatchRefused
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import create_job, delete_job, patch_job, read_job
from tasks.cluster.kinds.leases import create_lease, delete_lease, read_lease, replace_lease
from tasks.cluster.kinds.secrets import create_secret, delete_secret, read_secret
from tests.cluster.contract_objects import job, lease, secret, unique

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(60)]

# Never starts: its pod waits for a Secret that nobody makes.
INERT = {"secret_name": "never-made"}


async def inert_job(client: ClusterClient, namespace: str) -> JsonObject:
    return await create_job(client, namespace, job(unique("inert"), **INERT))


async def test_lease_keeps_what_was_written_and_counts_its_versions(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await create_lease(cluster_client, namespace, lease(unique("lease")))
    stored["spec"]["holderIdentity"] = ""
    stored["spec"]["leaseTransitions"] = 7
    stored["spec"]["renewTime"] = "2026-01-01T12:00:00.123456Z"
    written = await replace_lease(cluster_client, namespace, stored)
    read = await read_lease(cluster_client, namespace, stored["metadata"]["name"])

    assert read["spec"] == {
        "holderIdentity": "",
        "leaseDurationSeconds": 60,
        "leaseTransitions": 7,
        "renewTime": "2026-01-01T12:00:00.123456Z",
    }
    assert read["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
    assert read["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"]


async def test_lease_update_under_an_old_version_is_a_conflict(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await create_lease(cluster_client, namespace, lease(unique("lease")))
    mine = {**stored, "spec": {**stored["spec"], "holderIdentity": "other"}}
    await replace_lease(cluster_client, namespace, mine)
    with pytest.raises(ObjectConflict) as caught:
        await replace_lease(cluster_client, namespace, stored)

    assert type(caught.value) is ObjectConflict
    assert caught.value.answer.reason == "Conflict"


async def test_of_many_who_take_a_lease_one_wins(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await create_lease(cluster_client, namespace, lease(unique("race"), ""))

    async def take(holder: str) -> bool:
        mine = {**stored, "spec": {**stored["spec"], "holderIdentity": holder}}
        try:
            await replace_lease(cluster_client, namespace, mine)
        except ObjectConflict:
            return False
        return True

    won = await asyncio.gather(*(take(f"holder-{index}") for index in range(8)))
    read = await read_lease(cluster_client, namespace, stored["metadata"]["name"])

    assert won.count(True) == 1
    assert read["spec"]["holderIdentity"] == f"holder-{won.index(True)}"


async def test_update_of_a_lease_that_is_gone_does_not_bring_it_back(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await create_lease(cluster_client, namespace, lease(unique("lease")))
    metadata = stored["metadata"]
    await delete_lease(
        cluster_client,
        namespace,
        metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )
    with pytest.raises((ObjectConflict, ObjectNotFound)):
        await replace_lease(cluster_client, namespace, stored)
    with pytest.raises(ObjectNotFound):
        await read_lease(cluster_client, namespace, metadata["name"])


async def test_lease_that_was_taken_meanwhile_is_not_deleted(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await create_lease(cluster_client, namespace, lease(unique("lease")))
    taken = {**stored, "spec": {**stored["spec"], "holderIdentity": "other"}}
    await replace_lease(cluster_client, namespace, taken)
    metadata = stored["metadata"]
    with pytest.raises(ObjectConflict):
        await delete_lease(
            cluster_client,
            namespace,
            metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )

    assert await read_lease(cluster_client, namespace, metadata["name"])


async def test_patch_whose_tests_hold_is_applied(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await inert_job(cluster_client, namespace)
    name, uid = stored["metadata"]["name"], stored["metadata"]["uid"]
    patched = await patch_job(
        cluster_client,
        namespace,
        name,
        [
            expect("/metadata/uid", uid),
            expect(annotation_path("owner"), "me"),
            put(annotation_path("owner"), "you"),
            put(annotation_path("claude-jobs.dev/harvested-at"), "now"),
            put("/metadata/labels/claude-jobs.dev~1x", "y"),
            put("/spec/ttlSecondsAfterFinished", 300),
        ],
    )

    assert patched["metadata"]["annotations"] == {
        "owner": "you",
        "claude-jobs.dev/harvested-at": "now",
    }
    assert patched["metadata"]["labels"]["claude-jobs.dev/x"] == "y"
    assert patched["spec"]["ttlSecondsAfterFinished"] == 300


@pytest.mark.parametrize(
    "test",
    [
        expect("/metadata/uid", "another"),
        expect("/metadata/resourceVersion", "1"),
        expect(annotation_path("owner"), "somebody"),
        expect(annotation_path("absent"), "me"),
        {"op": "test", "path": "/metadata/absent/deeper", "value": "me"},
    ],
    ids=["uid", "version", "annotation", "absent annotation", "absent parent"],
)
async def test_patch_whose_test_fails_is_a_lost_race_and_changes_nothing(
    cluster_client: ClusterClient, namespace: str, test: JsonObject
) -> None:
    stored = await inert_job(cluster_client, namespace)
    name = stored["metadata"]["name"]
    with pytest.raises(PatchRefused) as caught:
        await patch_job(cluster_client, namespace, name, [test, put(annotation_path("owner"), "x")])

    assert (caught.value.status, caught.value.answer.reason) == (422, "Invalid")
    read = await read_job(cluster_client, namespace, name)
    assert read["metadata"]["annotations"] == {"owner": "me"}


async def test_patch_can_test_that_an_annotation_is_absent(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await inert_job(cluster_client, namespace)
    name = stored["metadata"]["name"]
    claim = [
        expect(annotation_path("harvested"), None),
        put(annotation_path("harvested"), "now"),
    ]
    await patch_job(cluster_client, namespace, name, claim)
    with pytest.raises(PatchRefused):
        await patch_job(cluster_client, namespace, name, claim)


async def test_patch_of_a_fixed_field_is_invalid_and_no_lost_race(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await inert_job(cluster_client, namespace)
    metadata = stored["metadata"]
    patch = [
        expect("/metadata/uid", metadata["uid"]),
        put("/spec/template/spec/restartPolicy", "OnFailure"),
    ]
    with pytest.raises(ObjectInvalid) as caught:
        await patch_job(cluster_client, namespace, metadata["name"], patch)

    assert type(caught.value) is ObjectInvalid


async def test_patch_of_a_missing_job_is_not_found(
    cluster_client: ClusterClient, namespace: str
) -> None:
    with pytest.raises(ObjectNotFound):
        await patch_job(cluster_client, namespace, "none", [expect("/metadata/uid", "x")])


async def test_delete_that_names_another_uid_is_a_conflict(
    cluster_client: ClusterClient, namespace: str
) -> None:
    stored = await inert_job(cluster_client, namespace)
    name = stored["metadata"]["name"]
    with pytest.raises(ObjectConflict):
        await delete_job(
            cluster_client, namespace, name, uid="another", propagation=Propagation.BACKGROUND
        )

    read = await read_job(cluster_client, namespace, name)
    assert "deletionTimestamp" not in read["metadata"]


async def test_delete_that_names_an_old_version_is_a_conflict(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("versioned")
    stored = await create_secret(cluster_client, namespace, secret(name, a="b"))
    metadata = stored["metadata"]
    with pytest.raises(ObjectConflict):
        await delete_secret(
            cluster_client, namespace, name, uid=metadata["uid"], resource_version="1"
        )
    await delete_secret(
        cluster_client,
        namespace,
        name,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )
    with pytest.raises(ObjectNotFound):
        await read_secret(cluster_client, namespace, name)


async def test_second_delete_of_an_object_that_went_is_not_found(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("gone")
    stored = await create_secret(cluster_client, namespace, secret(name, a="b"))
    uid = stored["metadata"]["uid"]
    await delete_secret(cluster_client, namespace, name, uid=uid)
    with pytest.raises(ObjectNotFound):
        await delete_secret(cluster_client, namespace, name, uid=uid)
