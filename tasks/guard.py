"""The guard: one owner per agent. `tasks.ownership.guard_decision` judges what it finds."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    NamespaceNotFound,
    NamespaceTerminating,
)
from tasks.cluster.kinds.api_objects import Propagation
from tasks.cluster.kinds.jobs import list_jobs
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.refused_access import explain_refused_access
from tasks.observation.snapshots import JobSnapshot, jobs_from_api, pods_from_api
from tasks.orchestrator.stage import StageLimit, stage
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.commitment import RunSecret
from tasks.ownership.guard_decision import GuardObservation, RunIdentity, decide_ownership
from tasks.ownership.guard_verdicts import (
    Blocked,
    DeleteUncommitted,
    GuardVerdict,
    Harvest,
    Reattach,
    ReturnStored,
    StartNew,
    Supersede,
)
from tasks.ownership.lease import LeaseState, LeaseVerdict
from tasks.run.agent_run import AgentRun
from tasks.run.budget_check import check_budget_of_today
from tasks.run.found import Found, NewAttempt, StoredAnswer
from tasks.run.job_deletion import delete_job_when
from tasks.run.run_permissions import check_permissions, may_exec
from tasks.run.run_secrets import find_run_secret
from tasks.secret import revoke_secret
from tasks.storage.stored_results import read_stored_result
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import JobUid, SessionId, TaskId, agent_selector

_LOOK_AGAIN_SECONDS = 2.0
# Each step removes its own cause; more steps than this mean that the cluster contradicts itself.
_STEPS_LIMIT = 60
# Time for a Lease to run out, for pods to end, and for a cluster that answers late.
_GUARD_LIMIT = StageLimit(900, ErrorCode.CONCURRENCY_GUARD_UNREACHABLE)


@stage("Guard", limit=_GUARD_LIMIT, retries=1)
async def guard_agent(run: AgentRun) -> Found:
    """Become the agent's only owner and tell what to do with the Jobs that exist.

    The Lease is ours when this returns, and also when it raises after having taken it; the flow
    releases it.

    Raises:
        AgentRunError: The agent is busy, or the cluster could not be asked; nothing was created.
    """
    # While the Lease is read for the first time; nothing is written before this is answered.
    checking = asyncio.create_task(check_permissions(run))
    # Asked early, so that the agent's start does not wait for it.
    asking = asyncio.create_task(may_exec(run.outside.client, run.outside.namespace))
    stored: dict[JobUid, AgentRunResult] = {}
    try:
        match await _guard(run, checking, stored):
            case StartNew() as verdict:
                return NewAttempt(verdict.attempt, exec_permitted=await asking)
            case ReturnStored() as verdict:
                return StoredAnswer(stored[verdict.job_uid])
            case verdict:
                return verdict
    except ClusterError as error:
        raise await _explain(run, error, checking) from error
    finally:
        for task in (checking, asking):
            task.cancel()
        await asyncio.gather(checking, asking, return_exceptions=True)


async def _explain(
    run: AgentRun, error: ClusterError, checking: "asyncio.Task[None]"
) -> AgentRunError:
    """Return why the cluster could not be asked; missing permissions explain it best."""
    try:
        await checking
    except AgentRunError as missing:
        return missing
    except ClusterError as unanswered:
        return _unreachable(run, unanswered)
    return _unreachable(run, error, permitted=True)


async def _guard(
    run: AgentRun, checking: "asyncio.Task[None]", stored: dict[JobUid, AgentRunResult]
) -> StartNew | Reattach | Harvest | ReturnStored:
    stop = run.outside.controls.cancel_requested
    first_look_at, said = run.outside.server_now(), ""
    for _ in range(_STEPS_LIMIT):
        verdict = await _hold_lease(run, checking)
        observed = await _observe(run, verdict, first_look_at, stored)
        decided = decide_ownership(
            observed, _identity(run), reattach_enabled=run.prepared.runtime.reattach
        )
        if isinstance(decided, Blocked):
            raise AgentRunError(decided.code, decided.reason, advice=decided.advice)
        if stop.is_set() and not isinstance(decided, Reattach | ReturnStored):
            raise AgentRunError(
                ErrorCode.CANCELLED, "The run was cancelled before an agent was started."
            )
        if decided.reason != said:
            said = decided.reason
            run.outside.say(f"Guard: {said}")
        if isinstance(decided, StartNew):
            await check_budget_of_today(run)
        if isinstance(decided, StartNew | Reattach | Harvest | ReturnStored):
            return decided
        await _take_step(run, decided)
    raise AgentRunError(
        ErrorCode.JOB_STATE_MISMATCH,
        "The agent's Jobs keep changing while the guard reads them; check them and run again.",
    )


async def _hold_lease(run: AgentRun, checking: "asyncio.Task[None]") -> LeaseVerdict:
    if run.outside.lease.held:
        await checking
    else:
        verdict = await run.outside.lease.take(
            run.outside.controls.cancel_requested,
            lambda seen: _say_who_is_awaited(run, seen),
            permitted=checking,
        )
        if not run.outside.lease.held:
            return verdict
    return LeaseVerdict(LeaseState.MINE)


def _say_who_is_awaited(run: AgentRun, verdict: LeaseVerdict) -> None:
    run.outside.say(
        f"Flow run {verdict.holder_flow_run_id} holds this agent's Lease; waiting for at most "
        f"{verdict.expires_in_seconds:.0f} s to see whether it is alive."
    )


def _identity(run: AgentRun) -> RunIdentity:
    task_id, session_id = run.prepared.request.task_id, run.asked_session_id
    return RunIdentity(
        agent_id=run.prepared.agent_id,
        flow_run_id=run.prepared.flow_run_id,
        task_id=TaskId(task_id) if task_id else None,
        # A session that was only remembered does not prevent taking over another one.
        session_id=SessionId(session_id) if session_id else None,
    )


async def _observe(
    run: AgentRun,
    verdict: LeaseVerdict,
    first_look_at: datetime,
    stored: dict[JobUid, AgentRunResult],
) -> GuardObservation:
    now = run.outside.server_now()
    if verdict.state is not LeaseState.MINE:
        return GuardObservation(verdict, first_look_at, now)
    selector = agent_selector(run.prepared.agent_id)
    # Both lists in one round trip.
    job_list, pod_list = await asyncio.gather(
        list_jobs(run.outside.client, run.outside.namespace, label_selector=selector),
        list_pods(run.outside.client, run.outside.namespace, label_selector=selector),
    )
    jobs = jobs_from_api(job_list.items)
    return GuardObservation(
        verdict,
        first_look_at,
        run.outside.server_now(),
        lease=run.outside.lease.lease,
        jobs=jobs,
        pods=pods_from_api(pod_list.items),
        secrets=await _find_secrets(run, jobs),
        stored=await _find_stored(run, jobs, stored),
    )


async def _find_secrets(run: AgentRun, jobs: Sequence[JobSnapshot]) -> dict[JobUid, RunSecret]:
    """Look for the Secrets of all Jobs except those whose result is stored."""
    agent_id = run.prepared.agent_id
    wanted = [job for job in jobs if job.agent_id == agent_id and job.harvested_at is None]
    client, namespace = run.outside.client, run.outside.namespace
    found = await asyncio.gather(
        *(find_run_secret(client, namespace, job.name, job.uid) for job in wanted)
    )
    return {job.uid: secret for job, secret in zip(wanted, found, strict=True)}


async def _find_stored(
    run: AgentRun, jobs: Sequence[JobSnapshot], found: dict[JobUid, AgentRunResult]
) -> dict[JobUid, bool]:
    """Tell for each Job of this flow run whether its stored result answers this run.

    Args:
        run: The run.
        jobs: All Jobs of its agent.
        found: Takes the results that were read.
    """
    prepared = run.prepared
    me, owner = prepared.flow_run_id, run.storage_owner
    folders = {
        job.uid: owner.attempt_of(me, job)
        for job in jobs
        if me in {job.flow_run_id, job.owner_flow_run_id}
    }
    lease = run.outside.lease.lease
    if lease.attempt_flow_run_id == me and lease.committed_job_uid:
        folders[lease.committed_job_uid] = owner.own_attempt(me, lease.attempt or 1)
    answers: dict[JobUid, bool] = {}
    for uid, folder in folders.items():
        stored = await read_stored_result(run.outside.storage, folder)
        if stored is not None:
            found[uid] = stored
            answers[uid] = stored.succeeded and stored.reattached_from is None
    return answers


async def _take_step(run: AgentRun, verdict: GuardVerdict) -> None:
    match verdict:
        case DeleteUncommitted():
            for job in verdict.jobs:
                await _delete(run, job)
        case Supersede():
            if await revoke_secret(run, verdict.job.name, verdict.job.uid):
                await _delete(run, verdict.job)
            else:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        case _:
            # Pods are still ending, or the Lease was lost meanwhile.
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _delete(run: AgentRun, job: JobSnapshot) -> None:
    # If it is gone, or has changed since it was judged, the next look shows that.
    await delete_job_when(
        run.outside.client,
        run.outside.namespace,
        job.name,
        uid=job.uid,
        is_right=lambda found: found.resource_version == job.resource_version,
        may_write=run.outside.lease.check_may_write,
        propagation=Propagation.FOREGROUND,
    )


def _unreachable(run: AgentRun, error: ClusterError, *, permitted: bool = False) -> AgentRunError:
    """Return the ending of a run whose guard got no answer.

    Args:
        run: The run.
        error: What the cluster answered, if anything.
        permitted: All permissions are known to be there.
    """
    match error:
        case NamespaceTerminating():
            reason = (
                f"the namespace {run.outside.namespace} is being deleted; choose another one in "
                "the runtime block, or create it again once it is gone"
            )
        case NamespaceNotFound():
            reason = f"the namespace {run.outside.namespace} does not exist; create it"
        case ClusterForbidden() if permitted and error.answer.is_about_rights:
            reason = (
                f"the cluster refused to {error.target} although the Role allows it; check the "
                f"namespace's quota and the cluster's admission webhooks: {error.message}"
            )
        case ClusterUnauthorised() | ClusterForbidden():
            refused = explain_refused_access(error)
            reason = f"{refused.happened}; {refused.advice}: {error.message}"
        case _:
            reason = f"the cluster did not answer: {error.message}"
    return AgentRunError(
        ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        f"It is unknown whether agent {run.prepared.agent_id} is working, so nothing was created: "
        f"{reason.rstrip('.')}.",
    )
