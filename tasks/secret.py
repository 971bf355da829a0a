"""The run's Secret: prompt, script and configuration, bound to the one pod that may use them."""

from base64 import b64decode, b64encode

from tasks.agent_job.api_fields import object_at, objects_at, text_at
from tasks.agent_job.commitment import RunSecret, may_have_run
from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.errors import AgentRunError
from tasks.agent_job.manifest import (
    POD_UID_KEY,
    REVOKED_KEY,
    JobSpec,
    build_secret_manifest,
    build_tombstone_manifest,
)
from tasks.agent_job.names import JobUid, PodUid, job_pods_selector
from tasks.agent_job.prepared_run import PACKED_PROMPT_FILE, PROMPT_FILE, RUN_SCRIPT_FILE
from tasks.agent_job.snapshots import JobSnapshot, PodSnapshot, pods_from_api
from tasks.cluster.client import ClusterClient
from tasks.cluster.errors import ClusterError, ObjectAlreadyExists, ObjectNotFound
from tasks.cluster.objects import Propagation
from tasks.cluster.pods import list_pods
from tasks.cluster.resources import JsonObject
from tasks.cluster.retry import RETRY_SAFE
from tasks.cluster.secrets import create_secret, read_secret
from tasks.lease_keeper import LeaseKeeper, LeaseLost, WritesPaused
from tasks.owned_job import delete_owned_job
from tasks.pod import limit_pod_wait, wait_for_pod_list, wait_for_pod_object
from tasks.run_context import AttemptInProgress, RunContext
from tasks.stage import StageLimit, stage


def _limit(context: RunContext, _spec: JobSpec) -> StageLimit:
    return limit_pod_wait(context, ErrorCode.PROMPT_SECRET_CREATE_FAILED)


@stage("Create Secret", limit=_limit, retries=1)
async def create_run_secret(context: RunContext, spec: JobSpec) -> None:
    """Bind the attempt to its pod and let it start.

    The Job's pod exists before its Secret does, waiting for it; the Secret names that pod, and the
    script refuses to start in any other, so a replacement pod cannot send the prompt again.

    Raises:
        AgentRunError: No pod came, or the Secret could not be created.
        LeaseLost: Another run has made the Secret; the Job is no longer ours.
    """
    attempt = context.attempt_at_work
    pod = await wait_for_pod_object(context)
    attempt.bind(pod)
    manifest = build_secret_manifest(spec, job_uid=attempt.job_uid, pod_uid=pod.uid)
    # A second try is safe: our own Secret behind the conflict is recognised below.
    retry = context.lease.guarded(RETRY_SAFE)
    try:
        await create_secret(context.client, context.namespace, manifest, retry=retry)
    except ObjectAlreadyExists as error:
        await _accept_existing(context, attempt, pod.uid, error)
    except ClusterError as error:
        raise AgentRunError(
            ErrorCode.PROMPT_SECRET_CREATE_FAILED,
            f"The Secret with the prompt could not be created, so the agent was not started: "
            f"{error.message} The Job waits for it and will be deleted.",
        ) from error


async def _accept_existing(
    context: RunContext, attempt: AttemptInProgress, pod_uid: PodUid, conflict: ObjectAlreadyExists
) -> None:
    secret = await read_secret(context.client, context.namespace, attempt.job_name)
    if _owner_uid(secret) != attempt.job_uid:
        raise AgentRunError(
            ErrorCode.PROMPT_SECRET_CREATE_FAILED,
            f"A Secret named {attempt.job_name} exists already and belongs to something else; "
            "delete it and run again.",
        ) from conflict
    if REVOKED_KEY in object_at(secret, "data"):
        raise LeaseLost("") from conflict
    bound = _bound_pod(secret)
    if bound is not None and bound != pod_uid:
        attempt.pod_uid = bound


async def find_run_secret(client: ClusterClient, namespace: str, job: JobSnapshot) -> RunSecret:
    """Tell whether a Job has its Secret, none, or a tombstone; one of another owner is none."""
    try:
        secret = await read_secret(client, namespace, job.name)
    except ObjectNotFound:
        return RunSecret.ABSENT
    if _owner_uid(secret) != job.uid:
        return RunSecret.ABSENT
    revoked = REVOKED_KEY in object_at(secret, "data")
    return RunSecret.REVOKED if revoked else RunSecret.PRESENT


