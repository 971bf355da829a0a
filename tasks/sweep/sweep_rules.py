"""The verdict on each object that a sweep finds, decided by one function.

Nothing is ever done to what a fresh Lease holds, to what is younger than the minimum age, or while
Prefect cannot be read: an agent whose owner lives, or may live, is that owner's.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from tasks.sweep.sweep_config import SweepPolicy
from tasks.sweep.sweep_facts import ObjectFacts, ObjectKind, Recognition, RunStanding, Stage


class Finding(StrEnum):
    """What an object turned out to be.

    Those up to `ZOMBIE` are the policy's to answer, by fields of the same names; `DELETION_STUCK`,
    `UNHARVESTED` and `UNREADABLE` are only ever reported; with the others all is well.
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
    """What is to be done about it; by value as the policy spells them."""

    NONE = "none"
    REPORT = "report"
    STOP = "stop"
    DELETE = "delete"
    ADOPT = "adopt"
    MARK_CANCELLED = "mark_cancelled"
    MARK_CRASHED = "mark_crashed"


@dataclass(frozen=True, slots=True)
class SweepVerdict:
    """The judgement on an object.

    Attributes:
        reason: Why, as a sentence without its subject and full stop.
    """

    finding: Finding
    reason: str
    action: SweepAction


REPORTED = frozenset({Finding.DELETION_STUCK, Finding.UNHARVESTED, Finding.UNREADABLE})
# What costs money or hides a failure until somebody acts; the rest is litter.
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
    RunStanding.WAITING: "its flow run is yet to run or to run again",
    RunStanding.RUNNING: "its flow run is running",
    RunStanding.SILENT: "its flow run is running by its state and shows no sign of life",
    RunStanding.CANCELLING: "its flow run is being cancelled and its process is gone",
    RunStanding.CANCELLED: "its flow run was cancelled",
    RunStanding.OVER: "its flow run is over",
    RunStanding.DELETED: "its flow run was deleted from Prefect, which is no cancellation",
    RunStanding.UNKNOWN: "it names no flow run",
    RunStanding.UNREADABLE: "Prefect did not say how its flow run stands",
}

# How each finding goes on after what the flow run is.
_SENTENCES: dict[Finding, str] = {
    Finding.CANCELLED: "{run}, and its agent may be at work",
    Finding.ORPHANED: "{run}, and its agent may be at work",
    Finding.RUN_MISSING: "{run}, and its agent may be at work",
    Finding.UNSTARTED: "{run}, and no agent has started in it",
    Finding.TTL_PASSED: "it ended, and outlived its TTL",
    Finding.UNPAIRED: "its Job is gone, and {run}",
    Finding.IDLE: "nobody has held it for days, and its agent has left nothing else",
    Finding.CANCEL_STUCK: "it is being cancelled, and no process holds its agent's Lease any more",
    Finding.ZOMBIE: "it is running by its state, without a Lease or a heartbeat",
    Finding.DELETION_STUCK: "its deletion was asked for long ago; look at its pod's node",
    Finding.UNHARVESTED: "it ended, {run}, and its result is not stored: a run of the same agent "
    "and task reads it while the TTL lasts",
    Finding.UNREADABLE: "{run}, so nothing is done",
    Finding.OWNED: "the Lease of its agent is held",
    Finding.AWAITED: "{run}",
    Finding.OF_ZOMBIE: "{run}; it is left until that run has ended",
    Finding.YOUNG: "it or the Lease of its agent was touched too short a time ago",
    Finding.DELETING: "it is being deleted",
    Finding.HARVESTED: "its result is stored, and its TTL takes it away",
    Finding.PAIRED: "it goes with its Job",
    Finding.RESTING: "its agent may be woken again",
    Finding.RUN_SETTLED: "{run}",
    Finding.OTHER_VERSION: "another version of this software made it",
    Finding.FOREIGN: "its name and annotations are not those of an agent's run",
}

# Whatever the flow run and the age are.
_SETTLED_STAGES: dict[Stage, Finding] = {
    Stage.DELETING: Finding.DELETING,
    Stage.HARVESTED: Finding.HARVESTED,
    Stage.PAIRED: Finding.PAIRED,
    Stage.RESTING: Finding.RESTING,
}
_GOES_ON = frozenset({RunStanding.WAITING, RunStanding.RUNNING})
_UNSETTLED = frozenset({RunStanding.CANCELLING, RunStanding.SILENT})


def judge_object(facts: ObjectFacts, policy: SweepPolicy) -> SweepVerdict:
    """Tell what an object is and what a sweep is to do about it."""
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
    settled = _SETTLED_STAGES.get(facts.stage)
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
            return _find_job(facts.stage, facts.run)
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
    if run in _GOES_ON:
        return Finding.AWAITED
    return Finding.OF_ZOMBIE if run is RunStanding.SILENT else None


def _find_job(stage: Stage, run: RunStanding) -> Finding:
    if stage is Stage.TTL_PASSED:
        return Finding.TTL_PASSED
    if stage is Stage.DELETION_STUCK:
        return Finding.DELETION_STUCK
    awaited = _awaited_by(run)
    if awaited is not None:
        return awaited
    if stage is Stage.ENDED:
        return Finding.UNHARVESTED
    if stage is Stage.INERT:
        return Finding.UNSTARTED
    if run in {RunStanding.CANCELLING, RunStanding.CANCELLED}:
        return Finding.CANCELLED
    return Finding.ORPHANED if run is RunStanding.OVER else Finding.RUN_MISSING
