"""What a failure of a stage means for the agent: ours still, or another process's by now."""

from uuid import UUID

from tasks.job import withdraw_job
from tasks.orchestrator.flow_run_states import has_ended
from tasks.run.agent_run import AgentRun
from tasks.run.ended_attempt import EndedAttempt
from tasks.run.lease_keeper import LeaseLost
from tasks.vocabulary.errors import AgentRunError


async def judge_failure(run: AgentRun, failure: AgentRunError) -> EndedAttempt:
    """Return how the attempt ended, after a stage has failed or the Lease was lost.

    Whatever went wrong here: if a twin, another process of this flow run, is at work, how the run
    ends is the twin's business, and this one steps back. A Job that this process was creating when
    it lost the Lease is withdrawn.
    """
    controls, work = run.outside.controls, run.outside.controls.at_work
    with_twin = await run.outside.lease.is_with_twin()
    lease_lost = with_twin or isinstance(failure, LeaseLost)
    if lease_lost and controls.creating is not None:
        await withdraw_job(run, controls.creating)
    left_to_twin = with_twin or (lease_lost and await has_ended(UUID(run.flow_run_id)))
    if left_to_twin:
        controls.stepped_back = True
        run.outside.say(
            "Another process of this flow run is at work on it, or has ended it; this one steps "
            "back and leaves the run's state to it."
        )
    return EndedAttempt(
        run=run,
        work=work,
        failure=failure,
        stopped=work.stopped if work is not None else None,
        lease_lost=lease_lost,
        left_to_twin=left_to_twin,
    )
