"""The Job of one attempt and its Secret, whole, as the API takes them.

The Job is inert when it is created: its pod mounts the Secret of the same name, which follows once
the attempt is committed and its pod is known. The Secret is immutable: what the script reads is
what was created, and nobody can hand a running agent another prompt. Nothing of the prompt stands
in the Job.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tasks.agent_job.environment import (
    build_environment,
    context_env,
    names_over_template,
    script_env,
)
from tasks.agent_job.pod_spec import build_pod_spec
from tasks.agent_job.pod_template import apply_pod_template
from tasks.agent_job.prepared_run import RUN_SCRIPT_FILE, PreparedRun
from tasks.agent_job.quantities import quantity_bytes
from tasks.agent_job.trace_context import trace_env
from tasks.vocabulary import names
from tasks.vocabulary.names import JobName

POD_UID_KEY = "pod-uid"
REVOKED_KEY = "revoked"

# An agent that is moved to another node loses hours of work, and what was paid for it.
_NOT_TO_BE_MOVED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


_FAIL_ON_DISRUPTION = {
    "action": "FailJob",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One attempt of a run.

    Attributes:
        run: What the agent is told and how.
        namespace: Where the Job is created.
        attempt: Number of the attempt within its flow run, from 1.
        owner_epoch: `leaseTransitions` of the Lease under which the Job is created.
        exec_permitted: Whether the copy in the pod can be read; if not, the pod does not wait.
    """

    run: PreparedRun
    namespace: str
    attempt: int
    owner_epoch: int
    exec_permitted: bool = True

    @property
    def name(self) -> JobName:
        """Name of the Job and of its Secret."""
        return names.job_name(self.run.agent_id, self.run.flow_run_id, self.attempt)

    @property
    def line_token(self) -> str:
        """What every line of the run script begins with."""
        return names.line_token(self.name)

    @property
    def deadline_seconds(self) -> int:
        """The Job's own deadline, counted from its creation: the net around all other limits."""
        limits, check = self.run.runtime.limits, self.run.check
        # As the agent, it has a grace to end in.
        checking = check.timeout_seconds + limits.termination_grace_seconds if check else 0
        keeping = limits.keeper_patience_seconds if self.run.collects_work else 0
        return (
            limits.scheduling_seconds
            + limits.start_seconds
            + limits.image_pull_backoff_seconds
            + self.run.timeout_seconds
            + checking
            + keeping
            + limits.termination_grace_seconds
            + limits.acknowledgement_seconds
            + limits.deadline_margin_seconds
        )


def build_job_manifest(spec: JobSpec) -> dict[str, Any]:
    """Return the Job of an attempt.

    Always the same for the same attempt and configuration, but for who owns it; the annotation
    `manifest-sha256` covers everything else, as it is sent (servers add defaults).
    """
    runtime = spec.run.runtime
    labels = {**runtime.labels, **_labels(spec)}
    annotations = {**runtime.annotations, **_annotations(spec)}
    pod_spec = build_pod_spec(
        spec.run.runtime,
        agent_id=spec.run.agent_id,
        secret_name=spec.name,
        arguments=spec.run.arguments,
        working_directory=spec.run.working_directory,
        environment=_environment(spec),
        workspace=spec.run.request.workspace,
        collects_work=spec.run.collects_work,
    )
    pod = apply_pod_template(
        {
            "metadata": {"labels": labels, "annotations": {**_NOT_TO_BE_MOVED, **annotations}},
            "spec": pod_spec,
        },
        runtime.pod_template,
        without_env=names_over_template(spec.run.request, spec.run.agent, runtime),
    )
    annotations = {**annotations, **runtime.job_annotations}
    job_fields = {
        # Paid work must not repeat by itself.
        "backoffLimit": 0,
        # No second pod beside a first one that still ends.
        "podReplacementPolicy": "Failed",
        # A pod that the cluster takes away fails the Job as soon as it has ended.
        "podFailurePolicy": {"rules": [_FAIL_ON_DISRUPTION]},
        "activeDeadlineSeconds": spec.deadline_seconds,
        "ttlSecondsAfterFinished": spec.run.runtime.retention.unharvested_seconds,
    }
    digest = _sha256_of([spec.name, spec.namespace, labels, annotations, job_fields, pod])
    pod["metadata"]["annotations"][names.ANNOTATION_MANIFEST_SHA256] = digest
    owner = {
        names.ANNOTATION_MANIFEST_SHA256: digest,
        names.ANNOTATION_OWNER_FLOW_RUN_ID: spec.run.flow_run_id,
        names.ANNOTATION_OWNER_EPOCH: str(spec.owner_epoch),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": labels,
            "annotations": {**annotations, **owner},
        },
        "spec": {
            **job_fields,
            "template": pod,
        },
    }


