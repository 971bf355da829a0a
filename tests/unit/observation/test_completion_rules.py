import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.agent_job.runtime_spec import Limits
from tasks.observation.api_fields import Condition
from tasks.observation.completion_rules import (
    ApiLost,
    CompletionHistory,
    CompletionObservation,
    CompletionVerdict,
    Ended,
    EndedBy,
    Gone,
    StillRunning,
    find_agent_pod,
    find_replacement,
    judge_completion,
    stalled_seconds,
)
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
)
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.names import JobName, JobUid, PodUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits()
ACTIVE = JobSnapshot(JobName("job-1"), JobUid("job-uid"))
COMPLETE, FAILED = Condition("Complete", "True"), Condition("Failed", "True", "DeadlineExceeded")
FINISHED, OVER_DEADLINE = (replace(ACTIVE, conditions=(item,)) for item in (COMPLETE, FAILED))
EXIT_3 = ContainerTerminated(3)

RUNNING = PodSnapshot(
    "pod-1",
    PodUid("uid-1"),
    phase="Running",
    grace_seconds=20,
    containers=(ContainerSnapshot("agent", running=ContainerRunning(NOON)),),
)
PENDING = replace(RUNNING, phase="Pending", containers=())
ENDED = replace(RUNNING, containers=(ContainerSnapshot("agent", terminated=EXIT_3),))
EVICTED = replace(RUNNING, phase="Failed", reason="Evicted", containers=())
SECOND = replace(RUNNING, name="pod-2", uid=PodUid("uid-2"))


def look(
    *pods: PodSnapshot,
    now: float = 0,
    history: CompletionHistory | None = None,
    job: JobSnapshot | None = ACTIVE,
    job_gone: bool = False,
    gone: tuple[str, ...] = (),
    bound: str | None = "uid-1",
    drained: bool = False,
    silent: float = 0,
    proven: bool = False,
) -> CompletionVerdict:
    observed = CompletionObservation(
        job,
        job_gone,
        pods,
        frozenset(PodUid(uid) for uid in gone),
        PodUid(bound) if bound else None,
        drained,
        proven,
        silent,
        now,
    )
    return judge_completion(observed, history or CompletionHistory(), LIMITS)


def watch(*looks: tuple[float, dict[str, Any]], pods: tuple[PodSnapshot, ...]) -> CompletionVerdict:
    """Look several times, handing on the history; every look but the last must go on."""
    verdict: CompletionVerdict = StillRunning("", CompletionHistory())
    for now, fields in looks:
        assert isinstance(verdict, StillRunning), verdict
        found = fields.get("pods", pods)
        rest = {key: value for key, value in fields.items() if key != "pods"}
        verdict = look(*found, now=now, history=verdict.history, **rest)
    return verdict


def ended(verdict: CompletionVerdict) -> Ended:
    assert isinstance(verdict, Ended), verdict
    return verdict


# --- what never ends a run -----------------------------------------------------------------------


@pytest.mark.parametrize("pod", [RUNNING, PENDING], ids=["Running", "Pending"])
@pytest.mark.parametrize(
    "job",
    [
        None,
        ACTIVE,
        replace(ACTIVE, conditions=(Condition("Complete", "False"),)),
        replace(ACTIVE, conditions=(Condition("FailureTarget", "True"),)),
        replace(ACTIVE, conditions=(Condition("Suspended", "True"),)),
        replace(ACTIVE, deletion_at=NOON),
    ],
)
def test_run_whose_pod_is_running_or_pending_goes_on_for_ever(
    job: JobSnapshot | None, pod: PodSnapshot
) -> None:
    for drained, silent in itertools.product([False, True], [0, 599.9]):
        fields = {"job": job, "drained": drained, "silent": silent}

        assert isinstance(watch((0, fields), (86_400, fields), pods=(pod,)), StillRunning)


