import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tasks.claude_code.read_policy import FollowLog, PodView, ReadPolicy
from tasks.claude_code.transcript import Transcript
from tests.follower.log_api import TOKEN
from tests.follower.test_log_follower_faults import Run

RUNNING = PodView(container_started=True, container_ended=False, pod_gone=False)


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("exec_allowed", [True, False])
def test_follow_opened_before_much_was_printed_becomes_too_patient(exec_allowed: bool) -> None:
    transcript = Transcript(TOKEN)
    policy = ReadPolicy(transcript, exec_allowed=exec_allowed, acknowledge_above_bytes=1000)
    follow = policy.next_step(0.0, RUNNING)
    assert isinstance(follow, FollowLog)
    transcript.accept(b"%s o 1 3 abc" % TOKEN.encode())
    assert not policy.is_too_patient(follow)
    transcript.accept(b"%s o 2 1000 %s" % (TOKEN.encode(), b"x" * 1000))

    # Without exec nothing would be done about it.
    assert policy.is_too_patient(follow) is exec_allowed


async def test_follow_is_opened_anew_once_more_was_printed_than_a_log_file_holds(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        run = await Run(
            stack, tmp_path / "spool", acknowledge_above_bytes=1000, silence_seconds=120.0
        ).open()
        run.pod.start()
        run.pod.print(b"{}")
        following = asyncio.create_task(run.follower.follow())
        await until(lambda: bool(run.delivered))
        assert run.pod.requests == ["follow all"]
        run.pod.print(b"x" * 2000)
        await until(lambda: len(run.pod.requests) > 1)
        run.pod.print_end()
        await asyncio.wait_for(run.pod.acknowledged.wait(), 10)
        run.end()
        followed = await following

    assert run.pod.requests[1].startswith("follow ")
    assert followed.proof.complete is True
