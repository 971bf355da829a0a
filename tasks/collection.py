"""What the agent made leaves its pod: received from the keeper, checked, and stored."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tasks.cluster.cluster_errors import ClusterError, ClusterForbidden, ObjectNotFound
from tasks.keeper.checkpoint_keeping import keep_checkpoints
from tasks.keeper.keeper_commands import finish_keeper
from tasks.keeper.work_receipt import last_checkpoint, receive_work, store_work
from tasks.observation.snapshots import PodSnapshot
from tasks.orchestrator.stage import stage
from tasks.pod import wait_for_news
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.ended_attempt import CollectedWork
from tasks.vocabulary.names import KEEPER_CONTAINER
from tasks.work.checkpoint_stream import WorkDamaged
from tasks.work.collected_work import uncollected_work, work_of_checkpoint
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
    async with _checkpoints_kept(run, work):
        if not _has_started(work):
            return None
        collected = await _try_to_collect(run, work)
    if work.stopping is not None or (work.pod is not None and work.pod.deleting):
        await finish_keeper(run, work)
        may_wait = False
    if collected.keeper_waits and not may_wait:
        collected = replace(collected, keeper_waits=False)
    if collected.result.problem is not None and collected.result.bundle_key is None:
        async with work.storing_work:
            collected = await _with_checkpoint(run, work, collected)
    if collected.result.problem is not None:
        run.outside.say(f"The work was not collected: {collected.result.problem}")
    return collected


async def _with_checkpoint(
    run: AgentRun, work: AttemptAtWork, collected: CollectedWork
) -> CollectedWork:
    """Return the last checkpoint in place of work that could not be had."""
    checkpoint = await last_checkpoint(run, work)
    if checkpoint is None:
        return collected
    problem = collected.result.problem or "Its end was not seen."
    result = work_of_checkpoint(checkpoint.work, checkpoint.made_at, problem)
    return replace(collected, result=result)


async def leave_work(run: AgentRun, work: AttemptAtWork, problem: str) -> CollectedWork:
    """Return that the work was not collected, for a reason that the next run may not meet."""
    run.outside.say(f"The work was not collected: {problem}")
    return await _with_checkpoint(run, work, _not_yet(problem))


def _has_started(work: AttemptAtWork) -> bool:
    agent = work.pod.agent if work.pod is not None else None
    return work.agent_started or (agent is not None and agent.has_run is not False)


@asynccontextmanager
async def _checkpoints_kept(run: AgentRun, work: AttemptAtWork) -> AsyncGenerator[None, None]:
    """Wait for the agent's end, and store the checkpoints that come before.

    One that is still being stored then is so beside the block, for a pod that is being deleted
    gives its work no longer than its grace.
    """
    keeping: asyncio.Task[None] | None = None
    try:
        try:
            while not work.agent_is_over:
                if keeping is None and work.agent_started and work.pod is not None:
                    keeping = asyncio.create_task(keep_checkpoints(run, work, work.pod.name))
                seen = work.observer.observation.version
                await wait_for_news(run, work, seen, _LOOK_SECONDS)
        finally:
            # Once: a second time would break off what is being stored.
            if keeping is not None:
                keeping.cancel()
        yield
    finally:
        if keeping is not None:
            await asyncio.gather(keeping, return_exceptions=True)


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
    try:
        checked = await receive_work(run, work, pod.name, folder)
    except ObjectNotFound:
        return CollectedWork(result=uncollected_work("Its pod is gone."))
    async with work.storing_work:
        stored = await store_work(run, work, checked)
    if stored.result.changes is not None:
        run.outside.say(f"Collected the work: {stored.result.changes}.")
    return CollectedWork(
        result=stored.result,
        patch=stored.patch,
        bundle=stored.bundle,
        keeper_waits=stored.storage_problem is not None,
    )


def _why_lost(work: AttemptAtWork, pod: PodSnapshot | None) -> str | None:
    """Return why nothing can be had from the keeper any more, as far as is known."""
    if pod is None or work.pod_is_gone:
        return "Its pod is gone."
    keeper = next((item for item in pod.containers if item.name == KEEPER_CONTAINER), None)
    if keeper is not None and keeper.terminated is not None:
        return f"The keeper in its pod {keeper.terminated.words} before the work was collected."
    return None