def test_run_is_described() -> None:
    def reason(*pods: PodSnapshot, **fields: Any) -> str:
        verdict = look(*pods, **fields)
        assert isinstance(verdict, StillRunning)
        return verdict.reason

    assert reason(RUNNING) == "Pod pod-1 is Running."
    assert reason(ENDED) == "The agent in pod pod-1 has ended; waiting for the Job's condition."
    assert reason(RUNNING, job_gone=True) == "The Job was deleted; its pod pod-1 is still there."
    assert reason(bound=None) == "The Job has no pod that was seen."


# --- container, then condition -------------------------------------------------------------------


@pytest.mark.parametrize("drained", [False, True])
@pytest.mark.parametrize("job", [FINISHED, OVER_DEADLINE])
def test_ended_container_with_a_final_condition_ends_the_run_at_once(
    job: JobSnapshot, drained: bool
) -> None:
    assert look(ENDED, job=job, drained=drained) == Ended(
        EndedBy.CONTAINER, ENDED, EXIT_3, job.final_condition, False
    )


def test_proven_end_waits_for_no_condition() -> None:
    assert look(ENDED, drained=True, proven=True) == Ended(
        EndedBy.CONTAINER, ENDED, EXIT_3, None, False
    )
    assert isinstance(look(ENDED, drained=True, proven=False), StillRunning)


