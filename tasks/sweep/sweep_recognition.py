"""Which of the objects with our label belong to an agent.

Labels only select, and anybody can copy them. The name of an object is derived from the exact ids
in its annotations, so a copy under another name is recognised as foreign.
"""

from tasks.observation.secret_snapshot import SecretSnapshot
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot
from tasks.sweep.sweep_facts import Recognition
from tasks.vocabulary import names
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId, FlowRunId


def recognise_job(job: JobSnapshot) -> Recognition:
    """Return whether a Job with our label belongs to an agent."""
    if job.agent_id is None or job.version is None:
        return Recognition.FOREIGN
    if job.version != names.PROTOCOL_VERSION:
        return Recognition.OTHER_VERSION
    return _by_name(job.name, job.agent_id, job.flow_run_id, job.attempt)


def recognise_secret(secret: SecretSnapshot) -> Recognition:
    """Return whether a Secret with our label belongs to a run or is a tombstone."""
    if secret.version is None or (secret.agent_id is None and not secret.is_tombstone):
        return Recognition.FOREIGN
    if secret.version != names.PROTOCOL_VERSION:
        return Recognition.OTHER_VERSION
    if secret.agent_id is None:
        return Recognition.OURS
    return _by_name(secret.name, secret.agent_id, secret.flow_run_id, secret.attempt)


def recognise_lease(lease: LeaseSnapshot) -> Recognition:
    """Return whether a Lease with our label belongs to an agent."""
    version = lease.labels.get(names.LABEL_VERSION)
    if lease.agent_id is None or version is None:
        return Recognition.FOREIGN
    if version != names.PROTOCOL_VERSION:
        return Recognition.OTHER_VERSION
    try:
        is_ours = lease.name == names.lease_name(lease.agent_id)
    except InputInvalid:
        return Recognition.FOREIGN
    return Recognition.OURS if is_ours else Recognition.FOREIGN


def _by_name(
    name: str, agent_id: AgentId, flow_run_id: FlowRunId | None, attempt: int | None
) -> Recognition:
    if flow_run_id is None or attempt is None:
        return Recognition.FOREIGN
    try:
        is_ours = name == names.job_name(agent_id, flow_run_id, attempt)
    except InputInvalid:
        return Recognition.FOREIGN
    return Recognition.OURS if is_ours else Recognition.FOREIGN
