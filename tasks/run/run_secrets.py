"""A run's Secret, read and revoked: whether a Job has its prompt, and who may use it."""

from base64 import b64decode

from tasks.agent_job.manifest import POD_UID_KEY, REVOKED_KEY, build_tombstone_manifest
from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectAlreadyExists, ObjectNotFound
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.secrets import create_secret, read_secret
from tasks.observation.api_fields import object_at, objects_at, text_at
from tasks.ownership.commitment import RunSecret
from tasks.run.lease_keeper import LeaseKeeper
from tasks.vocabulary.names import JobName, JobUid, PodUid


async def find_run_secret(
    client: ClusterClient, namespace: str, job_name: JobName, job_uid: JobUid
) -> RunSecret:
    """Tell whether a Job has its Secret, none, or a tombstone; one of another owner is none."""
    try:
        secret = await read_secret(client, namespace, job_name)
    except ObjectNotFound:
        return RunSecret.ABSENT
    if owner_uid(secret) != job_uid:
        return RunSecret.ABSENT
    revoked = REVOKED_KEY in object_at(secret, "data")
    return RunSecret.REVOKED if revoked else RunSecret.PRESENT


async def read_bound_pod(
    client: ClusterClient, namespace: str, job_name: JobName, job_uid: JobUid
) -> PodUid | None:
    """Return the pod that a Job's Secret names; `None` if the Secret is gone or names none."""
    try:
        secret = await read_secret(client, namespace, job_name)
    except ObjectNotFound:
        return None
    return bound_pod(secret) if owner_uid(secret) == job_uid else None


async def create_tombstone(
    client: ClusterClient,
    namespace: str,
    lease: LeaseKeeper,
    job_name: JobName,
    job_uid: JobUid,
    run_script: str,
) -> bool:
    """Make sure that a Job never gets its prompt; tell whether that is so.

    Where the Secret is there already, its agent may be starting: look again.

    Args:
        client: The connection.
        namespace: Of the Job.
        lease: Held for the agent.
        job_name: Of a Job without a Secret.
        job_uid: Of the same.
        run_script: Says in a pod that starts all the same why it does not work.

    Raises:
        ClusterError: It could not be written.
        LeaseLost: Another process owns the agent.
        WritesPaused: Whether we still own the agent is not known.
    """
    manifest = build_tombstone_manifest(
        namespace=namespace, job_name=job_name, job_uid=job_uid, run_script=run_script
    )
    try:
        await create_secret(client, namespace, manifest, retry=lease.guarded(RETRY_SAFE))
    except ObjectAlreadyExists:
        return await find_run_secret(client, namespace, job_name, job_uid) is RunSecret.REVOKED
    return True


def owner_uid(secret: JsonObject) -> JobUid | None:
    """Return the Job that a Secret belongs to."""
    owners = objects_at(object_at(secret, "metadata"), "ownerReferences")
    uids = (text_at(owner, "uid") for owner in owners if owner.get("kind") == "Job")
    return next((JobUid(uid) for uid in uids if uid), None)


def bound_pod(secret: JsonObject) -> PodUid | None:
    """Return the one pod that may use a run's Secret; `None` if it names none."""
    encoded = text_at(object_at(secret, "data"), POD_UID_KEY)
    return PodUid(b64decode(encoded).decode().strip()) if encoded else None
