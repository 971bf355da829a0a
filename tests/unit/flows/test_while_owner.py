"""Losing the Lease ends the block under it, however the block would have ended by itself."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.run.owning import while_owner
from tasks.run.agent_run import AgentRun
from tasks.run.lease_keeper import LeaseLost
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError

FAILURE = AgentRunError(ErrorCode.JOB_CREATE_FAILED, "It failed.")


@dataclass
class Lease:
    """A Lease that is lost when told so; `confirm` learns of losses that `keep` did not hear of."""

    lost: asyncio.Event = field(default_factory=asyncio.Event)
    lost_unheard: bool = False
    is_doubtful: bool = False
    is_kept: bool = False

    async def keep(self) -> None:
        self.is_kept = True
        try:
            await self.lost.wait()
            raise LeaseLost("another")
        finally:
            self.is_kept = False

    async def confirm(self) -> None:
        await asyncio.sleep(0)
        if self.lost_unheard:
            raise LeaseLost("another")


def _run(lease: Lease) -> AgentRun:
    return cast("AgentRun", SimpleNamespace(outside=SimpleNamespace(lease=lease)))


async def test_block_is_stopped_when_the_lease_is_lost() -> None:
    lease, reached = Lease(), list[str]()

    async def work() -> None:
        async with while_owner(_run(lease)):
            lease.lost.set()
            await asyncio.sleep(60)
            reached.append("the end")

    with pytest.raises(LeaseLost):
        await work()
    assert reached == []
    # The cancellation was our own: nothing of it is left on the task.
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    await asyncio.sleep(0)


@pytest.mark.parametrize("doubtful", [True, False])
async def test_failure_counts_only_while_the_lease_is_ours(doubtful: bool) -> None:
    lease = Lease(lost_unheard=doubtful)

    with pytest.raises(LeaseLost if doubtful else AgentRunError) as caught:
        async with while_owner(_run(lease)):
            raise FAILURE

    assert (caught.value is FAILURE) is not doubtful
    assert not lease.is_kept


@pytest.mark.parametrize("doubtful", [True, False])
async def test_end_after_a_late_renewal_counts_only_if_confirmed(doubtful: bool) -> None:
    lease = Lease(lost_unheard=True, is_doubtful=doubtful)
    ended = False

    async def work() -> None:
        nonlocal ended
        async with while_owner(_run(lease)):
            await asyncio.sleep(0)
        ended = True

    if doubtful:
        with pytest.raises(LeaseLost):
            await work()
    else:
        await work()
    assert ended is not doubtful


async def test_cancellation_from_outside_is_one() -> None:
    lease = Lease()
    task = asyncio.create_task(_work_for_ever(lease))
    await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lease.is_kept


async def test_cancellation_from_outside_wins_over_a_loss_at_the_same_moment() -> None:
    lease = Lease()
    task = asyncio.create_task(_work_for_ever(lease))
    await asyncio.sleep(0.01)

    lease.lost.set()
    await asyncio.sleep(0)
    task.cancel()

    done, _ = await asyncio.wait({task}, timeout=5)
    assert done == {task}
    error: Any = None if task.cancelled() else task.exception()
    # Either is true; what must not be is that the task goes on, or ends well.
    assert task.cancelled() or isinstance(error, LeaseLost)


async def _work_for_ever(lease: Lease) -> None:
    async with while_owner(_run(lease)):
        await asyncio.sleep(60)
    raise AssertionError("the block has ended")
