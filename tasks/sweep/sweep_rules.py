"""The verdict on each object that a sweep finds, decided by one function.

Objects are never changed if their agent's Lease is fresh, if they are younger than the minimum age,
or while Prefect cannot be read: an agent with an owner that is or may be alive belongs to it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from tasks.sweep.sweep_config import SweepPolicy
from tasks.sweep.sweep_facts import ObjectFacts, ObjectKind, ObjectState, Recognition, RunStanding


class Finding(StrEnum):
    """What a sweep found out about an object.

    The policy has a field of the same name for each finding up to `ZOMBIE`. `DELETION_STUCK`,
    `UNHARVESTED` and `UNREADABLE` are only reported. The others are in order.
    """

    CANCELLED = "cancelled"
    ORPHANED = "orphaned"
    RUN_MISSING = "run_missing"
    UNSTARTED = "unstarted"
    TTL_PASSED = "ttl_passed"
    UNPAIRED = "unpaired"
    IDLE = "idle"
    CANCEL_STUCK = "cancel_stuck"
    ZOMBIE = "zombie"
    DELETION_STUCK = "deletion_stuck"
    UNHARVESTED = "unharvested"
    UNREADABLE = "unreadable"
    OWNED = "owned"
    AWAITED = "awaited"
    OF_ZOMBIE = "of_zombie"
    YOUNG = "young"
    DELETING = "deleting"
    HARVESTED = "harvested"
    PAIRED = "paired"
    RESTING = "resting"
    RUN_SETTLED = "run_settled"
    OTHER_VERSION = "other_version"
    FOREIGN = "foreign"


class SweepAction(StrEnum):
    """What to do about an object; the values are those of the policy."""

    NONE = "none"
    REPORT = "report"
    STOP = "stop"
    DELETE = "delete"
    ADOPT = "adopt"
    MARK_CANCELLED = "mark_cancelled"
    MARK_CRASHED = "mark_crashed"


@dataclass(frozen=True, slots=True)
class SweepVerdict:
    """The verdict on an object.

    Attributes:
        reason: Why, as a sentence without a capital letter and full stop.
    """

    finding: Finding
    reason: str
    action: SweepAction


REPORTED = frozenset({Finding.DELETION_STUCK, Finding.UNHARVESTED, Finding.UNREADABLE})
# What costs money or hides a failure until somebody acts; the rest only takes up space.
ALARMING = frozenset(
    {
        Finding.CANCELLED,
        Finding.ORPHANED,
        Finding.RUN_MISSING,
        Finding.CANCEL_STUCK,
        Finding.ZOMBIE,
        Finding.DELETION_STUCK,
        Finding.UNREADABLE,
    }
)

_WORDS: dict[RunStanding, str] = {
    RunStanding.WAITING: "its flow run has yet to run, or to run again",
    RunStanding.RUNNING: "its flow run is running",
    RunStanding.SILENT: "its flow run is in state Running but shows no sign of life",
    RunStanding.CANCELLING: "its flow run is being cancelled but has no process any more",
    RunStanding.CANCELLED: "its flow run was cancelled",
    RunStanding.OVER: "its flow run has ended",
    RunStanding.DELETED: "its flow run was deleted from Prefect, which does not cancel it",
    RunStanding.UNKNOWN: "it names no flow run",
    RunStanding.UNREADABLE: "the state of its flow run could not be read from Prefect",
}

# The reason for each finding; `{run}` is the state of the flow run in words.
_SENTENCES: dict[Finding, str] = {
    Finding.CANCELLED: "{run}, and its agent may be working",
    Finding.ORPHANED: "{run}, and its agent may be working",
    Finding.RUN_MISSING: "{run}, and its agent may be working",
    Finding.UNSTARTED: "{run}, and its agent never started",
    Finding.TTL_PASSED: "its agent has ended, and it still exists after its TTL",
    Finding.UNPAIRED: "its Job is gone, and {run}",
    Finding.IDLE: "it has not been held for days, and its agent has no other objects",
    Finding.CANCEL_STUCK: "it is being cancelled, but no process holds its agent's Lease any more",
    Finding.ZOMBIE: "it is in state Running but has neither a Lease nor a heartbeat",
    Finding.DELETION_STUCK: "its deletion was requested long ago; check the node of its pod",
    Finding.UNHARVESTED: "its agent has ended, {run}, and its result is not stored; a run of the "
    "same agent and task will store it until the TTL has passed",
    Finding.UNREADABLE: "{run}, so it is not changed",
    Finding.OWNED: "a run holds the Lease of its agent",
    Finding.AWAITED: "{run}",
    Finding.OF_ZOMBIE: "{run}; it is not changed until that run has ended",
    Finding.YOUNG: "it, or the Lease of its agent, was changed too recently",
    Finding.DELETING: "it is being deleted",
    Finding.HARVESTED: "its result is stored, and it is deleted after its TTL",
    Finding.PAIRED: "it is deleted together with its Job",
    Finding.RESTING: "its agent may be woken again",
    Finding.RUN_SETTLED: "{run}",
    Finding.OTHER_VERSION: "another version of this software created it",
    Finding.FOREIGN: "its name and annotations do not belong to a run of an agent",
}

# Findings that do not depend on the flow run or the age.
_SETTLED_STATES: dict[ObjectState, Finding] = {
    ObjectState.DELETING: Finding.DELETING,
    ObjectState.HARVESTED: Finding.HARVESTED,
    ObjectState.PAIRED: Finding.PAIRED,
    ObjectState.RESTING: Finding.RESTING,
}
_CONTINUES = frozenset({RunStanding.WAITING, RunStanding.RUNNING})
_UNSETTLED = frozenset({RunStanding.CANCELLING, RunStanding.SILENT})


def judge_object(facts: ObjectFacts, policy: SweepPolicy) -> SweepVerdict:
    """Return the verdict on an object: the finding, the reason and the action."""
    finding = _find(facts)
    return SweepVerdict(
        finding, _SENTENCES[finding].format(run=_WORDS[facts.run]), _answer(finding, policy)
    )


def _answer(finding: Finding, policy: SweepPolicy) -> SweepAction:
    answer = getattr(policy, finding, None)
    if answer is not None:
        return SweepAction(answer)
    return SweepAction.REPORT if finding in REPORTED else SweepAction.NONE


def _find(facts: ObjectFacts) -> Finding:
    if facts.recognition is Recognition.FOREIGN:
        return Finding.FOREIGN
    if facts.recognition is Recognition.OTHER_VERSION:
        return Finding.OTHER_VERSION
    if facts.lease_fresh:
        return Finding.OWNED
    settled = _SETTLED_STATES.get(facts.state)
    if settled is not None:
        return settled
    if facts.kind is ObjectKind.FLOW_RUN and facts.run not in _UNSETTLED:
        return Finding.RUN_SETTLED
    if not facts.old_enough:
        return Finding.YOUNG
    if facts.run is RunStanding.UNREADABLE:
        return Finding.UNREADABLE
    return _find_by_kind(facts)


def _find_by_kind(facts: ObjectFacts) -> Finding:
    match facts.kind:
        case ObjectKind.JOB:
            return _find_job(facts.state, facts.run)
        case ObjectKind.SECRET:
            return _awaited_by(facts.run) or Finding.UNPAIRED
        case ObjectKind.LEASE:
            if facts.run is RunStanding.CANCELLING:
                return Finding.AWAITED
            return _awaited_by(facts.run) or Finding.IDLE
        case ObjectKind.FLOW_RUN:
            stuck = facts.run is RunStanding.CANCELLING
            return Finding.CANCEL_STUCK if stuck else Finding.ZOMBIE
        case _:
            assert_never(facts.kind)


def _awaited_by(run: RunStanding) -> Finding | None:
    if run in _CONTINUES:
        return Finding.AWAITED
    return Finding.OF_ZOMBIE if run is RunStanding.SILENT else None


def _find_job(state: ObjectState, run: RunStanding) -> Finding:
    if state is ObjectState.TTL_PASSED:
        return Finding.TTL_PASSED
    if state is ObjectState.DELETION_STUCK:
        return Finding.DELETION_STUCK
    awaited = _awaited_by(run)
    if awaited is not None:
        return awaited
    if state is ObjectState.FINISHED:
        return Finding.UNHARVESTED
    if state is ObjectState.INERT:
        return Finding.UNSTARTED
    if run in {RunStanding.CANCELLING, RunStanding.CANCELLED}:
        return Finding.CANCELLED
    return Finding.ORPHANED if run is RunStanding.OVER else Finding.RUN_MISSING
