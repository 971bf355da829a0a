"""Checkpoints of an agent's work, brought into the result storage while it works."""

import asyncio
import shutil

from tasks.cluster.cluster_errors import ClusterError
from tasks.keeper.keeper_commands import CheckpointReplaced, announced_checkpoints
from tasks.keeper.work_receipt import receive_work, store_work
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.storage.stored_checkpoints import StoredCheckpoint, write_checkpoint
from tasks.work.checkpoint_announcements import AnnouncedCheckpoint
from tasks.work.checkpoint_stream import WorkDamaged
from tasks.work.collected_work import CheckedWork
from tasks.work.restricted_git import GitMissing

_RECEIVE_SECONDS = 600.0
# What the end of an agent waits for a checkpoint that is being stored.
_STORE_SECONDS = 120.0


async def keep_checkpoints(run: AgentRun, work: AttemptAtWork, pod_name: str) -> None:
    """Store each checkpoint that the keeper announces, until cancelled or until its pod is gone.

    One that cannot be had is passed over; the work of the agent's end is collected by itself. What
    is being stored when this is cancelled is stored to its end, since a storage may go on writing.

    Args:
        run: In whose name they are stored.
        work: The Job at work, whose pod has a keeper.
        pod_name: Its pod.
    """
    told = False
    async for announced in announced_checkpoints(run, work, pod_name):
        try:
            problem = await _keep(run, work, pod_name, announced)
        except CheckpointReplaced:
            continue
        except TimeoutError:
            problem = "receiving it took too long."
        except (ClusterError, WorkDamaged, GitMissing, OSError) as error:
            problem = str(error)
        if problem is not None and not told:
            run.outside.say(f"A checkpoint of the work was not stored: {problem}")
        told = problem is not None


async def _keep(
    run: AgentRun, work: AttemptAtWork, pod_name: str, announced: AnnouncedCheckpoint
) -> str | None:
    """Receive one, and store it; return why it is not stored, if so.

    Cancelled while it is being stored, it is stored to its end first.
    """
    folder = run.outside.folder_path / f"{work.job_uid}-checkpoint"
    try:
        async with asyncio.timeout(_RECEIVE_SECONDS):
            checked = await receive_work(run, work, pod_name, folder, announced.checkpoint_id)
        storing = asyncio.create_task(_store(run, work, announced, checked))
        try:
            return await asyncio.shield(storing)
        except asyncio.CancelledError:
            # A thread that writes to the storage cannot be stopped, and the same keys come next.
            await asyncio.wait({storing}, timeout=_STORE_SECONDS)
            storing.cancel()
            raise
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _store(
    run: AgentRun, work: AttemptAtWork, announced: AnnouncedCheckpoint, checked: CheckedWork
) -> str | None:
    async with work.storing_work:
        receipt = await store_work(run, work, checked)
        if receipt.storage_problem is not None:
            return receipt.storage_problem
        checkpoint = StoredCheckpoint(
            turn=receipt.turn, made_at=announced.made_at, work=receipt.result
        )
        try:
            await write_checkpoint(run.outside.storage, work.storage_folder, checkpoint)
        except Exception as error:
            # Storages raise whatever their libraries do.
            return f"It could not be noted ({type(error).__name__})."
    if receipt.result.changes is not None:
        run.outside.say(f"Stored a checkpoint of the work: {receipt.result.changes}.")
    return None
