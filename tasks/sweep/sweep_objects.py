"""What a sweep found in one namespace, combined into objects with their facts. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tasks.observation.beside_agent import find_agent_end
from tasks.observation.secret_snapshot import SecretSnapshot
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret
from tasks.ownership.lease import holder_flow_run, is_held
from tasks.ownership.orphans import owner_of
from tasks.sweep.run_standing import FlowRunRecords, is_askable, judge_standing
from tasks.sweep.sweep_facts import (
    ObjectFacts,
    ObjectKind,
    ObjectState,
    Recognition,
    judge_job_state,
)
from tasks.sweep.sweep_recognition import recognise_job, recognise_lease, recognise_secret
from tasks.vocabulary import names
from tasks.vocabulary.names import AgentId, FlowRunId, JobUid

# Annotations of runs that nobody needs after some days; any other annotation must be kept.
_PASSING_NOTES = frozenset(
    {
        names.ANNOTATION_AGENT_ID,
        names.ANNOTATION_COMMITTED_JOB_UID,
        names.ANNOTATION_COMMITTED_JOB_NAME,
        names.ANNOTATION_ATTEMPT_FLOW_RUN_ID,
        names.ANNOTATION_ATTEMPT,
    }
)


@dataclass(frozen=True, slots=True)
class NamespaceContents:
    """All objects in a namespace that have our label.

    The lists were read in the order Secrets, Jobs, pods, Leases: owners after what they own, so
    that an owner that was created in the meantime is seen.

    Attributes:
        server_now: By the API server's clock, when the Leases were listed.
    """

    namespace: str
    server_now: datetime
    secrets: Sequence[SecretSnapshot] = ()
    jobs: Sequence[JobSnapshot] = ()
    pods: Sequence[PodSnapshot] = ()
    leases: Sequence[LeaseSnapshot] = ()


@dataclass(frozen=True, slots=True)
class SweptObject:
    """One object with its facts.

    Attributes:
        uid: As listed, like `resource_version`; empty for a flow run.
        flow_run_id: The flow run by which it is judged.
        still_running: For a Job whose agent has ended, the containers that keep it from finishing.
    """

    kind: ObjectKind
    namespace: str
    name: str
    agent_id: AgentId | None
    flow_run_id: FlowRunId | None
    facts: ObjectFacts
    uid: str = ""
    resource_version: str = ""
    still_running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SweepAges:
    """The ages from which the sweep acts, as configured."""

    minimum: timedelta
    idle_lease: timedelta


def named_flow_runs(contents: NamespaceContents) -> dict[FlowRunId, AgentId]:
    """Return the flow runs that our objects name and that Prefect can be asked about."""
    return {run: agent for run, agent in _named(contents) if run is not None and is_askable(run)}


def find_swept_objects(
    contents: NamespaceContents, runs: FlowRunRecords, ages: SweepAges
) -> list[SweptObject]:
    """Return all objects of a namespace, and the flow runs they name, with their facts."""
    return _Namespace(contents, runs, ages).objects()


def _named(contents: NamespaceContents) -> Iterator[tuple[FlowRunId | None, AgentId]]:
    for secret in contents.secrets:
        if secret.agent_id and recognise_secret(secret) is Recognition.OURS:
            yield secret.flow_run_id, secret.agent_id
    for lease in contents.leases:
        if lease.agent_id and recognise_lease(lease) is Recognition.OURS:
            yield lease.attempt_flow_run_id, lease.agent_id
            yield holder_flow_run(lease), lease.agent_id
    for job in contents.jobs:
        if job.agent_id and recognise_job(job) is Recognition.OURS:
            yield job.flow_run_id, job.agent_id
            yield job.owner_flow_run_id, job.agent_id


class _Namespace:
    """The lists of a namespace, combined."""

    def __init__(self, contents: NamespaceContents, runs: FlowRunRecords, ages: SweepAges) -> None:
        self._contents = contents
        self._runs = runs
        self._ages = ages
        self._now = contents.server_now
        self._leases = {
            lease.agent_id: lease
            for lease in contents.leases
            if lease.agent_id and recognise_lease(lease) is not Recognition.FOREIGN
        }
        self._secrets = {
            secret.job_uid: secret
            for secret in contents.secrets
            if secret.job_uid and recognise_secret(secret) is Recognition.OURS
        }
        self._job_uids = {job.uid for job in contents.jobs}
        self._occupied = {
            found.agent_id for found in (*contents.jobs, *contents.secrets, *contents.pods)
        }
        self._pods: defaultdict[JobUid | None, list[PodSnapshot]] = defaultdict(list)
        for pod in contents.pods:
            self._pods[pod.job_uid].append(pod)

    def objects(self) -> list[SweptObject]:
        return [
            *map(self._job, self._contents.jobs),
            *map(self._secret, self._contents.secrets),
            *map(self._lease, self._contents.leases),
            *self._flow_runs(),
        ]

    def _job(self, job: JobSnapshot) -> SweptObject:
        state = judge_job_state(
            job,
            self._pods[job.uid],
            self._secret_of(job),
            server_now=self._now,
            minimum_age=self._ages.minimum,
        )
        end = find_agent_end(job, self._pods[job.uid])
        swept = self._swept(
            ObjectKind.JOB, state, recognise_job(job), owner_of(job), job, job.created_at
        )
        return replace(swept, still_running=end.still_running if end is not None else ())

    def _secret_of(self, job: JobSnapshot) -> RunSecret:
        secret = self._secrets.get(job.uid)
        if secret is None or secret.name != job.name:
            return RunSecret.ABSENT
        return RunSecret.REVOKED if secret.is_tombstone else RunSecret.PRESENT

    def _secret(self, secret: SecretSnapshot) -> SweptObject:
        state = ObjectState.PAIRED if secret.job_uid in self._job_uids else ObjectState.UNPAIRED
        recognised = recognise_secret(secret)
        run, created_at = secret.flow_run_id, secret.created_at
        return self._swept(ObjectKind.SECRET, state, recognised, run, secret, created_at)

    def _lease(self, lease: LeaseSnapshot) -> SweptObject:
        run = holder_flow_run(lease) or lease.attempt_flow_run_id
        touched_at = lease.renewed_at or lease.acquired_at
        state = ObjectState.IDLE if self._is_idle(lease, touched_at) else ObjectState.RESTING
        recognised = recognise_lease(lease)
        return self._swept(ObjectKind.LEASE, state, recognised, run, lease, touched_at)

    def _is_idle(self, lease: LeaseSnapshot, touched_at: datetime | None) -> bool:
        if touched_at is None or self._now - touched_at < self._ages.idle_lease:
            return False
        notes = {key for key in lease.annotations if key.startswith(names.PREFIX)}
        return lease.agent_id not in self._occupied and notes <= _PASSING_NOTES

    def _flow_runs(self) -> Iterator[SweptObject]:
        # Nothing can be said of them while Prefect cannot be read.
        runs = self._runs or {}
        for run, agent_id in named_flow_runs(self._contents).items() if runs else ():
            record = runs.get(run)
            facts = self._facts(
                ObjectKind.FLOW_RUN,
                ObjectState.RECORDED,
                Recognition.OURS,
                run,
                agent_id,
                record.state_at if record else None,
            )
            kind, namespace = ObjectKind.FLOW_RUN, self._contents.namespace
            yield SweptObject(kind, namespace, run, agent_id, run, facts)

    def _swept(
        self,
        kind: ObjectKind,
        state: ObjectState,
        recognised: Recognition,
        run: FlowRunId | None,
        found: JobSnapshot | SecretSnapshot | LeaseSnapshot,
        touched_at: datetime | None,
    ) -> SweptObject:
        agent_id = found.agent_id or self._agent_of_tombstone(found.name)
        return SweptObject(
            kind,
            self._contents.namespace,
            found.name,
            agent_id,
            run,
            self._facts(kind, state, recognised, run, agent_id, touched_at),
            found.uid,
            found.resource_version,
        )

    def _agent_of_tombstone(self, name: str) -> AgentId | None:
        leases = self._leases.items()
        return next((agent for agent, lease in leases if lease.committed_job_name == name), None)

    def _facts(
        self,
        kind: ObjectKind,
        state: ObjectState,
        recognised: Recognition,
        run: FlowRunId | None,
        agent_id: AgentId | None,
        touched_at: datetime | None,
    ) -> ObjectFacts:
        lease = self._leases.get(agent_id) if agent_id else None
        touched = [touched_at, *([lease.renewed_at] if lease and lease.renewed_at else [])]
        minimum = self._ages.minimum
        return ObjectFacts(
            kind=kind,
            state=state,
            recognition=recognised,
            run=judge_standing(run, self._runs, now=self._now, minimum_age=minimum),
            lease_fresh=is_held(lease, self._now),
            old_enough=all(at is not None and self._now - at >= minimum for at in touched),
        )
