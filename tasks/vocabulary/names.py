"""Names of everything an agent's run leaves in the cluster: keys, objects, selectors.

Labels only select; their values may be shortened. Exact ids stand in annotations, and only these
decide.
"""

import json
import re
from hashlib import sha256
from typing import NewType

from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid

AgentId = NewType("AgentId", str)
TaskId = NewType("TaskId", str)
SessionId = NewType("SessionId", str)
FlowRunId = NewType("FlowRunId", str)
JobName = NewType("JobName", str)
JobUid = NewType("JobUid", str)
PodUid = NewType("PodUid", str)

# Never a key below `prefect.io/`: the observer of a Prefect worker takes an object that carries its
# flow run id for the flow run's own infrastructure and crashes the run when the Job fails.
PREFIX = "claude-jobs.dev/"
MANAGED_BY = "claude-jobs"
PROTOCOL_VERSION = "1"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_AGENT_ID = f"{PREFIX}agent-id"
LABEL_TASK_ID = f"{PREFIX}task-id"
LABEL_FLOW_RUN_ID = f"{PREFIX}flow-run-id"
LABEL_ATTEMPT = f"{PREFIX}attempt"
LABEL_VERSION = f"{PREFIX}version"
# Kueue's, not ours: which queue a Job waits in until it is admitted.
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_JOB_NAME = "batch.kubernetes.io/job-name"  # the Job controller's own

# On Job, pod template and Secret.
ANNOTATION_AGENT_ID = f"{PREFIX}agent-id"
ANNOTATION_AGENT_NAME = f"{PREFIX}agent-name"
ANNOTATION_TENANT_ID = f"{PREFIX}tenant-id"
ANNOTATION_TASK_ID = f"{PREFIX}task-id"
ANNOTATION_SESSION_ID = f"{PREFIX}session-id"
ANNOTATION_FLOW_RUN_ID = f"{PREFIX}flow-run-id"
ANNOTATION_ATTEMPT = f"{PREFIX}attempt"
ANNOTATION_LINE_TOKEN = f"{PREFIX}line-token"
ANNOTATION_CHECK_TIMEOUT_SECONDS = f"{PREFIX}check-timeout-seconds"  # where there is a check
ANNOTATION_KEEPS_WORK = f"{PREFIX}keeps-work"  # `true` where the pod has a keeper
ANNOTATION_PUBLISH = f"{PREFIX}publish"  # where the work is to be pushed, JSON
ANNOTATION_MANIFEST_SHA256 = f"{PREFIX}manifest-sha256"

# On the Job over its life.
ANNOTATION_OWNER_FLOW_RUN_ID = f"{PREFIX}owner-flow-run-id"
ANNOTATION_OWNER_EPOCH = f"{PREFIX}owner-epoch"
ANNOTATION_HARVESTED_AT = f"{PREFIX}harvested-at"

# On the Lease.
ANNOTATION_COMMITTED_JOB_UID = f"{PREFIX}committed-job-uid"
ANNOTATION_COMMITTED_JOB_NAME = f"{PREFIX}committed-job-name"
ANNOTATION_ATTEMPT_FLOW_RUN_ID = f"{PREFIX}attempt-flow-run-id"
ANNOTATION_PAUSED_AT = f"{PREFIX}paused-at"
ANNOTATION_PAUSED_REASON = f"{PREFIX}paused-reason"
ANNOTATION_STANDING = f"{PREFIX}standing"

AGENT_CONTAINER = "agent"
CLONE_CONTAINER = "clone"
KEEPER_CONTAINER = "keeper"
INPUT_VOLUME = "input"
INPUT_DIR = "/var/run/claude-jobs/input"
WORK_VOLUME = "work"
WORK_DIR = "/var/run/claude-jobs/work"
ALIVE_FILE = f"{WORK_DIR}/alive"
HOME_VOLUME = "home"
TMP_VOLUME = "tmp"
TMP_DIR = "/tmp"
WORKSPACE_VOLUME = "workspace"
CREDENTIALS_VOLUME = "git-credentials"
CREDENTIALS_DIR = "/var/run/claude-jobs/git"
KEEPER_VOLUME = "keeper"
KEEPER_DIR = "/var/run/claude-jobs/keeper"
KEEPER_SCRIPT_VOLUME = "keeper-script"
KEEPER_SCRIPT_DIR = "/var/run/claude-jobs/keeper-script"
KEEPER_SCRIPT_FILE = "keeper.sh"
KEEPER_SCRIPT = f"{KEEPER_SCRIPT_DIR}/{KEEPER_SCRIPT_FILE}"

MANAGED_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

_LABEL_LIMIT = 63
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_LABEL_HASH_DIGITS = 10
_SLUG_LIMIT = 40
# 40 + 1 + 16 = 57 leaves the six characters that the Job controller appends to name a pod, so that
# pod names and host names are not cut either.
_HASH_DIGITS = 16
# "claude-jobs-" + 34 + 1 + 16 = 63.
_LEASE_SLUG_LIMIT = 34
_LINE_TOKEN_DIGITS = 8
_KEY_HASH_DIGITS = 10


def parse_agent_id(text: str) -> AgentId:
    """Return `text` unchanged as the id of an agent.

    Raises:
        InputInvalid: With code `k8s_agent_id_invalid`; no ASCII letter or digit occurs in it.
    """
    _refuse_unusable(text)
    return AgentId(text)


