"""An attempt's Job: created inert, committed, taken over."""

import asyncio

from tasks.agent_job.manifest import JobSpec, build_job_manifest
from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterForbidden,
    ObjectAlreadyExists,
    ObjectNotFound,
    PatchRefused,
)
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.api_objects import Propagation, annotation_path, expect, put
from tasks.cluster.kinds.jobs import create_job, patch_job, read_job
from tasks.observation.snapshots import JobSnapshot
from tasks.orchestrator.stage import StageLimit, stage
from tasks.ownership.commitment import (
    NameTaken,
    RefusedAdoption,
    judge_refused_adoption,
    judge_taken_name,
)
from tasks.run.agent_run import AgentRun
from tasks.run.found import NewAttempt
from tasks.run.job_deletion import delete_job_when
from tasks.run.lease_keeper import LeaseLost
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import (
    ANNOTATION_MANIFEST_SHA256,
    ANNOTATION_OWNER_EPOCH,
    ANNOTATION_OWNER_FLOW_RUN_ID,
    FlowRunId,
)

# One call, repeated for a minute, and a read of the Job that has the name already.
_CREATE_LIMIT = StageLimit(180, ErrorCode.JOB_CREATE_FAILED)

# If a late request of an earlier process has taken the name, its Job is gone within seconds.
_CREATE_TRIES = 10
_CREATE_AGAIN_SECONDS = 1.0
# A write is refused if the Job has changed since it was read.
_LOOKS = 4


@stage("Create Job", limit=_CREATE_LIMIT, retries=1)
async def create_agent_job(run: AgentRun, found: NewAttempt) -> JobSnapshot:
    """Create the attempt's Job; no agent starts, because its pod waits for a Secret.

    Raises:
        AgentRunError: The Job could not be created.
        LeaseLost: A later process of this flow run has created it.
    """
    spec = run.job_spec(found.number, exec_permitted=found.exec_permitted)
    if run.prepared.collects_work and not found.exec_permitted:
        raise _may_not_collect()
    _say_what_starts(run, spec)
    run.outside.controls.creating = spec
    manifest = build_job_manifest(spec)
    for _ in range(_CREATE_TRIES):
        try:
            created = await create_job(
                run.outside.client,
                run.outside.namespace,
                manifest,
                # A second try is safe: if it conflicts with our own Job, that is recognised below.
                retry=run.outside.lease.guarded(RETRY_SAFE),
            )
        except ObjectAlreadyExists:
            existing = await _accept_existing(run, spec, manifest)
            if existing is not None:
                return existing
            await asyncio.sleep(_CREATE_AGAIN_SECONDS)
        except ClusterError as error:
            raise AgentRunError(
                ErrorCode.JOB_CREATE_FAILED,
                f"The agent's Job could not be created: {error.message}{_hint(error)}",
            ) from error
        else:
            return JobSnapshot.from_api(created)
    raise _name_taken(spec)


async def _accept_existing(
    run: AgentRun, spec: JobSpec, manifest: JsonObject
) -> JobSnapshot | None:
    """Return our own Job if our first try made it; `None` if the name will be free soon."""
    try:
        raw = await read_job(run.outside.client, run.outside.namespace, spec.name)
    except ObjectNotFound:
        return None
    found = JobSnapshot.from_api(raw)
    match _judge_name(found, spec, manifest):
        case NameTaken.OURS:
            return found
        case NameTaken.LATE:
            run.outside.lease.check_may_write()
            await delete_inert_job(run, found)
            return None
        case NameTaken.OF_SUCCESSOR:
            raise LeaseLost("")
        case NameTaken.FOREIGN:
            raise _name_taken(spec)


def _judge_name(found: JobSnapshot, spec: JobSpec, manifest: JsonObject) -> NameTaken:
    return judge_taken_name(
        found,
        flow_run_id=spec.run.flow_run_id,
        attempt=spec.attempt,
        owner_epoch=spec.owner_epoch,
        manifest_sha256=manifest["metadata"]["annotations"][ANNOTATION_MANIFEST_SHA256],
    )


def _may_not_collect() -> AgentRunError:
    return AgentRunError(
        ErrorCode.JOB_CREATE_FAILED,
        "The agent's work could not be collected, so the agent was not started: this run may not "
        "run commands in pods (get and create of pods/exec). Grant both, or set deliver to none.",
    )


def _name_taken(spec: JobSpec) -> AgentRunError:
    return AgentRunError(
        ErrorCode.JOB_CREATE_FAILED,
        f"A Job named {spec.name} already exists and does not belong to this attempt; check it, "
        "delete it if nobody needs it, and run again.",
    )


@stage("Commit Job", limit=_CREATE_LIMIT, retries=2)
async def commit_agent_job(run: AgentRun, job: JobSnapshot) -> None:
    """Make the Job the agent's live one, or delete it unstarted if another run was faster.

    Raises:
        LeaseLost: Another run owns the agent; the Job was deleted.
        AgentRunError: The cluster did not answer.
    """
    try:
        await run.outside.lease.commit(job.name, job.uid, job.attempt or 1)
        run.outside.controls.creating = None
    except LeaseLost:
        await delete_inert_job(run, job)
        raise
    except ClusterError as error:
        raise AgentRunError(
            ErrorCode.JOB_CREATE_FAILED,
            f"Job {job.name} could not be committed on the agent's Lease, so its agent was not "
            f"started: {error.message} The next run of this agent deletes the Job.",
        ) from error


