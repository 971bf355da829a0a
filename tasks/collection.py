"""What the agent made leaves its pod: received from the keeper, checked, and stored."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

from tasks.agent_job.quantities import quantity_bytes
from tasks.cluster.cluster_errors import ClusterError, ClusterForbidden, ObjectNotFound
from tasks.observation.snapshots import PodSnapshot
from tasks.orchestrator.stage import stage
from tasks.pod import wait_for_news
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.ended_attempt import CollectedWork
from tasks.run.keeper_commands import finish_keeper, receive_checkpoint
from tasks.storage.storage_keys import bundle_key, patch_key, work_files_key
from tasks.vocabulary.names import KEEPER_CONTAINER
from tasks.work.checkpoint_stream import CheckpointReceiver, WorkDamaged
from tasks.work.collected_work import CheckedWork, StoredWork, collected_work, uncollected_work
from tasks.work.pack_check import check_work
from tasks.work.restricted_git import GitMissing

# Of all of it together: 256 MiB on a slow connection, their check, and a slow storage.
_COLLECT_SECONDS = 900.0
# What a process about to be killed needs for verdict, report and Job.
_CONCLUDE_SECONDS = 6.0
_LOOK_SECONDS = 0.5


@stage("Collect work")
async def collect_work(
    run: AgentRun, work: AttemptAtWork, *, may_wait: bool = True
) -> CollectedWork | None:
    """Wait for the agent's end, then bring what it made into the result storage, if that can be.

    The keeper goes on holding the work until the run's result is stored, so a process that is
    killed meanwhile loses nothing. Only of a Job that is being deleted it ends at once: its pod
    waits for it, and no later run finds it.

    Args:
        run: In whose name the work is stored.
        work: The Job at work, whose pod has a keeper.
        may_wait: Whether the Job may stay for a later run where only a later try can help.

    Returns:
        `None` if no agent has started.
    """
    while not work.agent_is_over:
        await wait_for_news(run, work, work.observer.observation.version, _LOOK_SECONDS)
    if not _has_started(work):
        return None
    collected = await _try_to_collect(run, work)
    if work.stopping is not None or (work.pod is not None and work.pod.deleting):
        await finish_keeper(run, work)
        may_wait = False
    if collected.keeper_waits and not may_wait:
        collected = replace(collected, keeper_waits=False)
    if collected.result.problem is not None:
        run.outside.say(f"The work was not collected: {collected.result.problem}")
    return collected


def leave_work(run: AgentRun, problem: str) -> CollectedWork:
    """Return that the work was not collected, for a reason that the next run may not meet."""
    run.outside.say(f"The work was not collected: {problem}")
    return _not_yet(problem)


def _has_started(work: AttemptAtWork) -> bool:
    agent = work.pod.agent if work.pod is not None else None
    return work.agent_started or (agent is not None and agent.has_run is not False)


async def _try_to_collect(run: AgentRun, work: AttemptAtWork) -> CollectedWork:
    folder = run.outside.folder_path / f"{work.job_uid}-work"
    controls = run.outside.controls
    try:
        async with asyncio.timeout(
            controls.bounded(_COLLECT_SECONDS, leaving_seconds=_CONCLUDE_SECONDS)
        ):
            return await _collect(run, work, folder)
    except TimeoutError:
        return _not_yet("Collecting it took longer than the time there was.")
    except ClusterError as error:
        return _not_yet(_explain(error))
    except GitMissing as error:
        return _not_yet(f"{error} Install it there.")
    except WorkDamaged as error:
        return CollectedWork(result=uncollected_work(str(error)))
    except OSError as error:
        return _not_yet(f"A file that it needs could not be written: {error.strerror}.")


def _not_yet(problem: str) -> CollectedWork:
    return CollectedWork(result=uncollected_work(problem), keeper_waits=True)


def _explain(error: ClusterError) -> str:
    if isinstance(error, ClusterForbidden):
        return f"A command in its pod was refused (get and create of pods/exec): {error.message}"
    return error.message


async def _collect(run: AgentRun, work: AttemptAtWork, folder: Path) -> CollectedWork:
    pod = work.pod
    lost = _why_lost(work, pod)
    if pod is None or lost is not None:
        return CollectedWork(result=uncollected_work(lost or "Its pod was not seen."))
    await asyncio.to_thread(_make_empty, folder)
    limit_bytes = quantity_bytes(run.prepared.runtime.resources.work_limit)
    receiver = CheckpointReceiver(folder, limit_bytes)
    try:
        await receive_checkpoint(run, work, pod.name, receiver)
    except ObjectNotFound:
        return CollectedWork(result=uncollected_work("Its pod is gone."))
    checked = await check_work(folder)
    stored, problem = await _store(run, work, checked)
    result = collected_work(checked, stored, problem)
    if result.changes is not None:
        run.outside.say(f"Collected the work: {result.changes}.")
    return CollectedWork(
        result=result,
        patch=checked.patch,
        bundle=checked.bundle.path if checked.bundle is not None else None,
        keeper_waits=problem is not None,
    )


def _why_lost(work: AttemptAtWork, pod: PodSnapshot | None) -> str | None:
    """Return why nothing can be had from the keeper any more, as far as is known."""
    if pod is None or work.pod_is_gone:
        return "Its pod is gone."
    keeper = next((item for item in pod.containers if item.name == KEEPER_CONTAINER), None)
    if keeper is not None and keeper.terminated is not None:
        return f"The keeper in its pod {keeper.terminated.words} before the work was collected."
    return None


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _store(
    run: AgentRun, work: AttemptAtWork, checked: CheckedWork
) -> tuple[StoredWork, str | None]:
    """Store the files of the work; return their keys, and why not all of them are stored."""
    path, storage = work.storage_folder, run.outside.storage
    files = {
        "bundle_key": (bundle_key(path), checked.bundle and checked.bundle.path),
        "patch_key": (patch_key(path), checked.patch),
        "files_key": (work_files_key(path), checked.files),
    }
    keys: dict[str, str] = {}
    try:
        run.outside.lease.check_may_write()
        for name, (key, source) in files.items():
            if source is not None:
                await storage.write_file(key, source)
                keys[name] = key
    except Exception as error:
        # Storages raise whatever their libraries do; none of it may change more than the delivery.
        return StoredWork(**keys), f"It could not be stored ({type(error).__name__})."
    return StoredWork(**keys), None