def label_value(text: str) -> str:
    """Return the label value that stands for an id.

    Always a valid label value of 1 to 63 characters; stable; a valid value stays as it is, any
    other loses what labels do not admit and gets a hash of the exact text, so that different ids
    keep different values.

    Raises:
        InputInvalid: With code `k8s_agent_id_invalid`; no ASCII letter or digit occurs in it.
    """
    _refuse_unusable(text)
    if len(text) <= _LABEL_LIMIT and _LABEL.fullmatch(text):
        return text
    room = _LABEL_LIMIT - 1 - _LABEL_HASH_DIGITS
    kept = re.sub(r"[^A-Za-z0-9._-]", "", text).strip("._-")[:room].rstrip("._-")
    return f"{kept}-{_hash_of('label', text)[:_LABEL_HASH_DIGITS]}"


def job_name(agent_id: AgentId, flow_run_id: FlowRunId, attempt: int) -> JobName:
    """Return the name of one attempt's Job, and of its Secret.

    Always a valid DNS label of at most 57 characters; stable for the same agent, flow run and
    attempt; no collisions (64 bits of SHA-256 over the exact ids and the attempt).

    Args:
        agent_id: Shown in the name as far as a DNS label admits it, at most 40 characters.
        flow_run_id: The flow run for which the Job is created.
        attempt: Number of the attempt within that flow run, from 1.

    Raises:
        InputInvalid: With code `k8s_agent_id_invalid`; the agent id has no usable character.
    """
    digest = _hash_of("job", agent_id, flow_run_id, attempt)
    return JobName(f"{_slug(agent_id)}-{digest[:_HASH_DIGITS]}")


def lease_name(agent_id: AgentId) -> str:
    """Return the name of an agent's Lease.

    Always a valid DNS label of at most 63 characters; stable; no two agents share one
    (64 bits of SHA-256 over the exact id).

    Raises:
        InputInvalid: With code `k8s_agent_id_invalid`; the agent id has no usable character.
    """
    digest = _hash_of("lease", agent_id)
    return f"claude-jobs-{_slug(agent_id, _LEASE_SLUG_LIMIT)}-{digest[:_HASH_DIGITS]}"


def artifact_key(agent_id: AgentId, kind: str) -> str:
    """Return the key of an agent's artifacts of a kind; stable, so that the UI shows their history.

    Lowercase letters, digits and dashes, as Prefect wants keys; no two agents share one (40 bits of
    SHA-256 over the exact id, beside what the key shows of it).

    Args:
        agent_id: Shown in the key, at most 40 characters of it.
        kind: Such as `report`.

    Raises:
        InputInvalid: With code `k8s_agent_id_invalid`; the agent id has no usable character.
    """
    return f"{_slug(agent_id)}-{kind}-{_hash_of('artifact', agent_id)[:_KEY_HASH_DIGITS]}"


def line_token(name: JobName) -> str:
    """Return the 8 lowercase hexadecimal digits that begin every line of a Job's run script."""
    return _hash_of("line", name)[:_LINE_TOKEN_DIGITS]


def agent_selector(agent_id: AgentId) -> str:
    """Return the label selector for an agent's Jobs and pods; a superset, annotations decide."""
    return f"{MANAGED_SELECTOR},{LABEL_AGENT_ID}={label_value(agent_id)}"


def job_pods_selector(name: str) -> str:
    """Return the label selector for the pods of a Job, and of every other that had its name.

    Compare their owner's UID. The label without a prefix is set by every version of Kubernetes, the
    prefixed one since 1.27.
    """
    return f"{LABEL_JOB_NAME}={name}"


def is_run_secret(agent_id: AgentId, name: str) -> bool:
    """Tell whether a name is that of a Job and Secret of any run of an agent.

    Raises:
        InputInvalid: With code `k8s_agent_id_invalid`; the agent id has no usable character.
    """
    digits = rf"[0-9a-f]{{{_HASH_DIGITS}}}"
    return re.fullmatch(f"{re.escape(_slug(agent_id))}-{digits}", name) is not None


def _slug(agent_id: AgentId, limit: int = _SLUG_LIMIT) -> str:
    """Return the id as 1 to `limit` lowercase letters, digits and inner hyphens."""
    _refuse_unusable(agent_id)
    return slug_of(agent_id, limit)


def slug_of(text: str, limit: int) -> str:
    """Return at most `limit` lowercase letters, digits and inner hyphens; empty if there is none.

    Different texts may share one: whoever needs them apart adds a hash of the exact text.
    """
    # Lowered last: some letters outside ASCII have an ASCII lowercase.
    words = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()
    return words[:limit].rstrip("-")


def _refuse_unusable(text: str) -> None:
    if not re.search(r"[A-Za-z0-9]", text):
        raise InputInvalid(
            f"The id {text!r} has no ASCII letter or digit, so nothing in the cluster can be named "
            "after it; give an id with at least one.",
            code=ErrorCode.AGENT_ID_INVALID,
        )


def _hash_of(purpose: str, *parts: str | int) -> str:
    # JSON keeps the parts apart, whatever characters they contain.
    return sha256(json.dumps([purpose, *parts]).encode()).hexdigest()
