import pytest
from aiohttp import web

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import delete_job, patch_job
from tasks.cluster.kinds.leases import replace_lease
from tests.scripted_api import serve


async def good(_: web.Request) -> web.StreamResponse:
    return web.json_response({})


@pytest.mark.parametrize(
    "metadata", [{"name": "x", "uid": "u"}, {"name": "x", "resourceVersion": "1"}]
)
async def test_replacement_without_version_or_uid_is_never_sent(metadata: dict[str, str]) -> None:
    async with serve(good) as api, ClusterClient(api.connection) as client:
        with pytest.raises(ValueError, match="UID and resourceVersion"):
            await replace_lease(client, "a", {"metadata": metadata})

    assert api.requests == []


async def test_patch_without_a_test_is_never_sent() -> None:
    async with serve(good) as api, ClusterClient(api.connection) as client:
        with pytest.raises(ValueError, match="must test"):
            await patch_job(client, "a", "j", [put(annotation_path("x"), "y")])

    assert api.requests == []


async def test_delete_without_a_uid_is_never_sent() -> None:
    async with serve(good) as api, ClusterClient(api.connection) as client:
        with pytest.raises(ValueError, match="UID"):
            await delete_job(client, "a", "j", uid="", propagation=Propagation.BACKGROUND)

    assert api.requests == []


async def test_delete_names_policy_uid_and_version() -> None:
    bodies: list[object] = []

    async def remember(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.json_response({"kind": "Status", "status": "Success"})

    async with serve(remember) as api, ClusterClient(api.connection) as client:
        await delete_job(
            client,
            "a",
            "j",
            uid="u",
            propagation=Propagation.FOREGROUND,
            resource_version="7",
        )

    assert bodies == [
        {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": "u", "resourceVersion": "7"},
            "propagationPolicy": "Foreground",
        }
    ]


def test_patch_paths_escape_what_json_pointers_reserve() -> None:
    assert expect(annotation_path("claude-jobs.dev/a~b"), "v") == {
        "op": "test",
        "path": "/metadata/annotations/claude-jobs.dev~1a~0b",
        "value": "v",
    }
