"""A checkpoint comes from the keeper, is checked, and goes into the result storage."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tasks.agent_job.quantities import quantity_bytes
from tasks.keeper.keeper_commands import receive_checkpoint
from tasks.outcome.run_result import WorkResult
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.storage.storage_keys import bundle_key, patch_key, work_files_key
from tasks.storage.stored_checkpoints import StoredCheckpoint, Turn, read_checkpoint, turn_after
from tasks.work.checkpoint_stream import CheckpointReceiver
from tasks.work.collected_work import CheckedWork, StoredWork, collected_work
from tasks.work.pack_check import check_work


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    """What came of storing a checkpoint.

    Attributes:
        turn: Which of the two sets of keys it has.
        patch: File of this machine with all changes; null where nothing has changed.
        bundle: The same of the Git bundle.
        storage_problem: Why not all of it is stored, one sentence; null if it is.
    """

    result: WorkResult
    turn: Turn
    patch: Path | None
    bundle: Path | None
    storage_problem: str | None


async def receive_work(
    run: AgentRun,
    work: AttemptAtWork,
    pod_name: str,
    folder: Path,
    announced_id: str | None = None,
) -> CheckedWork:
    """Receive a checkpoint into an empty `folder`, and check it.

    Args:
        run: Whose connection is used.
        work: The Job at work.
        pod_name: Its pod.
        folder: Made anew.
        announced_id: One that the keeper has announced; without it, one is made now.

    Raises:
        CheckpointReplaced: The announced one is not there any more.
        ClusterError: It could not be had, for now.
        WorkDamaged: What came is no checkpoint.
        GitMissing: This machine has no Git to check it.
        OSError: The folder has no room.
    """
    await asyncio.to_thread(_make_empty, folder)
    limit_bytes = quantity_bytes(run.prepared.runtime.resources.work_limit)
    await receive_checkpoint(
        run, work, pod_name, CheckpointReceiver(folder, limit_bytes), announced_id
    )
    return await check_work(folder)


async def store_work(run: AgentRun, work: AttemptAtWork, checked: CheckedWork) -> StoredReceipt:
    """Store the files of a checkpoint, beside those of the last one; raises nothing."""
    path, storage = work.storage_folder, run.outside.storage
    turn = turn_after(await last_checkpoint(run, work))
    files = {
        "bundle_key": (bundle_key(path, turn), checked.bundle and checked.bundle.path),
        "patch_key": (patch_key(path, turn), checked.patch),
        "files_key": (work_files_key(path, turn), checked.files),
    }
    keys: dict[str, str] = {}
    problem: str | None = None
    try:
        run.outside.lease.check_may_write()
        for name, (key, source) in files.items():
            if source is not None:
                await storage.write_file(key, source)
                keys[name] = key
    except Exception as error:
        # Storages raise whatever their libraries do; none of it may change more than the delivery.
        problem = f"It could not be stored ({type(error).__name__})."
    return StoredReceipt(
        result=collected_work(checked, StoredWork(**keys), problem),
        turn=turn,
        patch=checked.patch,
        bundle=checked.bundle.path if checked.bundle is not None else None,
        storage_problem=problem,
    )


async def last_checkpoint(run: AgentRun, work: AttemptAtWork) -> StoredCheckpoint | None:
    """Return the attempt's last checkpoint that is stored; `None` also if it cannot be read."""
    try:
        return await read_checkpoint(run.outside.storage, work.storage_folder)
    except ValidationError:
        return None
    except Exception as error:
        # As above: whatever their libraries do.
        run.outside.say(f"The last checkpoint could not be read ({type(error).__name__}).")
        return None


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
