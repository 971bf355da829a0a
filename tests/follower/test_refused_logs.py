import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from tests.follower.following import Run
from tests.scripted_api import status

KUBELET_SAYS = "unable to retrieve container logs for containerd://0123"
REFUSALS = [
    pytest.param(lambda: status(500, "InternalError", message="no such host"), id="500"),
    pytest.param(lambda: status(403, "Forbidden", message="nodes/proxy"), id="403"),
    pytest.param(lambda: web.Response(text=KUBELET_SAYS), id="200 with the kubelet's excuse"),
    pytest.param(lambda: web.Response(text=KUBELET_SAYS + "\n"), id="200, with its newline"),
]
Refusal = Callable[[], web.Response]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_refused_log_is_had_from_the_copy_while_the_agent_lives(
    refusal: Refusal, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool").open()
        run.pod.log_answer = refusal
        run.pod.start()
        following = asyncio.create_task(run.follower.follow())
        run.pod.print(b"one")
        await asyncio.wait_for(run.delivered_until(1), 10)
        run.pod.print(b"two")
        await asyncio.wait_for(run.delivered_until(2), 10)
        run.pod.print(b"three")
        run.pod.print_end()
        await asyncio.wait_for(run.pod.acknowledged.wait(), 10)
        run.end()
        followed = await following

    assert run.pod.held.is_set()
    assert run.payloads == [b"one", b"two", b"three"]
    assert followed.proof.complete is True
    assert followed.gave_up is None
    assert followed.log_refusal is not None


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_log_that_is_refused_for_a_while_comes_once(refusal: Refusal, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool").open()
        run.pod.start()
        run.pod.print(b"one")
        following = asyncio.create_task(run.follower.follow())
        await asyncio.wait_for(run.delivered_until(1), 10)
        run.pod.log_answer = refusal
        run.pod.rotate()
        run.pod.print(b"two")
        await asyncio.wait_for(run.delivered_until(2), 10)
        await asyncio.wait_for(run.pod.held.wait(), 10)
        run.pod.log_answer = None
        run.pod.print(b"three")
        await asyncio.wait_for(run.delivered_until(3), 10)
        run.pod.print_end()
        await asyncio.wait_for(run.pod.acknowledged.wait(), 10)
        run.end()
        followed = await following

    assert run.payloads == [b"one", b"two", b"three"]
    assert followed.proof.complete is True
    assert followed.log_refusal is None


async def test_refused_log_without_exec_is_told_with_its_reason(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool", exec_allowed=False).open()
        run.pod.log_answer = lambda: web.Response(text=KUBELET_SAYS)
        run.pod.tells_termination = True
        run.pod.start()
        run.pod.print(b"one")
        run.pod.print_end()
        run.end()
        followed = await asyncio.wait_for(run.follower.follow(), 20)

    assert run.payloads == []
    assert followed.proof.complete is False
    assert KUBELET_SAYS in (followed.log_refusal or "")
    assert KUBELET_SAYS in (followed.gave_up or "")


async def test_line_of_the_container_runtime_is_kept_to_be_quoted(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool").open()
        run.pod.started = True
        run.pod.print_foreign(b"exec /bin/sh: exec format error")
        run.end()
        followed = await asyncio.wait_for(run.follower.follow(), 20)

    assert run.payloads == []
    assert followed.foreign_line == b"exec /bin/sh: exec format error"
