"""Who counts as cancelled: a flow run, and every run that it is a part of."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.states import Cancelled, Cancelling, Running

from tasks.orchestrator.flow_run_states import CancellationReader

pytestmark = [pytest.mark.usefixtures("block_server"), pytest.mark.timeout(120)]


@flow
async def some_flow() -> None:
    """What the runs are of; it is never called."""


@task
async def some_task() -> None:
    """What links a run to the one that it is a part of."""


@pytest.fixture
async def api() -> AsyncIterator[PrefectClient]:
    async with get_client() as opened:
        yield opened


async def create_run(api: PrefectClient, part_of: UUID | None = None) -> UUID:
    """Create a running flow run as Prefect does: a subflow's parent is named by a task run."""
    link = None
    if part_of is not None:
        link = await api.create_task_run(some_task, part_of, dynamic_key=str(uuid4()))
    created = await api.create_flow_run(
        some_flow, parent_task_run_id=link.id if link else None, state=Running()
    )
    return created.id


async def test_run_whose_ancestor_is_cancelled_is_cancelled(api: PrefectClient) -> None:
    grandparent = await create_run(api)
    parent = await create_run(api, part_of=grandparent)
    child = CancellationReader(await create_run(api, part_of=parent))
    assert await child.is_cancelled() is False

    await api.set_flow_run_state(grandparent, Cancelling(), force=True)

    assert await child.is_cancelled() is True
    assert await CancellationReader(parent).is_cancelled() is True


async def test_run_whose_parent_was_cancelled_long_ago_learns_it_at_the_first_look(
    api: PrefectClient,
) -> None:
    parent = await create_run(api)
    child = await create_run(api, part_of=parent)
    await api.set_flow_run_state(parent, Cancelled(), force=True)

    assert await CancellationReader(child).is_cancelled() is True


async def test_run_whose_sibling_or_child_is_cancelled_is_not(api: PrefectClient) -> None:
    parent = await create_run(api)
    sibling = await create_run(api, part_of=parent)
    run = await create_run(api, part_of=parent)
    child = await create_run(api, part_of=run)
    for cancelled in (sibling, child):
        await api.set_flow_run_state(cancelled, Cancelling(), force=True)

    assert await CancellationReader(run).is_cancelled() is False


async def test_run_that_was_deleted_from_the_api_is_not(api: PrefectClient) -> None:
    deleted = await create_run(api)
    await api.delete_flow_run(deleted)

    assert await CancellationReader(deleted).is_cancelled() is False
