"""Jobs left by earlier runs of the agent: concluded under their own runs, before ours starts."""

from flows.run.beside import TasksBeside
from flows.run.putting_to_work import drain, put_to_work, with_work
from tasks.cleanup import clean_up
from tasks.collection import collect_work
from tasks.completion import await_completion
from tasks.guard import guard_agent
from tasks.job import adopt_agent_job
from tasks.log_stream import stream_logs
from tasks.ownership.guard_verdicts import Harvest, Reattach
from tasks.pod import wait_for_pod
from tasks.publication import publish_work
from tasks.result import conclude_run
from tasks.run.agent_run import AgentRun
from tasks.run.ended_attempt import EndedAttempt
from tasks.run.found import Found
from tasks.run.lease_keeper import LeaseLost
from tasks.secret import find_bound_pod, has_same_prompt
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import JobUid


async def conclude_earlier_runs(run: AgentRun, found: Found) -> tuple[AgentRun, Found]:
    """Bring the Jobs of other runs to their end, one after the other.

    Args:
        run: Our run.
        found: What the guard found.

    Returns:
        Our run, resuming the session of the last concluded run if that is right, and what the guard
        finds afterwards.

    Raises:
        AgentRunError: One of them could not be concluded, or the guard now refuses our run.
    """
    concluded: set[JobUid] = set()
    while isinstance(found, Reattach | Harvest) and await _is_for_other(run, found):
        if found.job.uid in concluded:
            raise AgentRunError(
                ErrorCode.JOB_STATE_MISMATCH,
                f"Job {found.job.name} of an earlier run could not be concluded, so this run's "
                "agent was not started.",
                advice="Check this run's log, make the result storage writable and run again.",
            )
        concluded.add(found.job.uid)
        run = await _conclude_earlier_run(run, found)
        found = await guard_agent(run)
    return run, found


async def _is_for_other(run: AgentRun, found: Reattach | Harvest) -> bool:
    """Tell whether a Job must be brought to its end before our own is created."""
    if isinstance(found, Harvest):
        return found.then_start
    if found.job.flow_run_id == run.flow_run_id:
        return False
    return not await has_same_prompt(run, found.job)


async def _conclude_earlier_run(run: AgentRun, found: Reattach | Harvest) -> AgentRun:
    """Bring another run's Job to its end, store its result under that run, and continue from it.

    If that fails, the guard looks again and decides anew.
    """
    job = found.job
    theirs = run.for_flow_run(job.owner_flow_run_id or job.flow_run_id)
    if isinstance(found, Reattach):
        run.outside.say(
            f"Job {job.name} works on another prompt; this run starts its own afterwards."
        )
    try:
        ended = await _bring_to_end(theirs, found)
    except LeaseLost:
        raise
    except AgentRunError as error:
        run.outside.say(f"Job {job.name} could not be brought to its end: {error.message}")
        run.outside.controls.at_work = None
        return run
    run.outside.controls.at_work = None
    await run.outside.lease.confirm()
    if ended.asks_to_publish:
        ended = await publish_work(ended)
    concluded = await conclude_run(ended)
    await clean_up(ended, concluded)
    result = concluded.result
    run.outside.say(
        f"Stored the result of flow run {result.flow_run_id}, which had no process any more "
        f"({result.error_code or 'success'}: {result.message})"
    )
    may_resume = found.resume_session if isinstance(found, Harvest) else not run.asked_session_id
    if run.prepared.request.asks_for_fresh_session:
        return run
    if may_resume and result.session_id and not result.clear_session:
        return run.resuming(result.session_id)
    return run


async def _bring_to_end(theirs: AgentRun, found: Reattach | Harvest) -> EndedAttempt:
    """Follow another run's Job to its end, or read the output of one that has ended."""
    job = await adopt_agent_job(theirs, found.job)
    async with TasksBeside() as beside:
        work = put_to_work(theirs, job, beside)
        pod = await find_bound_pod(theirs, work)
        if isinstance(found, Reattach):
            pod = await wait_for_pod(theirs, work, reattaching=True)
        elif pod is None:
            return EndedAttempt(run=theirs, work=work)
        streaming = beside.start(stream_logs(theirs, work))
        # Work that cannot be had now must not keep the agent from its next task.
        collect = collect_work(theirs, work, may_wait=False) if work.keeps_work else None
        collecting = beside.start(collect) if collect is not None else None
        ended = await await_completion(theirs, work, streaming)
        await drain(ended, streaming)
        return await with_work(ended, collecting)