@stage("Find pod")
async def find_bound_pod(context: RunContext, job: JobSnapshot) -> PodSnapshot | None:
    """Return the one pod of a Job that is not ours from birth; `None` if nothing is left of it."""
    attempt = context.attempt_at_work
    attempt.pod_uid = await read_bound_pod(context, job)
    await wait_for_pod_list(context)
    pod = attempt.pod
    if pod is not None:
        attempt.bind(pod)
    return pod


async def read_bound_pod(context: RunContext, job: JobSnapshot) -> PodUid | None:
    """Return the pod that a Job's Secret names; `None` if the Secret is gone or names none."""
    try:
        secret = await read_secret(context.client, context.namespace, job.name)
    except ObjectNotFound:
        return None
    return _bound_pod(secret) if _owner_uid(secret) == job.uid else None


@stage("Compare prompts")
async def has_same_prompt(context: RunContext, job: JobSnapshot) -> bool:
    """Tell whether a Job works on this run's prompt; one that cannot be read is another one."""
    try:
        secret = await read_secret(context.client, context.namespace, job.name)
    except ObjectNotFound:
        return False
    theirs, ours = object_at(secret, "data"), context.prepared.files
    return all(
        text_at(theirs, key) == (b64encode(ours[key]).decode() if key in ours else None)
        for key in (PROMPT_FILE, PACKED_PROMPT_FILE)
    )


async def create_tombstone(
    client: ClusterClient, namespace: str, lease: LeaseKeeper, job: JobSnapshot, run_script: str
) -> bool:
    """Make sure that a Job never gets its prompt; tell whether that is so.

    Where the Secret is there already, its agent may be starting: look again.

    Args:
        client: The connection.
        namespace: Of the Job.
        lease: Held for the agent.
        job: Without a Secret.
        run_script: Says in a pod that starts all the same why it does not work.

    Raises:
        ClusterError: It could not be written.
        LeaseLost: Another process owns the agent.
        WritesPaused: Whether we still own the agent is not known.
    """
    manifest = build_tombstone_manifest(
        namespace=namespace, job_name=job.name, job_uid=job.uid, run_script=run_script
    )
    try:
        await create_secret(client, namespace, manifest, retry=lease.guarded(RETRY_SAFE))
    except ObjectAlreadyExists:
        return await find_run_secret(client, namespace, job) is RunSecret.REVOKED
    return True


async def revoke_secret(context: RunContext, job: JobSnapshot) -> bool:
    """Create the tombstone of a Job of this run's agent; errors as in `create_tombstone`."""
    run_script = context.prepared.files[RUN_SCRIPT_FILE].decode()
    return await create_tombstone(context.client, context.namespace, context.lease, job, run_script)


def _owner_uid(secret: JsonObject) -> JobUid | None:
    owners = objects_at(object_at(secret, "metadata"), "ownerReferences")
    uids = (text_at(owner, "uid") for owner in owners if owner.get("kind") == "Job")
    return next((JobUid(uid) for uid in uids if uid), None)


def _bound_pod(secret: JsonObject) -> PodUid | None:
    encoded = text_at(object_at(secret, "data"), POD_UID_KEY)
    return PodUid(b64decode(encoded).decode().strip()) if encoded else None


async def abandon_unstarted(context: RunContext, job: JobSnapshot) -> None:
    """Delete a committed Job whose agent has not started, after making sure that it cannot.

    Where that cannot be made sure of, the Job is left, and the next guard decides.
    """
    try:
        await revoke_secret(context, job)
        if await _may_have_started(context, job):
            context.say(f"Job {job.name} is left: its agent may have started meanwhile.")
            return
        await delete_owned_job(context, job.name, job.uid, Propagation.FOREGROUND)
        context.deleted_by_us = context.controls.job_deleted = True
    except (ClusterError, WritesPaused) as error:
        context.say(f"Job {job.name} could not be cleared away: {error.message}")


async def _may_have_started(context: RunContext, job: JobSnapshot) -> bool:
    secret = await find_run_secret(context.client, context.namespace, job)
    if secret is RunSecret.REVOKED:
        return False
    found = await list_pods(
        context.client, context.namespace, label_selector=job_pods_selector(job.name)
    )
    pods = [pod for pod in pods_from_api(found.items) if pod.job_uid == job.uid]
    return may_have_run(pods)