@pytest.mark.parametrize(
    ("first", "final"), [("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_first_condition_of_a_pair_is_not_final(first: str, final: str, swapped: bool) -> None:
    alone = replace(ACTIVE, conditions=(Condition(first, "True"),))
    pair = (Condition(first, "True"), Condition(final, "True"))
    both = replace(ACTIVE, conditions=pair[::-1] if swapped else pair)

    assert isinstance(look(ENDED, job=alone, drained=True), StillRunning)
    assert ended(look(ENDED, job=both, drained=True)).condition == Condition(final, "True")


def test_ended_container_of_a_deleted_job_ends_the_run_by_its_own_state() -> None:
    assert look(ENDED, job_gone=True) == Ended(EndedBy.CONTAINER, ENDED, EXIT_3, None, True)
    assert look(ENDED, job=None, job_gone=True) == Ended(
        EndedBy.CONTAINER, ENDED, EXIT_3, None, True
    )


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        pytest.param([(0, False), (9999, False)], False, id="never drained"),
        pytest.param([(0, True), (29.9, True)], False, id="within the grace"),
        pytest.param([(0, True), (30, True)], True, id="grace is over"),
        pytest.param([(0, False), (500, True), (529, True)], False, id="drained late, in grace"),
        pytest.param([(0, False), (500, True), (530, True)], True, id="drained late, over"),
        pytest.param([(0, True), (20, False), (25, True), (54, True)], False, id="drains again"),
    ],
)
@pytest.mark.parametrize("pod", [ENDED, EVICTED])
def test_grace_for_the_condition_counts_from_the_end_with_the_stream_drained(
    pod: PodSnapshot, looks: list[tuple[float, bool]], over: bool
) -> None:
    verdict = watch(*((now, {"drained": drained}) for now, drained in looks), pods=(pod,))

    assert isinstance(verdict, Ended) is over


def test_grace_does_not_count_while_the_container_still_runs() -> None:
    fields = {"drained": True}

    verdict = watch((0, fields), (500, {**fields, "pods": (ENDED,)}), pods=(RUNNING,))
    assert isinstance(verdict, StillRunning)
    assert isinstance(look(ENDED, now=529.9, history=verdict.history, drained=True), StillRunning)
    assert ended(look(ENDED, now=530, history=verdict.history, drained=True)).condition is None


def test_ended_pod_without_a_container_state_is_given_the_time_to_tell_it() -> None:
    fields = {"job": OVER_DEADLINE}

    assert isinstance(watch((0, fields), (9.9, fields), pods=(EVICTED,)), StillRunning)
    late = ended(watch((0, fields), (10, fields), pods=(EVICTED,)))
    assert (late.by, late.terminated) == (EndedBy.POD, None)
    told = ended(watch((0, fields), (5, {**fields, "pods": (ENDED,)}), pods=(EVICTED,)))
    assert (told.by, told.terminated) == (EndedBy.CONTAINER, EXIT_3)


def test_ended_pod_that_has_gone_will_tell_no_more() -> None:
    verdict = ended(look(EVICTED, job=OVER_DEADLINE, gone=("uid-1",)))

    assert (verdict.by, verdict.terminated) == (EndedBy.POD, None)


# --- condition, before the container -------------------------------------------------------------


def test_job_over_its_deadline_leaves_its_agent_the_time_to_end() -> None:
    fields = {"job": OVER_DEADLINE}

    assert isinstance(watch((0, fields), (49.9, fields), pods=(RUNNING,)), StillRunning)
    late = ended(watch((0, fields), (50, fields), pods=(RUNNING,)))
    assert (late.by, late.condition, late.terminated) == (EndedBy.JOB_CONDITION, FAILED, None)
    in_time = ended(watch((0, fields), (9, {**fields, "pods": (ENDED,)}), pods=(RUNNING,)))
    assert (in_time.by, in_time.terminated) == (EndedBy.CONTAINER, EXIT_3)


@pytest.mark.parametrize(("grace", "patience"), [(None, 60), (0, 30), (5, 35)])
def test_patience_is_the_pods_own_grace_and_the_kubelets_lag(
    grace: int | None, patience: float
) -> None:
    pod = replace(RUNNING, grace_seconds=grace)
    fields = {"job": OVER_DEADLINE}

    assert isinstance(watch((0, fields), (patience - 1, fields), pods=(pod,)), StillRunning)
    assert isinstance(watch((0, fields), (patience, fields), pods=(pod,)), Ended)


def test_finished_job_whose_pod_has_gone_ends_the_run_at_once() -> None:
    verdict = ended(look(RUNNING, job=OVER_DEADLINE, gone=("uid-1",)))

    assert (verdict.by, verdict.pod) == (EndedBy.JOB_CONDITION, RUNNING)
    assert ended(look(job=FINISHED, bound=None)).pod is None


# --- the Job has gone ----------------------------------------------------------------------------


def test_deleted_job_whose_pod_has_gone_is_gone() -> None:
    assert look(RUNNING, job_gone=True, gone=("uid-1",)) == Gone(RUNNING)
    assert look(job_gone=True) == Gone(None)


def test_deleted_job_is_followed_while_its_pod_terminates() -> None:
    going = replace(RUNNING, deletion_at=NOON)
    fields = {"job_gone": True}

    assert isinstance(watch((100, fields), (149.9, fields), pods=(going,)), StillRunning)
    assert watch((100, fields), (150, fields), pods=(going,)) == Gone(going)


def test_pod_that_outlives_its_deleted_job_is_followed_to_its_end() -> None:
    fields = {"job_gone": True}

    assert isinstance(watch((0, fields), (86_400, fields), pods=(RUNNING,)), StillRunning)
    assert isinstance(
        watch((0, fields), (86_400, {**fields, "pods": (ENDED,)}), pods=(RUNNING,)), Ended
    )


def test_finished_job_that_goes_too_keeps_its_condition() -> None:
    verdict = ended(look(RUNNING, job=FINISHED, job_gone=True, gone=("uid-1",)))

    assert (verdict.condition, verdict.job_gone) == (COMPLETE, True)


# --- the pod has gone or was replaced ------------------------------------------------------------


def test_replaced_pod_ends_the_run() -> None:
    verdict = ended(look(SECOND, RUNNING, gone=("uid-1",)))

    assert (verdict.by, verdict.pod) == (EndedBy.POD_GONE, RUNNING)


def test_pod_that_is_going_without_a_replacement_is_waited_for() -> None:
    going = replace(RUNNING, deletion_at=NOON)

    assert isinstance(watch((0, {}), (9_999, {}), pods=(going,)), StillRunning)


def test_replaced_pod_that_was_never_seen_ends_the_run_too() -> None:
    verdict = ended(look(SECOND))

    assert (verdict.by, verdict.pod) == (EndedBy.POD_GONE, None)


def test_pod_being_deleted_beside_its_replacement_is_followed_to_its_end() -> None:
    going = replace(RUNNING, deletion_at=NOON)

    assert isinstance(look(SECOND, going), StillRunning)
    assert ended(look(SECOND, ENDED, job=FINISHED)).pod == ENDED


def test_pod_that_has_gone_without_a_replacement_is_given_the_grace() -> None:
    fields = {"gone": ("uid-1",)}

    assert isinstance(watch((0, fields), (29.9, fields), pods=(RUNNING,)), StillRunning)
    late = ended(watch((0, fields), (30, fields), pods=(RUNNING,)))
    assert late.by is EndedBy.POD_GONE


def test_pod_that_was_missing_in_one_list_only_goes_on() -> None:
    fields = {"gone": ("uid-1",)}

    verdict = watch((0, fields), (20, {}), (25, fields), (54, fields), pods=(RUNNING,))

    assert isinstance(verdict, StillRunning)


def test_job_that_never_had_a_pod_goes_on_until_its_own_end() -> None:
    assert isinstance(watch((0, {"bound": None}), (9999, {"bound": None}), pods=()), StillRunning)


def test_first_pod_is_the_agents_where_none_is_bound() -> None:
    assert find_agent_pod((SECOND, RUNNING), None) is RUNNING
    assert find_agent_pod((SECOND, RUNNING), PodUid("uid-2")) is SECOND
    assert find_agent_pod((SECOND,), PodUid("uid-1")) is None
    assert find_agent_pod((), None) is None
    assert find_replacement((SECOND, RUNNING), RUNNING) is SECOND
    assert find_replacement((RUNNING,), RUNNING) is None
    assert find_replacement((), None) is None


# --- the API is away -----------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [600, 5000])
def test_api_that_is_away_too_long_leaves_everything(silent: float) -> None:
    assert look(RUNNING, silent=silent) == ApiLost(silent)


def test_ending_that_was_observed_wins_over_the_api_being_away() -> None:
    assert isinstance(look(ENDED, job=FINISHED, silent=9999), Ended)
    assert isinstance(look(RUNNING, job_gone=True, gone=("uid-1",), silent=9999), Gone)


# --- a Job that is being deleted -----------------------------------------------------------------


def test_container_that_ended_under_a_deletion_waits_for_no_condition() -> None:
    deleting = replace(ACTIVE, deletion_at=NOON)

    assert ended(look(ENDED, job=deleting)).by is EndedBy.CONTAINER


def test_pod_that_never_ends_under_a_deletion_is_given_up_after_its_grace() -> None:
    deleting, going = replace(ACTIVE, deletion_at=NOON), replace(RUNNING, deletion_at=NOON)

    verdict = watch((0, {"job": deleting}), (50, {"job": deleting}), pods=(going,))

    assert verdict == Gone(going)


def test_pod_within_its_grace_under_a_deletion_is_waited_for() -> None:
    deleting, going = replace(ACTIVE, deletion_at=NOON), replace(RUNNING, deletion_at=NOON)

    verdict = watch((0, {"job": deleting}), (49, {"job": deleting}), pods=(going,))

    assert isinstance(verdict, StillRunning)


# --- silence -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("silent", "limit", "allowed", "has_ended", "expected"),
    [
        pytest.param(59.0, 60, 0.0, False, None, id="within the limit"),
        pytest.param(60.0, 60, 0.0, False, 60.0, id="at the limit"),
        pytest.param(100.0, 60, 50.0, False, None, id="a tool at work"),
        pytest.param(110.0, 60, 50.0, False, 110.0, id="longer than the tool may take"),
        pytest.param(9e9, None, 0.0, False, None, id="no limit"),
        pytest.param(9e9, 60, 0.0, True, None, id="its check is at work"),
    ],
)
def test_silence_is_a_stall_of_an_agent_at_work_alone(
    silent: float, limit: int | None, allowed: float, has_ended: bool, expected: float | None
) -> None:
    found = stalled_seconds(
        silent, limit_seconds=limit, allowed_seconds=allowed, agent_has_ended=has_ended
    )

    assert found == expected
