"""No sentence about a start or an end says more than somebody saw.

A table of what can have been seen of an agent (its pod, its process, its output, its end), by its
own run or after a takeover, times what may have happened to its Job.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.agent_job.runtime_spec import Limits
from tasks.observation.api_fields import Condition
from tasks.observation.container_states import ContainerSnapshot, ContainerWaiting
from tasks.observation.pod_wait import (
    Failed,
    PodWaitHistory,
    PodWaitObservation,
    judge_pod_wait,
)
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import JobGone, RunFacts
from tasks.outcome.run_result import TranscriptProof
from tasks.outcome.verdict import judge_run
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import JobName, JobUid, PodUid
from tests.unit.outcome.telling import told_of

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
GONE = JobGone("two reads of the Job by name")


@dataclass(frozen=True)
class Seen:
    """What was seen of an agent.

    Attributes:
        started: Whether its process was seen to run; `None` where nobody looked in time.
        ended: Whether its exit code was read.
    """

    pod: bool
    started: bool | None
    lines: bool
    ended: bool

    def facts(self, happened: str) -> RunFacts:
        deleted = happened in {"Job gone", "Job being deleted"}
        return RunFacts(
            container_started=self.started,
            container_exit_code=1 if self.ended else None,
            container_ended_at=NOON if self.ended else None,
            transcript=TranscriptProof(lines=3 if self.lines else 0),
            pod_name="pod-1" if self.pod else None,
            pod_gone=happened != "nothing" if self.pod else None,
            job_name="job-1",
            job_gone=GONE if happened == "Job gone" else None,
            job_deletion_seen=happened == "Job being deleted",
            job_deletion_at=NOON - timedelta(seconds=9) if deleted else None,
            job_conditions=(Condition("Complete", "True"),) if happened == "Job finished" else (),
        )


HAPPENED = ("nothing", "pod gone", "Job gone", "Job being deleted", "Job finished")
ALL_SEEN = [
    Seen(pod, started, lines, ended)
    for pod, started, lines, ended in itertools.product(
        (True, False), (True, False, None), (True, False), (True, False)
    )
    # Without its pod nobody saw its process, and an ended process has started.
    if (pod or (started is None and not ended)) and not (ended and not started)
]
# What a sentence claims, and what must have been seen for it.
CLAIMS: dict[str, Callable[[Seen, str], object]] = {
    r"before the agent started|has not run|never ran|nothing was sent": lambda seen, happened: (
        seen.started is False and not seen.lines and happened == "nothing"
    ),
    r"before the agent had ended": lambda seen, happened: seen.ended,
    r"ended without printing": lambda seen, happened: (
        (seen.started or seen.ended) and not seen.lines
    ),
    r"nobody saw its agent": lambda seen, happened: not seen.pod,
    r"Nothing was seen of Claude Code": lambda seen, happened: (
        not (seen.started or seen.lines or seen.ended)
    ),
}


@pytest.mark.parametrize("happened", HAPPENED)
@pytest.mark.parametrize("seen", ALL_SEEN, ids=str)
def test_verdict_claims_no_more_than_was_seen(seen: Seen, happened: str) -> None:
    outcome = judge_run(seen.facts(happened))

    told = " ".join([told_of(outcome), outcome.advice or "", *outcome.facts_used])
    claimed = {claim for claim in CLAIMS if re.search(claim, told)}
    assert {claim for claim in claimed if not CLAIMS[claim](seen, happened)} == set()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(True, True, True, True), "before the agent had ended"),
        (Seen(True, True, True, False), "before the agent was seen to end"),
        (Seen(True, False, False, False), "before the agent was seen to start"),
        (Seen(True, None, False, False), "before the agent was seen to start"),
        (Seen(False, None, True, False), "before the agent was seen to end"),
        (
            Seen(False, None, False, False),
            "at a time when nobody saw its agent, which may have ended before",
        ),
    ],
    ids=str,
)
def test_deletion_of_the_job_is_dated_by_what_was_seen_of_the_agent(seen: Seen, words: str) -> None:
    outcome = judge_run(seen.facts("Job gone"))

    assert outcome.code is ErrorCode.JOB_DELETED_EXTERNALLY
    assert f"Job job-1 was deleted by somebody else {words}, after" in outcome.message


def test_job_deleted_after_its_agents_end_has_not_ended_it() -> None:
    facts = Seen(True, True, True, True).facts("Job gone")
    before = judge_run(facts)
    after = judge_run(replace(facts, job_deletion_at=NOON + timedelta(hours=1)))

    assert before.reason is Reason.JOB_DELETED
    assert after.reason is not Reason.JOB_DELETED


# --- while the pod is waited for -----------------------------------------------------------------

JOB = JobSnapshot(JobName("job-1"), JobUid("job-1"))
UNSTARTED = ContainerSnapshot("agent", waiting=ContainerWaiting("ContainerCreating"))
POD = PodSnapshot(
    "pod-1", PodUid("pod-1"), phase="Pending", node_name="node-1", containers=(UNSTARTED,)
)
ENDED_POD = PodSnapshot("pod-1", PodUid("pod-1"), phase="Failed", reason="Evicted")
DEADLINE = JobSnapshot(
    JOB.name, JOB.uid, conditions=(Condition("Failed", "True", "DeadlineExceeded"),)
)
ENDINGS: dict[str, tuple[JobSnapshot | None, PodSnapshot | None]] = {
    "Job gone": (None, POD),
    "Job and pod gone": (None, None),
    "Job finished": (DEADLINE, POD),
    "Job finished, pod gone": (DEADLINE, None),
    "pod ended": (JOB, ENDED_POD),
    "pod gone": (JOB, None),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("prompted", [True, False], ids=["prompted", "no prompt yet"])
@pytest.mark.parametrize("adopted", [True, False], ids=["adopted", "own"])
def test_wait_for_a_pod_claims_no_more_than_was_seen(
    ending: str, prompted: bool, adopted: bool
) -> None:
    job, pod = ENDINGS[ending]
    verdict = judge_pod_wait(
        PodWaitObservation(
            job, [pod] if pod else [], NOON, bound_uid=PodUid("pod-1") if prompted else None
        ),
        PodWaitHistory(NOON),
        Limits(),
        reattaching=adopted,
    )
    # Only a Job that has yet to get its pod is waited for.
    assert isinstance(verdict, Failed) is not (ending == "pod gone" and not prompted)
    told = f"{verdict.message} {verdict.advice}" if isinstance(verdict, Failed) else ""
    is_certain = not prompted and not adopted
    claims = {
        "before the agent started": is_certain,
        "has not run": is_certain and job is None,
        "before the agent was seen to start": not is_certain and pod is not None,
        "its agent may have run before": not is_certain and pod is None,
    }
    expected = {claim for claim, is_right in claims.items() if told and is_right}
    assert {claim for claim in claims if claim in told} == expected
