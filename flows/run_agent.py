"""`run_agent`: one flow run wakes up one agent, and owns one Kubernetes Job for it."""

import asyncio
from typing import Any, cast

from anyio import CancelScope
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal

from flows.run.after_attempt import (
    judge_failure,
    pause_before_attempt,
    plan_next_attempt,
    step_back,
)
from flows.run.agents_shown import show_agents
from flows.run.beside import TasksBeside
from flows.run.cancellation_hook import delete_jobs_of_cancelled_run
from flows.run.earlier_runs import conclude_earlier_runs
from flows.run.opening import open_run
from flows.run.owning import own_agent, renewing, while_owner
from flows.run.putting_to_work import abandoned_on_failure, drain, put_to_work, with_work
from flows.run.refusals import refuse
from flows.run.run_process import outlive_console
from flows.run.verdicts import await_verdict, end_flow_run
from tasks.agent_job.run_request import AgentRunRequest
from tasks.cleanup import clean_up
from tasks.collection import collect_work
from tasks.completion import await_completion
from tasks.guard import guard_agent
from tasks.job import adopt_agent_job, commit_agent_job, create_agent_job
from tasks.log_stream import stream_logs
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.guard_verdicts import Harvest, Reattach
from tasks.pod import wait_for_pod
from tasks.publication import publish_work
from tasks.report import publish_report
from tasks.result import conclude_run
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import SecretFate
from tasks.run.ended_attempt import EndedAttempt
from tasks.run.found import NewAttempt, StoredAnswer
from tasks.run.lease_keeper import LeaseLost
from tasks.run.run_controls import CONTROLS, RunControls, current_controls
from tasks.run.task_sessions import resume_remembered_session
from tasks.secret import create_run_secret, find_bound_pod
from tasks.vocabulary.errors import AgentRunError


@flow(
    name="run-agent",
    description="Runs one Claude Code agent as one Kubernetes Job.",
    persist_result=True,
    result_serializer="json",
    # `open_run` checks them: whatever is wrong with a request, the run then ends with a code.
    validate_parameters=False,
    on_cancellation=[delete_jobs_of_cancelled_run],
)
async def run_agent(request: AgentRunRequest) -> State[dict[str, object]]:
    """Run one agent as one Kubernetes Job and return its result.

    An exception does not tell a cancellation from a crash, a redeployment or an eviction; only the
    state in the API does. If that state shows no cancellation, the agent keeps working.

    Args:
        request: Who runs, where, and what the agent is told.

    Returns:
        Completed, or a Failed or Cancelled state named after the ending; its data is the
        `AgentRunResult` as JSON.

    Raises:
        Abort: Another process of this flow run is at work on it; that one reports how it ended.
        asyncio.CancelledError: This process was told to stop, and the run was not cancelled.
    """
    outlive_console()
    controls = current_controls()
    try:
        async with open_run(request, controls) as run, own_agent(run) as ownership:
            results: list[AgentRunResult] = []
            try:
                # Once for all attempts: the plan of the next one names the session it resumes.
                attempt: AgentRun | None = await resume_remembered_session(run)
                while attempt is not None:
                    run = attempt
                    ended = await run_attempt(run)
                    results.append(await conclude(ended))
                    attempt = await plan_next_attempt(ended, results)
            except (asyncio.CancelledError, TerminationSignal):
                with CancelScope(shield=True):
                    ended = await ownership.end_agent_if_cancelled(run)
                    if ended is None:
                        raise
                    results.append(await conclude(ended))
            result = results[-1]
    except Exception as error:
        result = await refuse(request, error, controls)
    return end_flow_run(result, controls)


async def run_attempt(run: AgentRun) -> EndedAttempt:
    """Bring one Job of the agent to its end, as its owner: a new Job or an existing one.

    A Job of an earlier run is concluded first, unless its agent `has_same_prompt`. An agent that is
    cancelled, stalled or out of time is ended by `stop_agent`, and followed to its end like others.
    """
    try:
        async with while_owner(run), TasksBeside() as beside:
            await pause_before_attempt(run)
            found = await guard_agent(run)
            run, found = await conclude_earlier_runs(run, found)
            match found:
                case StoredAnswer():
                    return EndedAttempt(run=run, work=None, stored=found.result)
                case NewAttempt():
                    # Inert: its pod mounts a Secret that does not exist yet.
                    job = await create_agent_job(run, found)
                    work = put_to_work(run, job, beside, secret_fate=SecretFate.WITHHELD)
                    await commit_agent_job(run, job)
                    async with abandoned_on_failure(run, work):
                        await create_run_secret(run, work)
                        await wait_for_pod(run, work)
                case Reattach():
                    work = put_to_work(run, await adopt_agent_job(run, found.job), beside)
                    if found.secret_missing:
                        async with abandoned_on_failure(run, work):
                            await create_run_secret(run, work)
                    else:
                        await find_bound_pod(run, work)
                    await wait_for_pod(run, work, reattaching=True)
                case Harvest():
                    work = put_to_work(run, await adopt_agent_job(run, found.job), beside)
                    if await find_bound_pod(run, work) is None:
                        return EndedAttempt(run=run, work=work)
            streaming = beside.start(stream_logs(run, work))
            collecting = beside.start(collect_work(run, work)) if work.keeps_work else None
            ended = await await_completion(run, work, streaming)
            await drain(ended, streaming)
            ended = await with_work(ended, collecting)
            return await publish_work(ended) if ended.asks_to_publish else ended
    except LeaseLost as lost:
        # Another process owns the agent now, and its Job with it.
        return await step_back(run, lost)
    except AgentRunError as failure:
        # A stage has ended the run.
        return await judge_failure(run, failure)


async def conclude(ended: EndedAttempt) -> AgentRunResult:
    """Judge what was seen, report it, and apply the keep policy to the Job."""
    if ended.stored is not None:
        return ended.stored
    if ended.left_to_twin:
        return (await conclude_run(ended)).result
    async with renewing(ended.run):
        concluded = await conclude_run(ended)
        await publish_report(ended, concluded)
        await clean_up(ended, concluded)
        await show_agents(ended.run)
    return concluded.result


async def run_in_this_process(request: AgentRunRequest, controls: RunControls) -> AgentRunResult:
    """Run the flow in this process with `controls`; for the command line and for fleets.

    Raises:
        RunCrashed: The run ended without a verdict.
        asyncio.CancelledError: The run was left; its Job keeps running.
    """
    CONTROLS.set(controls)
    return await await_verdict(cast("Any", run_agent)(request, return_state=True), controls)