def build_pod_of_job(job: Mapping[str, Any], *, uid: names.JobUid) -> dict[str, Any]:
    """Return the pod that the Job controller would create for a Job.

    Args:
        job: As sent or as stored.
        uid: Stands for the Job's own, which only a stored Job has.
    """
    name, template = job["metadata"]["name"], job["spec"]["template"]
    # Policies may want every pod to have an owner.
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **template["metadata"],
            "generateName": f"{name}-",
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def build_secret_manifest(
    spec: JobSpec, *, job_uid: names.JobUid, pod_uid: names.PodUid
) -> dict[str, Any]:
    """Return the Secret that lets the attempt's pod start, with prompt and run script.

    Args:
        spec: The attempt.
        job_uid: The Job that owns the Secret from its first moment, so that none is left behind.
        pod_uid: The one pod that may send the prompt; the script refuses in any other.
    """
    files = {**spec.run.files, POD_UID_KEY: f"{pod_uid}\n".encode()}
    return _secret(spec, files, job_uid)


def build_tombstone_manifest(
    *, namespace: str, job_name: JobName, job_uid: names.JobUid, run_script: str
) -> dict[str, Any]:
    """Return a Secret in the place of one that must never come: no prompt, only a refusal.

    A late create by the Job's gone owner is a conflict then, and a pod that starts all the same
    says why it does not work.
    """
    files = {
        RUN_SCRIPT_FILE: run_script.encode(),
        REVOKED_KEY: b"1\n",
        # A pod with a keeper does not start without it.
        names.KEEPER_SCRIPT_FILE: b"exit 0\n",
    }
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_VERSION: names.PROTOCOL_VERSION}
    metadata = {"name": job_name, "namespace": namespace, "labels": labels}
    return _immutable_secret(metadata, files, job_uid)


def _sha256_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _labels(spec: JobSpec) -> dict[str, str]:
    labels = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_VERSION: names.PROTOCOL_VERSION,
        names.LABEL_AGENT_ID: names.label_value(spec.run.agent_id),
        names.LABEL_FLOW_RUN_ID: names.label_value(spec.run.flow_run_id),
        names.LABEL_ATTEMPT: str(spec.attempt),
    }
    if spec.run.request.task_id is not None:
        labels[names.LABEL_TASK_ID] = names.label_value(spec.run.request.task_id)
    return labels


def _annotations(spec: JobSpec) -> dict[str, str]:
    check, plan = spec.run.check, spec.run.publish_plan
    annotations = {
        names.ANNOTATION_AGENT_ID: spec.run.agent_id,
        names.ANNOTATION_AGENT_NAME: spec.run.agent.display_name,
        names.ANNOTATION_TENANT_ID: spec.run.agent.tenant_id,
        names.ANNOTATION_TASK_ID: spec.run.request.task_id,
        names.ANNOTATION_SESSION_ID: spec.run.resume_session,
        names.ANNOTATION_FLOW_RUN_ID: spec.run.flow_run_id,
        names.ANNOTATION_ATTEMPT: str(spec.attempt),
        names.ANNOTATION_LINE_TOKEN: spec.line_token,
        names.ANNOTATION_CHECK_TIMEOUT_SECONDS: str(check.timeout_seconds) if check else None,
        names.ANNOTATION_KEEPS_WORK: "true" if spec.run.collects_work else None,
        names.ANNOTATION_PUBLISH: plan.model_dump_json() if plan else None,
    }
    return {key: value for key, value in annotations.items() if value is not None}


def _environment(spec: JobSpec) -> list[dict[str, Any]]:
    run, limits = spec.run, spec.run.runtime.limits
    storage_bytes = quantity_bytes(run.runtime.resources.transcript_storage_limit)
    script = script_env(
        timeout_seconds=run.timeout_seconds,
        # Half of the grace, so that the trailer is out before the kubelet kills the container.
        after_result_seconds=limits.after_result_seconds or 0,
        kill_after_seconds=max(1, limits.termination_grace_seconds // 2),
        acknowledgement_seconds=limits.acknowledgement_seconds if spec.exec_permitted else 0,
        # The rest is for skills; a volume that is full would cost the pod.
        copy_bytes=storage_bytes * 7 // 8,
        check_timeout_seconds=run.check.timeout_seconds if run.check else None,
        alive_file=names.ALIVE_FILE if run.collects_work else None,
    )
    context = context_env(
        run.request, run.agent, flow_run_id=run.flow_run_id, resume_session=run.resume_session
    )
    return build_environment(
        run.request,
        run.agent,
        run.runtime,
        {**script, **context},
        attempt=spec.attempt,
        secret_name=spec.name,
        secret_keys=frozenset(run.files),
        line_token=spec.line_token,
        tracing=trace_env(
            run_traceparent=run.traceparent,
            flow_run_id=run.flow_run_id,
            namespace=spec.namespace,
            job_name=spec.name,
            agent_id=run.agent_id,
            task_id=run.request.task_id,
        ),
    )


def _secret(spec: JobSpec, files: Mapping[str, bytes], job_uid: names.JobUid) -> dict[str, Any]:
    metadata = {
        "name": spec.name,
        "namespace": spec.namespace,
        "labels": _labels(spec),
        "annotations": _annotations(spec),
    }
    return _immutable_secret(metadata, files, job_uid)


def _immutable_secret(
    metadata: Mapping[str, Any], files: Mapping[str, bytes], job_uid: names.JobUid
) -> dict[str, Any]:
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": job_uid,
        # Not controlling and not blocking, which would ask for rights on the Job's finalizers.
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata, "ownerReferences": [owner]},
        "type": "Opaque",
        "immutable": True,
        "data": {key: b64encode(content).decode() for key, content in sorted(files.items())},
    }