def _say_what_starts(run: AgentRun, spec: JobSpec) -> None:
    prepared = run.prepared
    resumed = prepared.resume_session
    skills = ", ".join(skill.name for skill in prepared.agent.skills) or "none"
    run.outside.say(
        f"Agent {prepared.agent_id}: Job {spec.namespace}/{spec.name}, "
        f"image {prepared.runtime.image}, model {prepared.agent.model or 'by default'}, "
        f"timeout {prepared.timeout_seconds:,} s, "
        f"{f'resuming session {resumed}' if resumed else 'new session'}, "
        f"skills: {skills}, prompt {prepared.prompt.size_bytes:,} bytes."
    )
    if prepared.session_note:
        run.outside.say(prepared.session_note)
    if not spec.exec_permitted:
        run.outside.say(
            "This run may not run commands in pods (get and create of pods/exec): lines that the "
            "node's log has dropped cannot be read from the copy in the pod; they will be named."
        )


async def delete_inert_job(run: AgentRun, job: JobSnapshot) -> None:
    """Delete a Job whose agent cannot have started, unless another owner has adopted it.

    If that fails, the Job remains for the next guard of this agent.
    """

    def is_inert(found: JobSnapshot) -> bool:
        # Whoever adopts the Job changes its owner first.
        theirs = (found.owner_flow_run_id, found.owner_epoch)
        return not found.deleting and theirs == (job.owner_flow_run_id, job.owner_epoch)

    try:
        await delete_job_when(
            run.outside.client,
            run.outside.namespace,
            job.name,
            uid=job.uid,
            is_right=is_inert,
            propagation=Propagation.BACKGROUND,
        )
    except ClusterError as error:
        run.outside.say(f"Job {job.name} remains for the next run: {error.message}")


async def withdraw_job(run: AgentRun, spec: JobSpec) -> None:
    """Delete the Job of a request whose answer was lost, if the Job exists by now.

    For a run that lost its Lease before it could commit: the Job would stay until its deadline,
    unless the next guard of this agent or a sweep comes first.
    """
    try:
        raw = await read_job(run.outside.client, run.outside.namespace, spec.name)
    except ClusterError:
        return
    found = JobSnapshot.from_api(raw)
    if _judge_name(found, spec, build_job_manifest(spec)) is NameTaken.OURS:
        await delete_inert_job(run, found)


@stage("Take over Job")
async def adopt_agent_job(run: AgentRun, job: JobSnapshot) -> JobSnapshot:
    """Note on a Job that it is ours now, if nobody has changed its owner since we read it.

    Raises:
        LeaseLost: A later owner of the agent has taken it over.
        AgentRunError: The Job is gone, or the cluster did not answer; the Job was not changed.
    """
    me, epoch = run.prepared.flow_run_id, run.outside.lease.lease.epoch
    found = job
    try:
        for _ in range(_LOOKS):
            try:
                return await _patch_owner(run, found, me, epoch)
            except PatchRefused:
                raw = await read_job(run.outside.client, run.outside.namespace, job.name)
                found = JobSnapshot.from_api(raw)
            match judge_refused_adoption(found, uid=job.uid, flow_run_id=me, epoch=epoch):
                case RefusedAdoption.OURS:
                    return found
                case RefusedAdoption.OF_SUCCESSOR:
                    raise LeaseLost("")
                case RefusedAdoption.LOST:
                    break
                case RefusedAdoption.AGAIN:
                    continue
    except ClusterError as error:
        raise _not_taken_over(job, error.message) from error
    raise _not_taken_over(job, "it has changed in the meantime.")


async def _patch_owner(run: AgentRun, job: JobSnapshot, me: FlowRunId, epoch: int) -> JobSnapshot:
    owner, owner_epoch = (
        annotation_path(ANNOTATION_OWNER_FLOW_RUN_ID),
        annotation_path(ANNOTATION_OWNER_EPOCH),
    )
    patch = [
        expect("/metadata/uid", job.uid),
        expect(owner, job.owner_flow_run_id),
        expect(owner_epoch, str(job.owner_epoch)),
        put(owner, me),
        put(owner_epoch, str(epoch)),
    ]
    retry = run.outside.lease.guarded(RETRY_SAFE)
    return JobSnapshot.from_api(
        await patch_job(run.outside.client, run.outside.namespace, job.name, patch, retry=retry)
    )


def _not_taken_over(job: JobSnapshot, why: str) -> AgentRunError:
    return AgentRunError(
        ErrorCode.POD_REATTACH_FAILED,
        f"Job {job.name} could not be taken over and was not changed: {why} "
        "Run again to check it once more.",
    )


def _hint(error: ClusterError) -> str:
    if isinstance(error, ClusterForbidden) and error.answer.is_about_rights:
        return " Check the Role, the namespace's quota and its Pod Security level."
    return ""
