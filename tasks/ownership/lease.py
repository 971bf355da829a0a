"""The Lease of an agent: who may act for it, and since when.

A Lease is taken, renewed and released by updates of the whole object under its resourceVersion, so
one of two concurrent writers always learns that it was late. Runs never delete it, so its epoch
(`leaseTransitions`) only grows. All times are the API server's, never those of our own clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType

from tasks.observation.snapshots import LeaseSnapshot
from tasks.vocabulary import names
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid

LeaseHolder = NewType("LeaseHolder", str)
ONLOOKER = LeaseHolder("")
"""Whoever only looks: holds no Lease."""

# Covers four renewal intervals, and a takeover still takes only a minute.
LEASE_DURATION_SECONDS = 60
RENEW_INTERVAL_SECONDS = 15
# Leaves a third of the duration for a write that has already been sent.
WRITE_LIMIT_SECONDS = LEASE_DURATION_SECONDS * 2 / 3


class LeaseState(StrEnum):
    """State of a Lease, as seen by one process.

    `FREE`, `RELEASED` and `EXPIRED` may be taken. `FRESH` is undecided: its owner may have died
    just after renewing it. `RENEWED` was seen being renewed, so its owner is alive.
    """

    FREE = "free"
    MINE = "mine"
    RELEASED = "released"
    EXPIRED = "expired"
    FRESH = "fresh"
    RENEWED = "renewed"


class Tenure(StrEnum):
    """Holder of a Lease that this process once held or wanted.

    `TWIN` is another process of the same flow run, which will report the run's end. `LOST` means
    that somebody else or nobody holds it: a run releases its Lease last of all, so a former owner
    that finds it released or deleted has had a successor.
    """

    OURS = "ours"
    TWIN = "twin"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class LeaseSighting:
    """The first read of a Lease held by another process; later changes show that it is alive.

    Attributes:
        seen_at: When it was read, by the API server's clock.
    """

    lease: LeaseSnapshot
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class LeaseVerdict:
    """The judgement on a Lease.

    Attributes:
        holder_flow_run_id: The current or last holder; `None` if it is free or released.
        expires_in_seconds: Time until it expires, unless it is renewed; 0 unless `FRESH`.
    """

    state: LeaseState
    holder_flow_run_id: FlowRunId | None = None
    expires_in_seconds: float = 0.0

    @property
    def may_be_taken(self) -> bool:
        """Whether it has no owner, or none that is alive."""
        return self.state in {LeaseState.FREE, LeaseState.RELEASED, LeaseState.EXPIRED}


def is_held(lease: LeaseSnapshot | None, server_now: datetime) -> bool:
    """Tell whether a Lease has a holder and has not run out, as it stands at this one look.

    Whoever has died just after renewing it counts as its holder until then.

    Args:
        lease: As just read; `None` if there is none.
        server_now: The `Date` of the answer that brought it.
    """
    return judge_lease(lease, server_now, ONLOOKER).state is LeaseState.FRESH


def holder_flow_run(lease: LeaseSnapshot) -> FlowRunId | None:
    """Return the flow run whose process holds a Lease, or held it last; `None` once released."""
    return _flow_run_of(lease.holder) if lease.holder else None


def lease_holder(flow_run_id: FlowRunId, process_nonce: str) -> LeaseHolder:
    """Return the holder identity of one process of a flow run.

    Args:
        flow_run_id: The flow run.
        process_nonce: Unique for each process, without a slash.
    """
    return LeaseHolder(f"{flow_run_id}/{process_nonce}")


def judge_lease(
    lease: LeaseSnapshot | None,
    server_now: datetime,
    me: LeaseHolder,
    first: LeaseSighting | None = None,
) -> LeaseVerdict:
    """Return whether a Lease is ours, may be taken, or has an owner that is alive.

    It is undecided for at most one duration after the first read, whatever its renewal time: a
    renewal time in the future counts as the time of the first read.

    Args:
        lease: The Lease as just read; `None` if there is none.
        server_now: The `Date` header of that answer.
        me: This process.
        first: This process's first read of the Lease, if it waits for the owner.
    """
    if lease is None:
        return LeaseVerdict(LeaseState.FREE)
    if not lease.holder:
        return LeaseVerdict(LeaseState.RELEASED)
    holder = _flow_run_of(lease.holder)
    if lease.holder == me:
        return LeaseVerdict(LeaseState.MINE, holder)
    expires_in = _expires_in_seconds(lease, server_now, first)
    if expires_in <= 0:
        return LeaseVerdict(LeaseState.EXPIRED, holder)
    if first is not None and _was_renewed(lease, first.lease):
        return LeaseVerdict(LeaseState.RENEWED, holder)
    return LeaseVerdict(LeaseState.FRESH, holder, expires_in)


def judge_tenure(lease: LeaseSnapshot | None, me: LeaseHolder) -> Tenure:
    """Return who holds a Lease, whether it has expired or not.

    Args:
        lease: The Lease as just read; `None` if there is none.
        me: This process.
    """
    if lease is None or not lease.holder:
        return Tenure.LOST
    if lease.holder == me:
        return Tenure.OURS
    return Tenure.TWIN if _flow_run_of(lease.holder) == _flow_run_of(me) else Tenure.LOST


def may_write(last_success_at: float, now: float) -> bool:
    """Return whether the holder of a Lease may still write for its agent.

    Args:
        last_success_at: When the last successful renewal was *sent*, in seconds of a monotonic
            clock of this process; the server renewed the Lease then or later.
        now: The same clock.
    """
    return now - last_success_at < WRITE_LIMIT_SECONDS


def build_lease(
    agent_id: AgentId, me: LeaseHolder, server_now: datetime, lease: LeaseSnapshot | None
) -> dict[str, Any]:
    """Build the Lease as taken by `me`: to be created, or to replace `lease`.

    The epoch is increased by one (1 in a new Lease); all annotations are kept.
    """
    known = lease or LeaseSnapshot(names.lease_name(agent_id))
    marked = replace(
        known,
        labels={
            **known.labels,
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_AGENT_ID: names.label_value(agent_id),
            names.LABEL_VERSION: names.PROTOCOL_VERSION,
        },
        annotations={**known.annotations, names.ANNOTATION_AGENT_ID: agent_id},
        holder=me,
        epoch=known.epoch + 1,
        acquired_at=server_now,
    )
    return _body(marked, server_now)


def build_renewal(lease: LeaseSnapshot, me: LeaseHolder, server_now: datetime) -> dict[str, Any]:
    """Build the replacement of our own Lease that renews it.

    Raises:
        ValueError: The Lease is not ours; renewing it would keep another process's Lease alive.
    """
    _require_held(lease, me)
    return _body(lease, server_now)


def build_commit(
    lease: LeaseSnapshot,
    me: LeaseHolder,
    server_now: datetime,
    *,
    job_name: JobName,
    job_uid: JobUid,
    flow_run_id: FlowRunId,
    attempt: int,
) -> dict[str, Any]:
    """Build the replacement of our own Lease that commits a Job.

    Raises:
        ValueError: The Lease is not ours.
    """
    notes = {
        names.ANNOTATION_COMMITTED_JOB_NAME: job_name,
        names.ANNOTATION_COMMITTED_JOB_UID: job_uid,
        names.ANNOTATION_ATTEMPT_FLOW_RUN_ID: flow_run_id,
        names.ANNOTATION_ATTEMPT: str(attempt),
    }
    return build_noted(lease, me, server_now, notes)


def build_noted(
    lease: LeaseSnapshot, me: LeaseHolder, server_now: datetime, notes: Mapping[str, str]
) -> dict[str, Any]:
    """Build the replacement of our own Lease that has these annotations too.

    Raises:
        ValueError: The Lease is not ours.
    """
    _require_held(lease, me)
    return _body(replace(lease, annotations={**lease.annotations, **notes}), server_now)


def build_release(lease: LeaseSnapshot, me: LeaseHolder, server_now: datetime) -> dict[str, Any]:
    """Build the replacement of our own Lease that releases it.

    The holder is cleared; the epoch and all annotations are kept.

    Raises:
        ValueError: The Lease is not ours.
    """
    _require_held(lease, me)
    return _body(replace(lease, holder=""), server_now)


def _flow_run_of(holder: str) -> FlowRunId:
    return FlowRunId(holder.rpartition("/")[0] or holder)


def _expires_in_seconds(
    lease: LeaseSnapshot, server_now: datetime, first: LeaseSighting | None
) -> float:
    if lease.renewed_at is None:
        return 0.0
    seen_at = server_now
    if first is not None and not _was_renewed(lease, first.lease):
        seen_at = first.seen_at
    duration = timedelta(seconds=lease.duration_seconds or LEASE_DURATION_SECONDS)
    return (min(lease.renewed_at, seen_at) + duration - server_now).total_seconds()


def _was_renewed(lease: LeaseSnapshot, before: LeaseSnapshot) -> bool:
    now, then = ((item.holder, item.epoch, item.renewed_at) for item in (lease, before))
    return now != then


def _require_held(lease: LeaseSnapshot, me: LeaseHolder) -> None:
    if lease.holder != me:
        raise ValueError(f"the Lease {lease.name} is held by {lease.holder!r}, not by {me!r}")


def _body(lease: LeaseSnapshot, renewed_at: datetime) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": lease.name,
        "labels": dict(lease.labels),
        "annotations": dict(lease.annotations),
    }
    if lease.resource_version:
        # With the uid, updating a Lease that was deleted in the meantime is a conflict. Without it,
        # the server creates the Lease again despite the resourceVersion (seen on 1.20 and 1.36).
        metadata |= {"uid": lease.uid, "resourceVersion": lease.resource_version}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": LEASE_DURATION_SECONDS,
            "acquireTime": _micro_time(lease.acquired_at or renewed_at),
            "renewTime": _micro_time(renewed_at),
            "leaseTransitions": lease.epoch,
        },
    }


def _micro_time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
