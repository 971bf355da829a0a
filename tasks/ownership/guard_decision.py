"""What a run has to do before it may start its agent.

Everything is decided while holding the agent's Lease, so the previous holder is gone. Only exact
ids count; blank ids are unknown. The verdicts fail closed: if an agent may be alive, no other is
started.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.observation.beside_agent import find_agent_end, is_over
from tasks.observation.pod_termination import judge_termination
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret, is_committed, may_have_run
from tasks.ownership.guard_verdicts import (
    Blocked,
    DeleteUncommitted,
    GuardVerdict,
    Harvest,
    Reattach,
    ReturnStored,
    StartNew,
    Supersede,
    TakeLease,
    WaitForLease,
    WaitForTermination,
)
from tasks.ownership.lease import LeaseState, LeaseVerdict
from tasks.ownership.orphans import (
    RunIdentity,
    blocked_by,
    decide_orphan,
    may_share_session,
    owner_of,
)
from tasks.ownership.pause import blocked_by_pause, find_pause
from tasks.vocabulary import names
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import JobUid

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GuardObservation:
    """What the guard has observed.

    Attributes:
        lease: The Lease after it was taken.
        jobs: Jobs with the agent's label, newest first; may include Jobs of other agents.
        pods: Pods with the agent's label, likewise.
        secrets: By Job, if read; a Job that is missing here is never superseded.
        stored: By Job, whether its stored result can be returned by this run: a success, for this
            run's own prompt. Missing if no result can be read.
        first_look_at: When this guard started, by the API server's clock.
    """

    lease_verdict: LeaseVerdict
    first_look_at: datetime
    server_now: datetime
    lease: LeaseSnapshot | None = None
    jobs: Sequence[JobSnapshot] = ()
    pods: Sequence[PodSnapshot] = ()
    secrets: Mapping[JobUid, RunSecret] = field(default_factory=dict[JobUid, RunSecret])
    stored: Mapping[JobUid, bool] = field(default_factory=dict[JobUid, bool])


def decide_ownership(
    observed: GuardObservation, me: RunIdentity, *, reattach_enabled: bool
) -> GuardVerdict:
    """Return what a run has to do.

    Args:
        observed: The observation; observe again after every verdict that is a step.
        me: The run's identity.
        reattach_enabled: Whether the run may take over a live Job.
    """
    if observed.lease_verdict.state is not LeaseState.MINE:
        return _decide_lease(observed.lease_verdict, me)
    return _Decision(observed, me, reattach_enabled).verdict()


def _decide_lease(verdict: LeaseVerdict, me: RunIdentity) -> GuardVerdict:
    if verdict.may_be_taken:
        return TakeLease(f"The Lease of agent {me.agent_id} is {verdict.state}.")
    if verdict.holder_flow_run_id == me.flow_run_id:
        holder = "another process of this flow run"
    else:
        holder = f"flow run {verdict.holder_flow_run_id}"
    if verdict.state is LeaseState.FRESH:
        return WaitForLease(
            verdict.expires_in_seconds,
            f"The Lease of agent {me.agent_id} is held by {holder}, which may no longer be alive.",
        )
    return Blocked(
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        f"Agent {me.agent_id} is busy: {holder} holds its Lease and keeps renewing it.",
        "Wait for that run to end, or cancel it.",
    )


class _Decision:
    """The observation, with Jobs sorted into live and inert ones, and those whose agent has ended.

    An agent has ended with its own container: another container of its pod may keep the Job from
    ever finishing.
    """

    def __init__(self, observed: GuardObservation, me: RunIdentity, reattach_enabled: bool) -> None:
        self._observed = observed
        self._me = me
        self._reattach_enabled = reattach_enabled
        # The label may be shortened, and anybody can set it; the annotation is exact.
        self._jobs = [job for job in observed.jobs if job.agent_id == me.agent_id]
        self._pods = [pod for pod in observed.pods if pod.agent_id == me.agent_id]
        present = [job for job in self._jobs if not job.deleting]
        unknown = [job for job in present if job.version != names.PROTOCOL_VERSION]
        known = [job for job in present if job.version == names.PROTOCOL_VERSION]
        self._inert = [job for job in known if self._is_inert(job)]
        at_work = [job for job in known if not self._is_inert(job)]
        self._live = [job for job in at_work if not self._is_over(job)]
        self._over = [job for job in at_work if self._is_over(job)]
        self._unknown = [job for job in unknown if not self._is_over(job)]

    def verdict(self) -> GuardVerdict:
        live = [self._refuse(job) for job in self._unknown]
        verdicts = [*live, *map(self._decide_live, self._live)]
        blocking = next((item for item in verdicts if isinstance(item, Blocked)), None)
        if blocking is not None:
            return blocking
        if len(verdicts) > 1:
            return _several(self._live, self._me)
        if self._inert:
            return DeleteUncommitted(
                tuple(self._inert),
                f"{_named('Job', self._inert)} was left by an earlier run and never ran an agent.",
            )
        if verdicts:
            return verdicts[0]
        return self._after_termination(self._decide_over())

    def _is_inert(self, job: JobSnapshot) -> bool:
        secret = self._observed.secrets.get(job.uid)
        if self._is_over(job) and job.harvested_at is None and secret is RunSecret.REVOKED:
            return True
        lease = self._observed.lease
        return not is_committed(
            job,
            self._pods_of(job),
            committed_uid=lease.committed_job_uid if lease else None,
            secret=secret,
        )

    def _pods_of(self, job: JobSnapshot) -> list[PodSnapshot]:
        return [pod for pod in self._pods if pod.job_uid == job.uid]

    def _is_over(self, job: JobSnapshot) -> bool:
        return is_over(job, self._pods_of(job))

    def _how_over(self, job: JobSnapshot) -> str:
        end = find_agent_end(job, self._pods_of(job))
        return "has finished" if end is None else f"is over: {end.words}"

    def _is_ours(self, job: JobSnapshot) -> bool:
        return self._me.flow_run_id in {job.flow_run_id, job.owner_flow_run_id}

    def _refuse(self, job: JobSnapshot) -> Blocked:
        return Blocked(
            ErrorCode.CONCURRENT_RUN_BLOCKED,
            f"Job {job.name} of agent {self._me.agent_id} was started by another version of this "
            f"software (protocol {job.version}, this one knows {names.PROTOCOL_VERSION}).",
            "Wait until it has finished, or run this flow with the version that started it.",
        )

    def _decide_live(self, job: JobSnapshot) -> GuardVerdict:
        if self._never_got_its_secret(job):
            made_by_us = job.flow_run_id == self._me.flow_run_id
            if made_by_us and self._reattach_enabled and not self._is_revoked(job):
                return Reattach(
                    job,
                    secret_missing=True,
                    reason=f"Job {job.name} of this flow run only lacks its Secret.",
                )
            return Supersede(
                job, f"Job {job.name} never got its prompt, and its run has no process any more."
            )
        if not self._reattach_enabled:
            return blocked_by(job, "it is live, and the runtime does not allow takeovers")
        if self._is_ours(job):
            return Reattach(
                job, secret_missing=False, reason=f"Job {job.name} belongs to this flow run."
            )
        return decide_orphan(job, self._me)

    def _never_got_its_secret(self, job: JobSnapshot) -> bool:
        without = {RunSecret.ABSENT, RunSecret.REVOKED}
        return self._observed.secrets.get(job.uid) in without and not may_have_run(
            self._pods_of(job)
        )

    def _is_revoked(self, job: JobSnapshot) -> bool:
        return self._observed.secrets.get(job.uid) is RunSecret.REVOKED

    def _decide_over(self) -> StartNew | Harvest | ReturnStored:
        own = self._decide_own()
        if own is not None:
            return own
        for job in self._over:
            if self._awaits_harvest_by_another(job):
                on_our_task = self._is_on_our_task(job)
                return Harvest(
                    job,
                    then_start=True,
                    resume_session=on_our_task and may_share_session(job, self._me),
                    reason=f"Job {job.name} of flow run {owner_of(job)}"
                    f"{' on the same task' if on_our_task else ''} {self._how_over(job)}; its "
                    "result is not stored.",
                )
        return StartNew(self._next_attempt(), f"Agent {self._me.agent_id} has no live Job.")

    def _awaits_harvest_by_another(self, job: JobSnapshot) -> bool:
        if self._is_ours(job) or job.harvested_at is not None:
            return False
        return self._is_on_our_task(job) or self._has_waiting_keeper(job)

    def _is_on_our_task(self, job: JobSnapshot) -> bool:
        return job.task_id is not None and job.task_id == self._me.known_task

    def _has_waiting_keeper(self, job: JobSnapshot) -> bool:
        """Tell whether a Job still holds what its agent made, which nobody has collected."""
        end = find_agent_end(job, self._pods_of(job)) if job.keeps_work else None
        return end is not None and names.KEEPER_CONTAINER in end.still_running

    def _decide_own(self) -> Harvest | ReturnStored | None:
        """Decide on this flow run's newest Job that is over; `None` if a new attempt may start."""
        stored = self._observed.stored
        own = [job for job in self._over if self._is_ours(job)]
        lost = self._committed_and_gone()
        if lost is not None and stored.get(lost):
            return ReturnStored(lost, "The result of this flow run is already stored.")
        if not own:
            return None
        newest = max(own, key=lambda job: (job.created_at or _LONG_AGO, job.attempt or 0))
        answers = stored.get(newest.uid)
        if answers:
            # Also if the process died before it could mark the Job: never harvest it twice.
            return ReturnStored(newest.uid, "The result of this flow run is already stored.")
        if newest.harvested_at is None or answers is None:
            missing = "is not stored" if newest.harvested_at is None else "cannot be read back"
            return Harvest(
                newest,
                then_start=False,
                resume_session=False,
                reason=f"Job {newest.name} of this flow run {self._how_over(newest)}; its result "
                f"{missing}.",
            )
        return None

    def _committed_and_gone(self) -> JobUid | None:
        """Return this flow run's last committed Job if it no longer exists."""
        lease = self._observed.lease
        if lease is None or lease.attempt_flow_run_id != self._me.flow_run_id:
            return None
        listed = {job.uid for job in self._over}
        return None if lease.committed_job_uid in listed else lease.committed_job_uid

    def _next_attempt(self) -> int:
        used = [job.attempt or 0 for job in self._jobs if job.flow_run_id == self._me.flow_run_id]
        lease = self._observed.lease
        if lease is not None and lease.attempt_flow_run_id == self._me.flow_run_id:
            used.append(lease.attempt or 0)
        return max(used, default=0) + 1

    def _after_termination(self, decided: StartNew | Harvest | ReturnStored) -> GuardVerdict:
        """Postpone a decision while agents of deleted Jobs, or of those over, may be working."""
        if isinstance(decided, ReturnStored):
            return decided
        pause = find_pause(self._observed.lease.annotations) if self._observed.lease else None
        if pause is not None and isinstance(decided, StartNew):
            # Harvesting an earlier Job starts no agent.
            return blocked_by_pause(self._me.agent_id, pause)
        found = judge_termination(
            self._pods,
            self._jobs,
            first_look_at=self._observed.first_look_at,
            server_now=self._observed.server_now,
        )
        if found.until is not None:
            return WaitForTermination(
                found.waiting,
                found.until,
                f"{_named('Pod', found.waiting)} of an earlier Job has not terminated yet.",
            )
        if found.stuck and (isinstance(decided, StartNew) or decided.then_start):
            return _blocked_by_pod(found.stuck[0])
        return decided


def _named(kind: str, found: Sequence[JobSnapshot] | Sequence[PodSnapshot]) -> str:
    return ", ".join(f"{kind} {item.name}" for item in found)


def _several(jobs: Sequence[JobSnapshot], me: RunIdentity) -> Blocked:
    return Blocked(
        ErrorCode.JOB_STATE_MISMATCH,
        f"Agent {me.agent_id} has several live Jobs, but may have only one: {_named('Job', jobs)}.",
        "Check these Jobs and delete the unwanted ones; none of them was changed.",
    )


def _blocked_by_pod(pod: PodSnapshot) -> Blocked:
    return Blocked(
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        f"Pod {pod.name} on node {pod.node_name} still exists without its Job and may be working.",
        "Check that node; delete the pod once you know that its container has terminated.",
    )
