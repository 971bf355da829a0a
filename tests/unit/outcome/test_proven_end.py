"""An end is proven if every one of its conditions holds; each one is left out once."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
)
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.outcome.proven_end import end_is_proven
from tasks.outcome.run_result import TranscriptProof
from tasks.transcript.line_grammar import Refusal, Trailer
from tasks.vocabulary.names import JobName, JobUid, PodUid

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PROOF = TranscriptProof(complete=True, lines=3)
TRAILER = Trailer(1, 3, 10, "00", 0, False, 3, 3, 0, 0, None)
JOB = JobSnapshot(JobName("job-1"), JobUid("job-uid"))


def pod_that_ended(exit_code: int | None, reason: str | None = "Completed") -> PodSnapshot:
    ended = ContainerTerminated(exit_code, reason=reason)
    agent = ContainerSnapshot("agent", terminated=ended)
    return PodSnapshot("pod-1", PodUid("uid-1"), phase="Running", containers=(agent,))


POD = pod_that_ended(0)


@pytest.mark.parametrize(
    ("trailer", "pod"),
    [
        pytest.param(TRAILER, POD, id="exit code 0"),
        pytest.param(replace(TRAILER, exit_code=1), pod_that_ended(1, "Error"), id="exit code 1"),
        pytest.param(
            replace(TRAILER, exit_code=124, timed_out=True),
            pod_that_ended(124, "Error"),
            id="at its own time limit",
        ),
        pytest.param(
            replace(TRAILER, exit_code=137, timed_out=True),
            pod_that_ended(137, "Error"),
            id="killed at its own time limit",
        ),
        pytest.param(replace(TRAILER, exit_code=255), pod_that_ended(255, "Error"), id="no signal"),
    ],
)
@pytest.mark.parametrize("job", [None, JOB])
def test_end_on_which_output_and_container_agree_is_proven(
    trailer: Trailer, pod: PodSnapshot, job: JobSnapshot | None
) -> None:
    assert end_is_proven(PROOF, trailer, pod, job)


def test_first_condition_of_a_job_that_completes_takes_nothing_away() -> None:
    job = replace(JOB, conditions=(Condition("SuccessCriteriaMet", "True"),))
    assert end_is_proven(PROOF, TRAILER, POD, job)


@pytest.mark.parametrize(
    ("proof", "trailer"),
    [
        pytest.param(TranscriptProof(complete=False), TRAILER, id="lines missing"),
        pytest.param(TranscriptProof(), TRAILER, id="lines not counted"),
        pytest.param(PROOF, None, id="no trailer"),
        pytest.param(PROOF, replace(TRAILER, refused=Refusal.REVOKED), id="refused"),
        pytest.param(PROOF, replace(TRAILER, exit_code=3), id="exit codes differ"),
    ],
)
def test_output_that_leaves_a_doubt_proves_nothing(
    proof: TranscriptProof, trailer: Trailer | None
) -> None:
    assert not end_is_proven(proof, trailer, POD, JOB)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(None, id="never seen"),
        pytest.param(replace(POD, containers=()), id="no container state"),
        pytest.param(
            replace(POD, containers=(ContainerSnapshot("agent", running=ContainerRunning(NOON)),)),
            id="running",
        ),
        pytest.param(pod_that_ended(None), id="exit code not observed"),
        pytest.param(pod_that_ended(0, "ContainerStatusUnknown"), id="made up"),
        pytest.param(pod_that_ended(0, "OOMKilled"), id="a child was killed"),
        pytest.param(pod_that_ended(0, None), id="no reason"),
        pytest.param(replace(POD, deletion_at=NOON), id="being deleted"),
        pytest.param(replace(POD, reason="Evicted"), id="evicted"),
        pytest.param(
            replace(
                POD, conditions=(Condition("DisruptionTarget", "True", "EvictionByEvictionAPI"),)
            ),
            id="disrupted",
        ),
    ],
)
def test_pod_that_leaves_a_doubt_proves_nothing(pod: PodSnapshot | None) -> None:
    assert not end_is_proven(PROOF, TRAILER, pod, JOB)


@pytest.mark.parametrize("exit_code", [129, 137, 143, 192])
def test_signal_needs_the_jobs_word_on_who_sent_it(exit_code: int) -> None:
    trailer, pod = replace(TRAILER, exit_code=exit_code), pod_that_ended(exit_code, "Error")
    assert not end_is_proven(PROOF, trailer, pod, JOB)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(replace(JOB, deletion_at=NOON), id="being deleted"),
        pytest.param(
            replace(JOB, conditions=(Condition("FailureTarget", "True", "DeadlineExceeded"),)),
            id="given up",
        ),
    ],
)
def test_job_that_is_ending_its_agent_leaves_a_doubt(job: JobSnapshot) -> None:
    assert not end_is_proven(PROOF, TRAILER, POD, job)
