import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tasks.log_following.log_follower import FollowedLog
from tests.follower.following import Run


async def followed_through_rotation(run: Run, *, rotates_trailer: bool = False) -> FollowedLog:
    """Print more than a log file holds, let the follow hang at a rotation, end."""
    run.pod.hangs_at_rotation = True
    run.pod.start()
    following = asyncio.create_task(run.follower.follow())
    run.pod.print(b"x" * 2000)
    await run.delivered_until(1)
    run.pod.print(b"y" * 2000)
    run.pod.rotate()
    run.pod.print(b"z")
    run.pod.print_end()
    if rotates_trailer:
        run.pod.rotate()
    await asyncio.wait_for(run.pod.acknowledged.wait(), 10)
    run.end()
    return await following


@pytest.mark.parametrize(
    ("rotates_trailer", "silence_seconds"),
    [
        pytest.param(False, 0.5, id="dead after half a second"),
        pytest.param(True, 0.5, id="trailer rotated away as well"),
        pytest.param(False, 120.0, id="dead after two minutes, suspected after five seconds"),
    ],
)
async def test_follow_that_hangs_at_a_rotation_costs_no_line_and_not_the_acknowledgement(
    tmp_path: Path, rotates_trailer: bool, silence_seconds: float
) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(
            stack,
            tmp_path / "spool",
            acknowledge_above_bytes=1000,
            silence_seconds=silence_seconds,
        ).open()
        followed = await followed_through_rotation(run, rotates_trailer=rotates_trailer)

    assert run.payloads == [b"x" * 2000, b"y" * 2000, b"z"]
    assert followed.proof.complete is True


async def test_agent_that_printed_little_is_not_asked_why_it_is_silent(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool", silence_seconds=0.1).open()
        run.pod.start()
        run.pod.print(b"{}")
        following = asyncio.create_task(run.follower.follow())
        await asyncio.sleep(0.5)
        run.pod.print_end()
        await following

    assert "exec" not in run.pod.requests
    assert 3 <= len(run.pod.requests) <= 6
    assert run.payloads == [b"{}"]


async def test_ended_container_is_not_waited_for_behind_a_hanging_follow(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(stack, tmp_path / "spool", silence_seconds=120.0).open()
        run.pod.hangs_at_end = True
        run.pod.start()
        run.pod.print(b"{}")
        following = asyncio.create_task(run.follower.follow())
        await run.delivered_until(1)
        run.end()
        started_at = asyncio.get_running_loop().time()
        followed = await following

    assert asyncio.get_running_loop().time() - started_at < 6
    assert followed.proof.complete is None
    assert followed.gave_up is None
