"""The run's Secret: prompt, script and configuration, bound to the one pod that may use them."""

from base64 import b64encode

from tasks.agent_job.manifest import (
    REVOKED_KEY,
    build_secret_manifest,
)
from tasks.agent_job.prepared_run import PACKED_PROMPT_FILE, PROMPT_FILE, RUN_SCRIPT_FILE
from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_errors import (
    ApiRefused,
    ClusterError,
    ObjectAlreadyExists,
    ObjectNotFound,
)
from tasks.cluster.kinds.api_objects import Propagation
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.kinds.secrets import create_secret, read_secret
from tasks.observation.api_fields import object_at, text_at
from tasks.observation.snapshots import JobSnapshot, PodSnapshot, pods_from_api
from tasks.orchestrator.stage import StageLimit, stage
from tasks.ownership.commitment import RunSecret, may_have_run
from tasks.pod import limit_pod_wait, wait_for_pod_list, wait_for_pod_object
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, SecretFate, StopReason, StopRequest
from tasks.run.job_deletion import delete_owned_job
from tasks.run.lease_keeper import LeaseLost, WritesPaused
from tasks.run.run_secrets import (
    bound_pod,
    create_tombstone,
    find_run_secret,
    owner_uid,
    read_bound_pod,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import JobName, JobUid, PodUid, job_pods_selector


def _limit(run: AgentRun, _work: AttemptAtWork) -> StageLimit:
    return limit_pod_wait(run, ErrorCode.PROMPT_SECRET_CREATE_FAILED)


@stage("Create Secret", limit=_limit, retries=1)
async def create_run_secret(run: AgentRun, work: AttemptAtWork) -> None:
    """Bind the attempt to its pod and let it start.

    The Job's pod exists before its Secret and waits for it. The Secret names that pod, and the
    script refuses to start in any other, so a replacement pod cannot send the prompt again.

    Raises:
        AgentRunError: No pod was created, or the Secret could not be created.
        LeaseLost: Another run has made the Secret; the Job is no longer ours.
    """
    pod = await wait_for_pod_object(run, work)
    work.bind(pod)
    spec = run.job_spec(work.number)
    manifest = build_secret_manifest(spec, job_uid=work.job_uid, pod_uid=pod.uid)
    # A second try is safe: if it conflicts with our own Secret, that is recognised below.
    retry = run.outside.lease.guarded(RETRY_SAFE)
    before, work.secret_fate = work.secret_fate, SecretFate.UNKNOWN
    try:
        await create_secret(run.outside.client, run.outside.namespace, manifest, retry=retry)
    except ObjectAlreadyExists as error:
        await _accept_existing(run, work, pod.uid, error)
    except ClusterError as error:
        if isinstance(error, ApiRefused) and not error.earlier_try_unanswered:
            work.secret_fate = before
        raise AgentRunError(
            ErrorCode.PROMPT_SECRET_CREATE_FAILED,
            "The Secret with the prompt could not be created, so the agent was not started: "
            f"{error.message}",
            advice="Check the Role, the namespace's quota and the cluster's admission webhooks.",
        ) from error
    work.secret_fate = SecretFate.MADE


async def _accept_existing(
    run: AgentRun, work: AttemptAtWork, pod_uid: PodUid, conflict: ObjectAlreadyExists
) -> None:
    secret = await read_secret(run.outside.client, run.outside.namespace, work.job_name)
    if owner_uid(secret) != work.job_uid:
        raise AgentRunError(
            ErrorCode.PROMPT_SECRET_CREATE_FAILED,
            f"A Secret named {work.job_name} already exists and belongs to something else; "
            "delete it and run again.",
        ) from conflict
    if REVOKED_KEY in object_at(secret, "data"):
        raise LeaseLost("") from conflict
    bound = bound_pod(secret)
    if bound is not None and bound != pod_uid:
        work.pod_uid = bound


@stage("Find pod")
async def find_bound_pod(run: AgentRun, work: AttemptAtWork) -> PodSnapshot | None:
    """Return the one pod of a Job that we took over; `None` if it no longer exists."""
    work.pod_uid = await read_bound_pod(
        run.outside.client, run.outside.namespace, work.job_name, work.job_uid
    )
    await wait_for_pod_list(run, work)
    pod = work.pod
    if pod is not None:
        work.bind(pod)
    return pod


@stage("Compare prompts")
async def has_same_prompt(run: AgentRun, job: JobSnapshot) -> bool:
    """Tell whether a Job works on this run's prompt; False if its Secret is gone."""
    try:
        secret = await read_secret(run.outside.client, run.outside.namespace, job.name)
    except ObjectNotFound:
        return False
    theirs, ours = object_at(secret, "data"), run.prepared.files
    return all(
        text_at(theirs, key) == (b64encode(ours[key]).decode() if key in ours else None)
        for key in (PROMPT_FILE, PACKED_PROMPT_FILE)
    )


async def revoke_secret(run: AgentRun, job_name: JobName, job_uid: JobUid) -> bool:
    """Create the tombstone of a Job of this run's agent; errors as in `create_tombstone`."""
    run_script = run.prepared.files[RUN_SCRIPT_FILE].decode()
    outside = run.outside
    return await create_tombstone(
        outside.client, outside.namespace, outside.lease, job_name, job_uid, run_script
    )


async def abandon_unstarted(run: AgentRun, work: AttemptAtWork) -> str | None:
    """Delete a committed Job whose agent has not started, after making sure that it cannot.

    If that is not certain, the Job remains, and the next guard decides.

    Returns:
        That the Job remains, and why, as sentences; `None` once its deletion was accepted.
    """
    job = f"Job {run.outside.namespace}/{work.job_name}"
    try:
        if work.secret_fate is not SecretFate.WITHHELD:
            # A tombstone needs the same permission as the Secret, and room in the same quota.
            if work.secret_fate is SecretFate.UNKNOWN:
                await revoke_secret(run, work.job_name, work.job_uid)
            if await _may_have_started(run, work):
                return f"{job} was not changed: its agent may have started in the meantime."
        await delete_owned_job(run, work, Propagation.FOREGROUND)
    except (ClusterError, WritesPaused) as error:
        return (
            f"{job} and its pod remain, because they could not be deleted: {error.message} "
            "The next run of this agent decides about them; the Job's deadline ends them."
        )
    work.stopping = work.stopped = StopRequest(StopReason.NEVER_STARTED)
    run.outside.say(f"{job} was deleted: its agent had not started.")
    return None


async def _may_have_started(run: AgentRun, work: AttemptAtWork) -> bool:
    client, namespace = run.outside.client, run.outside.namespace
    secret = await find_run_secret(client, namespace, work.job_name, work.job_uid)
    if secret is RunSecret.REVOKED:
        return False
    selector = job_pods_selector(work.job_name)
    found = await list_pods(client, namespace, label_selector=selector)
    pods = [pod for pod in pods_from_api(found.items) if pod.job_uid == work.job_uid]
    return may_have_run(pods)
