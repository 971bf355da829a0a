import asyncio

import pytest
from aiohttp import web

from tasks.cluster.cluster_client import ClusterClient
from tasks.run.run_permissions import may_exec
from tests.scripted_api import Answer, serve, status


def reviewing(*allowed: str) -> Answer:
    """An API server that allows these verbs on pods/exec in namespace `a`, and nothing else."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["spec"]["resourceAttributes"]
        place = [asked[key] for key in ("namespace", "group", "resource", "subresource")]
        is_allowed = asked["verb"] in allowed and place == ["a", "", "pods", "exec"]
        return web.json_response(
            {"kind": "SelfSubjectAccessReview", "status": {"allowed": is_allowed}}, status=201
        )

    return answer


def refusing(code: int) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return status(code)

    return answer


async def is_permitted_by(answer: Answer) -> bool:
    async with serve(answer) as api, ClusterClient(api.connection) as client:
        return await may_exec(client, "a")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [((), False), (("get",), False), (("create",), False), (("get", "create"), True)],
)
async def test_exec_is_permitted_by_both_verbs_alone(
    allowed: tuple[str, ...], expected: bool
) -> None:
    assert await is_permitted_by(reviewing(*allowed)) is expected


@pytest.mark.parametrize("answer", [refusing(403), refusing(400)], ids=["403", "400"])
async def test_refused_question_counts_as_a_yes(answer: Answer) -> None:
    assert await is_permitted_by(answer)


async def test_question_without_an_answer_counts_as_a_yes_within_seconds() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    began = asyncio.get_running_loop().time()

    assert await is_permitted_by(hang)
    assert asyncio.get_running_loop().time() - began < 8
