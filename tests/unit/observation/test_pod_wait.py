from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.agent_job.runtime_spec import Limits
from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
    ContainerWaiting,
)
from tasks.observation.pod_wait import (
    Failed,
    PodWaitHistory,
    PodWaitObservation,
    PodWaitVerdict,
    Ready,
    Waiting,
    judge_pod_wait,
)
from tasks.observation.snapshots import JobSnapshot, KubernetesEventSnapshot, PodSnapshot
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.names import JobName, JobUid, PodUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
JOB = JobSnapshot(JobName("job-1"), JobUid("job-uid"))
LIMITS = Limits()
UNSCHEDULABLE = Condition(
    "PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient memory."
)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def waits(
    reason: str | None = None, message: str | None = None, name: str = "agent"
) -> ContainerSnapshot:
    return ContainerSnapshot(name, waiting=ContainerWaiting(reason, message), image="agent:dev")


def ended(code: int | None = 0, *, name: str = "agent", **fields: Any) -> ContainerSnapshot:
    return ContainerSnapshot(name, terminated=ContainerTerminated(code, **fields))


RUNNING = ContainerSnapshot("agent", running=ContainerRunning(NOON))


def pod(container: ContainerSnapshot | None = None, number: int = 1, **fields: Any) -> PodSnapshot:
    built = PodSnapshot(
        f"pod-{number}",
        PodUid(f"uid-{number}"),
        phase="Pending",
        node_name="node-1",
        containers=(container,) if container else (),
    )
    return replace(built, **fields)


def event(
    reason: str, message: str, at: float | None = 0, about: str = "uid-1"
) -> KubernetesEventSnapshot:
    return KubernetesEventSnapshot(
        reason, message, last_at=None if at is None else after(at), about_uid=about
    )


def look(
    *pods: PodSnapshot,
    now: float = 0,
    history: PodWaitHistory | None = None,
    job: JobSnapshot | None = JOB,
    events: tuple[KubernetesEventSnapshot, ...] = (),
    bound: str | None = None,
    reattaching: bool = False,
    limits: Limits = LIMITS,
) -> PodWaitVerdict:
    return judge_pod_wait(
        PodWaitObservation(job, pods, after(now), events, PodUid(bound) if bound else None),
        history or PodWaitHistory(NOON),
        limits,
        reattaching=reattaching,
    )


def watch(*looks: tuple[float, PodSnapshot | None], **kwargs: Any) -> PodWaitVerdict:
    """Look several times, handing on the history; every look but the last must wait."""
    history = PodWaitHistory(NOON)
    verdict: PodWaitVerdict | None = None
    for now, found in looks:
        assert verdict is None or isinstance(verdict, Waiting), verdict
        verdict = look(*([found] if found else []), now=now, history=history, **kwargs)
        history = verdict.history if isinstance(verdict, Waiting) else history
    assert verdict is not None
    return verdict


def failure(verdict: PodWaitVerdict) -> Failed:
    assert isinstance(verdict, Failed), verdict
    return verdict


# --- ready ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(pod(RUNNING, phase="Running"), id="running"),
        pytest.param(pod(RUNNING, phase="Pending"), id="running, phase lags"),
        pytest.param(pod(ended(0), phase="Succeeded"), id="first seen succeeded"),
        pytest.param(pod(ended(3), phase="Failed"), id="first seen failed"),
        pytest.param(pod(ended(3), phase="Failed", reason="Evicted"), id="ran, then evicted"),
        pytest.param(pod(ended(None, ran=None), phase="Failed"), id="it is unknown whether it ran"),
        pytest.param(pod(RUNNING, deletion_at=NOON), id="running, being deleted"),
    ],
)
def test_pod_whose_agent_has_run_is_ready_whatever_else_is_wrong(found: PodSnapshot) -> None:
    for job in (JOB, None, replace(JOB, conditions=(Condition("Failed", "True"),))):
        assert look(found, job=job, now=9999) == Ready(found)


def test_agent_is_found_by_name_among_containers() -> None:
    sidecar = ContainerSnapshot("sidecar", running=ContainerRunning(NOON))
    found = pod(containers=(sidecar, waits("ContainerCreating")))

    assert isinstance(look(found), Waiting)
    assert isinstance(look(replace(found, containers=(sidecar, RUNNING))), Ready)


def test_bound_pod_is_ready_and_no_other() -> None:
    first, second = pod(ended(0), phase="Failed"), pod(RUNNING, number=2)

    assert look(second, first, bound="uid-1") == Ready(first)
    assert look(second, first) == Ready(second)


@pytest.mark.parametrize(
    "pods",
    [
        (pod(number=2), pod(RUNNING, number=1)),
        (pod(number=2, deletion_at=NOON), pod(RUNNING, number=1)),
    ],
)
def test_pod_that_has_run_is_taken_before_a_newer_one(pods: tuple[PodSnapshot, ...]) -> None:
    assert look(*pods) == Ready(pods[1])


# --- no pod --------------------------------------------------------------------------------------


def test_job_without_a_pod_is_waited_for_within_the_scheduling_limit() -> None:
    verdict = look(now=599.9)

    assert verdict == Waiting("No pod yet.", None, PodWaitHistory(NOON))
    late = failure(look(now=600))
    assert (late.code, late.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.UNKNOWN)
    assert "no pod for 600 s" in late.message
    assert late.pod is None


def test_refused_pod_is_waited_for_and_fails_with_the_newest_events_message() -> None:
    events = (
        event("FailedCreate", "older", 1),
        event("FailedCreate", 'pods "x" is forbidden: exceeded quota', 5),
        event("FailedCreate", "undated", None),
        event("SuccessfulDelete", "newer, about something else", 9),
    )
    waiting = look(now=10, events=events)

    assert isinstance(waiting, Waiting)
    assert waiting.progress == 'No pod yet: pods "x" is forbidden: exceeded quota'
    late = failure(watch((10, None), (130, None), events=events))
    assert late.cause is Cause.CONFIG_ERROR
    assert "exceeded quota" in late.message


NO_ACCOUNT = (
    'Error creating: pods "job-1-" is forbidden: error looking up service account agents/builder: '
    'serviceaccount "builder" not found'
)
NO_LIMITS = 'pods "job-1-" is forbidden: failed quota: q: must specify limits.cpu for: agent'
FULL_QUOTA = 'pods "job-1-" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1'


@pytest.mark.parametrize(
    ("message", "seconds"), [(NO_ACCOUNT, 20), (NO_LIMITS, 20), (FULL_QUOTA, 120)]
)
def test_refused_creation_ends_the_wait_with_its_sentence_after_its_patience(
    message: str, seconds: int
) -> None:
    refused = (event("FailedCreate", message, about="job-uid"),)

    assert isinstance(watch((5, None), (4.9 + seconds, None), events=refused), Waiting)
    late = failure(watch((5, None), (5 + seconds, None), events=refused))
    assert (late.code, late.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.CONFIG_ERROR)
    assert message in late.message


def test_refused_creation_that_healed_is_forgotten() -> None:
    refused = (event("FailedCreate", FULL_QUOTA, about="job-uid"),)

    assert isinstance(watch((5, None), (100, pod(node_name=None)), events=refused), Waiting)


def test_refusal_of_another_kind_has_a_patience_of_its_own() -> None:
    first = look(now=0, events=(event("FailedCreate", FULL_QUOTA),))
    assert isinstance(first, Waiting)
    second = look(now=100, history=first.history, events=(event("FailedCreate", NO_ACCOUNT),))
    assert isinstance(second, Waiting)
    third = look(now=119.9, history=second.history, events=(event("FailedCreate", NO_ACCOUNT),))
    assert isinstance(third, Waiting)
    assert isinstance(
        look(now=120, history=third.history, events=(event("FailedCreate", NO_ACCOUNT),)), Failed
    )


def test_refusals_that_take_turns_end_the_wait_at_the_scheduling_limit() -> None:
    history = PodWaitHistory(NOON)
    for number, now in enumerate(range(0, 600, 15)):
        message = (FULL_QUOTA, NO_ACCOUNT)[number % 2]
        verdict = look(now=now, history=history, events=(event("FailedCreate", message),))
        assert isinstance(verdict, Waiting)
        history = verdict.history

    late = failure(look(now=600, history=history, events=(event("FailedCreate", FULL_QUOTA),)))
    assert late.cause is Cause.CONFIG_ERROR
    assert f"for 600 s: {FULL_QUOTA}" in late.message


# --- queues --------------------------------------------------------------------------------------

QUEUED = replace(JOB, suspended=True, queue_name="agents")


def test_suspended_job_waits_for_its_queue_beyond_all_other_limits() -> None:
    verdict = look(now=0, job=QUEUED)
    assert isinstance(verdict, Waiting)
    assert verdict.progress == "No pod yet: Job job-1 is suspended by its queue agents."

    later = look(now=86_399, job=QUEUED, history=verdict.history)
    assert isinstance(later, Waiting)
    late = failure(look(now=86_400, job=QUEUED, history=later.history))
    assert (late.code, late.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.UNSCHEDULABLE)
    assert "queue agents, which has not admitted it for 86400 s" in late.message
    assert "limits.queue_seconds" in late.advice


def test_job_without_a_queues_label_is_said_to_be_suspended_too() -> None:
    verdict = look(now=0, job=replace(JOB, suspended=True))

    assert isinstance(verdict, Waiting)
    assert verdict.progress == "No pod yet: Job job-1 is suspended by its queue."


def test_admitted_job_has_its_other_limits_from_then_on() -> None:
    queued = look(now=0, job=QUEUED)
    assert isinstance(queued, Waiting)
    admitted = look(now=5000, history=queued.history)
    assert isinstance(admitted, Waiting)
    assert admitted.history.admitted_at == after(5000)
    assert isinstance(look(now=5599, history=admitted.history), Waiting)
    assert failure(look(now=5600, history=admitted.history)).cause is Cause.UNKNOWN
    placed = look(pod(node_name=None), now=5010, history=admitted.history)
    assert isinstance(placed, Waiting)
    assert placed.history.pod_since == after(5000)


@pytest.mark.parametrize("pods", [(), (pod(deletion_at=NOON),)])
def test_job_suspended_again_before_its_bound_pod_started_is_preempted(
    pods: tuple[PodSnapshot, ...],
) -> None:
    verdict = failure(look(*pods, job=QUEUED, bound="uid-1"))

    assert (verdict.code, verdict.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.PREEMPTED)
    assert "suspended by its queue agents again" in verdict.message


@pytest.mark.parametrize("left", [pod(deletion_at=NOON), pod(phase="Failed")])
def test_job_suspended_again_before_it_was_bound_waits_on(left: PodSnapshot) -> None:
    verdict = look(left, job=QUEUED)

    assert isinstance(verdict, Waiting)
    assert "suspended by its queue" in verdict.progress


# --- scheduling ----------------------------------------------------------------------------------


def test_unschedulable_pod_is_tolerated_within_its_limit_then_names_the_scheduler() -> None:
    found = pod(node_name=None, conditions=(UNSCHEDULABLE,))

    verdict = watch((0, None), (5, found), (599, found))
    assert isinstance(verdict, Waiting)
    assert verdict.pod == found
    assert verdict.progress == (
        "Pod pod-1 waits for a node: 0/3 nodes are available: 3 Insufficient memory."
    )
    late = failure(watch((5, found), (600, found)))
    assert (late.code, late.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.UNSCHEDULABLE)
    assert "3 Insufficient memory" in late.message
    assert late.pod == found


def test_pod_that_the_scheduler_never_looked_at_is_unschedulable_too() -> None:
    found = pod(node_name=None)

    verdict = look(found, now=1)
    assert isinstance(verdict, Waiting)
    assert verdict.progress == "Pod pod-1 waits for a node."
    assert failure(look(found, now=600)).cause is Cause.UNSCHEDULABLE


def test_start_limit_counts_from_the_node_and_not_from_the_beginning() -> None:
    early, placed = pod(node_name=None), pod(waits("ContainerCreating"))

    assert isinstance(watch((0, early), (590, placed), (889, placed)), Waiting)
    late = failure(watch((0, early), (590, placed), (890, placed)))
    assert late.cause is Cause.UNKNOWN
    assert "within 300 s" in late.message


def test_another_pod_has_limits_of_its_own() -> None:
    first, second = pod(node_name=None), pod(number=2, node_name=None)

    verdict = watch((0, first), (500, second), (1099, second))
    assert isinstance(verdict, Waiting)
    assert verdict.history == PodWaitHistory(NOON, PodUid("uid-2"), pod_since=after(500))
    assert failure(watch((0, first), (500, second), (1100, second))).cause is Cause.UNSCHEDULABLE


def test_pod_that_replaces_an_ended_one_is_waited_for_where_none_is_bound() -> None:
    gone = pod(number=1, deletion_at=NOON)
    newer = pod(number=2, node_name=None)

    verdict = look(gone, newer)
    assert isinstance(verdict, Waiting)
    assert verdict.pod == newer


def test_pod_that_may_yet_start_is_taken_before_one_that_ended() -> None:
    evicted, pending = pod(number=2, phase="Failed", reason="Evicted"), pod(node_name=None)

    verdict = look(evicted, pending)
    assert isinstance(verdict, Waiting)
    assert verdict.pod == pending


def test_pod_being_deleted_is_waited_out_where_none_is_bound() -> None:
    verdict = look(pod(deletion_at=NOON))

    assert isinstance(verdict, Waiting)
    assert verdict.progress == (
        "Pod pod-1 is being deleted before it has started; waiting for it to end."
    )


# --- starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
@pytest.mark.parametrize("where", ["agent", "init"])
def test_image_that_will_never_come_fails_at_once(reason: str, where: str) -> None:
    container = waits(reason, "couldn't parse image", name=where)
    found = pod(container) if where == "agent" else pod(init_containers=(container,))

    verdict = failure(look(found))

    assert (verdict.code, verdict.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.IMAGE_PULL)
    assert f"{reason}: couldn't parse image" in verdict.message
    assert "agent:dev" in verdict.message


@pytest.mark.parametrize("first", ["ErrImagePull", "ImagePullBackOff"])
def test_image_back_off_is_tolerated_while_it_may_heal(first: str) -> None:
    failing, again = pod(waits(first)), pod(waits("ImagePullBackOff", "Back-off pulling"))

    verdict = watch((10, failing), (129, again))
    assert isinstance(verdict, Waiting)
    assert verdict.progress == (
        "Pod pod-1 on node node-1: container agent: ImagePullBackOff: Back-off pulling"
    )
    late = failure(watch((10, failing), (130, again)))
    assert late.cause is Cause.IMAGE_PULL
    assert "for 120 s" in late.message


def test_image_back_off_that_healed_starts_anew() -> None:
    failing, healed = pod(waits("ErrImagePull")), pod(waits("ContainerCreating"))

    assert isinstance(watch((0, failing), (100, healed), (110, failing), (229, failing)), Waiting)
    assert isinstance(watch((0, failing), (100, healed), (110, failing), (230, failing)), Failed)


def test_image_back_off_without_tolerance_fails_at_first_sight() -> None:
    limits = Limits(image_pull_backoff_seconds=0)

    assert isinstance(look(pod(waits("ErrImagePull")), limits=limits), Failed)


def test_missing_credential_secret_fails_after_twenty_seconds() -> None:
    found = pod(waits("CreateContainerConfigError", 'secret "claude" not found'))

    assert isinstance(watch((3, found), (22.9, found)), Waiting)
    late = failure(watch((3, found), (23, found)))
    assert (late.code, late.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.CONFIG_ERROR)
    assert 'secret "claude" not found' in late.message


SUB_PATH = 'failed to prepare subPath for volumeMount "home" of container "agent"'


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("CreateContainerError", "context deadline exceeded", Cause.CONFIG_ERROR),
        ("CreateContainerConfigError", SUB_PATH, Cause.CONFIG_ERROR),
        ("RunContainerError", "failed to start shim", Cause.CONFIG_ERROR),
        ("PostStartHookError", "exit 1", Cause.CONFIG_ERROR),
        ("ImageInspectError", "failed to read", Cause.IMAGE_PULL),
    ],
)
@pytest.mark.parametrize("where", ["agent", "init"])
def test_start_that_may_heal_is_tolerated_for_two_syncs_and_never_asks_for_a_secret(
    reason: str, message: str, cause: Cause, where: str
) -> None:
    container = waits(reason, message, name=where)
    found = pod(container) if where == "agent" else pod(init_containers=(container,))

    waiting = watch((3, found), (122.9, found))
    assert isinstance(waiting, Waiting)
    assert f"container {where}: {reason}: {message}" in waiting.progress
    late = failure(watch((3, found), (123, found)))
    assert late.cause is cause
    assert f"{reason}: {message}" in late.message
    assert "Create the Secret" not in late.advice
    healed = pod(RUNNING)
    assert watch((3, found), (122, found), (122.5, healed)) == Ready(healed)


def test_sidecar_that_cannot_start_does_not_hold_up_the_agent() -> None:
    sidecar = waits("InvalidImageName", "couldn't parse", name="mesh")

    assert isinstance(look(pod(containers=(sidecar, waits("ContainerCreating")))), Waiting)


def test_reason_that_nobody_knows_is_quoted_at_the_start_limit() -> None:
    found = pod(waits("QuantumFlux", "too entangled"))

    assert isinstance(watch((0, found), (299, found)), Waiting)
    assert "QuantumFlux: too entangled." in failure(watch((0, found), (300, found))).message


def test_volume_attached_elsewhere_is_quoted_and_not_the_wait_for_it() -> None:
    found = pod(waits("ContainerCreating"))
    told = event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"', 2)
    waited = event("FailedMount", "Unable to attach or mount volumes: timed out", 150)

    late = failure(watch((0, found), (300, found), events=(told, waited)))

    assert 'Multi-Attach error for volume "pvc-1"' in late.message
    assert "timed out" not in late.message
    assert "ReadWriteOnce" in late.advice


def test_short_absence_of_the_run_secret_is_tolerated_and_named_if_it_lasts() -> None:
    found = pod(waits("ContainerCreating"))
    mount = event("FailedMount", 'MountVolume.SetUp failed: secret "job-1" not found')
    other = event("FailedMount", "of another pod", 5, about="uid-2")

    verdict = watch((0, found), (299, found), events=(mount, other))
    assert isinstance(verdict, Waiting)
    assert verdict.progress == f"Pod pod-1 on node node-1 is starting: {mount.message}"
    late = failure(watch((0, found), (300, found), events=(mount, other)))
    assert late.cause is Cause.CONFIG_ERROR
    assert 'secret "job-1" not found' in late.message


def test_pod_that_still_pulls_at_its_limit_names_the_image() -> None:
    found = pod(waits("ContainerCreating"))

    late = failure(watch((0, found), (300, found), events=(event("Pulling", "Pulling image"),)))

    assert late.cause is Cause.IMAGE_PULL


def test_pod_without_news_is_starting() -> None:
    verdict = look(pod())

    assert isinstance(verdict, Waiting)
    assert verdict.progress == "Pod pod-1 on node node-1 is starting."


def test_running_init_container_is_named_and_bounded_by_the_start_limit() -> None:
    init = ContainerSnapshot("prepare", running=ContainerRunning(NOON))
    found = pod(waits("PodInitializing"), init_containers=(init,))

    verdict = look(found)
    assert isinstance(verdict, Waiting)
    assert verdict.progress == (
        "Pod pod-1 on node node-1: container prepare runs before the agent's."
    )
    assert isinstance(watch((0, found), (300, found)), Failed)


# --- endings before the start --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminated", "cause", "text"),
    [
        (ContainerTerminated(2, reason="Error", message="no disk"), Cause.APP_EXIT, "2 (Error)"),
        (ContainerTerminated(137, reason="OOMKilled"), Cause.OOM_KILLED, "137 (OOMKilled)"),
        (ContainerTerminated(1), Cause.APP_EXIT, "exit code 1,"),
        (
            ContainerTerminated(128, reason="StartError", message="no such file", ran=False),
            Cause.CONFIG_ERROR,
            "pod-1 could not be started (StartError), so the agent was not started",
        ),
    ],
)
def test_failed_init_container_is_named_with_code_and_reason(
    terminated: ContainerTerminated, cause: Cause, text: str
) -> None:
    init = (ended(0, name="first"), ContainerSnapshot("second", terminated=terminated))

    verdict = failure(look(pod(waits("PodInitializing"), init_containers=init)))

    assert verdict.cause is cause
    assert "Init container second of pod pod-1" in verdict.message
    assert text in verdict.message
    assert (terminated.message or "") in verdict.message


CRASHED = ContainerTerminated(1, reason="Error")


@pytest.mark.parametrize(
    "state",
    [
        {
            "waiting": ContainerWaiting("CrashLoopBackOff", "back-off 40s"),
            "last_terminated": CRASHED,
        },
        {"waiting": ContainerWaiting(None), "last_terminated": CRASHED},
    ],
)
def test_init_container_that_keeps_failing_ends_the_wait_early_and_is_named(
    state: dict[str, Any],
) -> None:
    def failed(restarts: int) -> PodSnapshot:
        vault = ContainerSnapshot("vault", restarts=restarts, **state)
        return pod(waits("PodInitializing"), init_containers=(vault,))

    waiting = watch((0, failed(1)), (30, failed(2)))
    assert isinstance(waiting, Waiting)
    assert waiting.progress.endswith(
        "container vault was started again 2 times and failed with exit code 1 (Error)."
    )
    verdict = failure(watch((0, failed(2)), (71, failed(3))))
    assert (verdict.code, verdict.cause) == (ErrorCode.POD_SCHEDULE_FAILED, Cause.APP_EXIT)
    assert "Init container vault was started again 3 times" in verdict.message
    assert verdict.container == "vault"


@pytest.mark.parametrize("restarts", [1, 3])
def test_init_container_that_cannot_be_started_is_told_so_each_time(restarts: int) -> None:
    never = ContainerTerminated(128, reason="StartError", ran=False)
    waiting = ContainerWaiting("CrashLoopBackOff")
    vault = ContainerSnapshot("vault", waiting, restarts=restarts, last_terminated=never)
    found = pod(waits("PodInitializing"), init_containers=(vault,))

    late = failure(look(found) if restarts > 2 else watch((0, found), (300, found)))

    assert (late.cause, late.container) == (Cause.CONFIG_ERROR, "vault")
    assert "and could not be started (StartError)" in late.message
    assert "contains its command" in late.advice


def test_init_container_that_runs_again_is_given_its_time() -> None:
    running = ContainerRunning(NOON)
    vault = ContainerSnapshot("vault", running=running, restarts=5, last_terminated=CRASHED)

    assert isinstance(look(pod(waits("PodInitializing"), init_containers=(vault,))), Waiting)


def test_init_container_that_fails_beside_the_agents_start_does_not_hold_it_up() -> None:
    waiting = ContainerWaiting("CrashLoopBackOff")
    mesh = ContainerSnapshot("mesh", waiting=waiting, restarts=9, last_terminated=CRASHED)

    assert isinstance(look(pod(waits("ContainerCreating"), init_containers=(mesh,))), Waiting)


MESH = ContainerSnapshot("mesh", runs_beside=True, restarts=4)


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param(
            replace(MESH, waiting=ContainerWaiting("CrashLoopBackOff"), last_terminated=CRASHED),
            id="crash loop",
        ),
        pytest.param(replace(MESH, terminated=CRASHED), id="just ended"),
        pytest.param(replace(MESH, waiting=ContainerWaiting("ErrImageNeverPull")), id="no image"),
    ],
)
@pytest.mark.parametrize(
    ("later", "is_waited_for"),
    [
        pytest.param((), False, id="last init container"),
        pytest.param((waits("PodInitializing", name="clone"),), False, id="next has not run"),
        pytest.param(
            (ContainerSnapshot("clone", running=ContainerRunning(NOON)),), True, id="runs"
        ),
        pytest.param((ended(0, name="clone"),), True, id="next has ended"),
        pytest.param(
            (replace(waits(None, name="clone"), last_terminated=ContainerTerminated(0)),),
            True,
            id="next has run before",
        ),
    ],
)
def test_sidecar_that_fails_after_a_later_init_container_has_run_is_not_waited_for(
    mesh: ContainerSnapshot, later: tuple[ContainerSnapshot, ...], is_waited_for: bool
) -> None:
    found = pod(waits("PodInitializing"), init_containers=(mesh, *later))

    verdict = look(found)

    if is_waited_for:
        assert isinstance(verdict, Waiting)
        assert "mesh" not in verdict.progress
    elif mesh.terminated is not None or mesh.last_terminated is not None:
        assert failure(verdict).container == "mesh"
    else:
        assert failure(verdict).cause is Cause.IMAGE_PULL


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((), id="alone"),
        pytest.param((ended(0, name="first"),), id="after one that ended well"),
        pytest.param(
            (replace(MESH, waiting=ContainerWaiting("CrashLoopBackOff"), last_terminated=CRASHED),),
            id="beside a sidecar in a crash loop",
        ),
    ],
)
def test_start_limit_names_the_init_container_that_hangs(
    before: tuple[ContainerSnapshot, ...],
) -> None:
    clone = ContainerSnapshot("clone", running=ContainerRunning(NOON))
    found = pod(waits("PodInitializing"), init_containers=(*before, clone))
    events = (event("Failed", "an image of long ago"),)

    late = failure(watch((0, found), (300, found), events=events))

    assert (late.cause, late.container) == (Cause.UNKNOWN, "clone")
    assert late.message == (
        "Pod pod-1 did not start on node node-1 within 300 s: container clone still runs before "
        "the agent's."
    )
    assert "limits.start_seconds, or check what container clone waits for" in late.advice


def test_start_limit_names_the_init_container_that_fails_slowly() -> None:
    waiting = ContainerWaiting("CrashLoopBackOff")
    slow = ContainerSnapshot("slow", waiting=waiting, restarts=1, last_terminated=CRASHED)
    found = pod(waits("PodInitializing"), init_containers=(slow,))

    late = failure(watch((0, found), (300, found)))

    assert (late.cause, late.container) == (Cause.APP_EXIT, "slow")
    assert "container slow was started again once" in late.message


def test_succeeded_init_container_is_no_failure() -> None:
    found = pod(waits("PodInitializing"), init_containers=(ended(0, name="first"),))

    assert isinstance(look(found), Waiting)


def test_container_that_the_runtime_cannot_start_fails_with_its_words() -> None:
    found = pod(ended(128, reason="StartError", message="exec: no such file", ran=False))

    verdict = failure(look(found))

    assert verdict.cause is Cause.CONFIG_ERROR
    assert 'StartError: "exec: no such file"' in verdict.message


@pytest.mark.parametrize(
    ("fields", "cause", "text"),
    [
        ({"reason": "Evicted", "message": "low on disk"}, Cause.EVICTED, 'Evicted: "low on disk"'),
        ({"reason": "Preempting"}, Cause.PREEMPTED, "Preempting"),
        ({"reason": "NodeLost"}, Cause.NODE_LOST, "NodeLost"),
        ({"reason": "UnexpectedAdmissionError"}, Cause.UNKNOWN, "UnexpectedAdmissionError"),
        ({}, Cause.UNKNOWN, "phase Failed"),
        (
            {"conditions": (Condition("DisruptionTarget", "True", "DeletionByTaintManager"),)},
            Cause.EVICTED,
            "DeletionByTaintManager",
        ),
        (
            {"conditions": (Condition("DisruptionTarget", "True", "PreemptionByScheduler"),)},
            Cause.PREEMPTED,
            "PreemptionByScheduler",
        ),
        (
            {"conditions": (Condition("DisruptionTarget", "True", "DeletionByPodGC"),)},
            Cause.NODE_LOST,
            "DeletionByPodGC",
        ),
        (
            {"conditions": (Condition("DisruptionTarget", "True", "Other", "reclaimed"),)},
            Cause.EVICTED,
            'condition DisruptionTarget, reason Other: "reclaimed"',
        ),
        (
            {"conditions": (Condition("DisruptionTarget", "True"),)},
            Cause.EVICTED,
            "condition DisruptionTarget, without a reason",
        ),
        ({"reason": "DeadlineExceeded"}, Cause.DEADLINE_EXCEEDED, "DeadlineExceeded"),
    ],
)
def test_pod_that_ended_before_the_start_names_what_the_cluster_did(
    fields: dict[str, Any], cause: Cause, text: str
) -> None:
    verdict = failure(look(pod(waits("ContainerCreating"), phase="Failed", **fields)))

    assert (verdict.code, verdict.cause) == (ErrorCode.POD_SCHEDULE_FAILED, cause)
    assert text in verdict.message


# --- what was done to pod or Job, and what follows from it ----------------------------------------

# Asked for after 60 s.
GOING: dict[str, Any] = {"deletion_at": after(90), "grace_seconds": 30}


def job_given_up(reason: str, kind: str = "FailureTarget") -> JobSnapshot:
    return replace(JOB, conditions=(Condition(kind, "True", reason, "words", after(60)),))


def disrupted(reason: str | None) -> dict[str, Any]:
    return {"conditions": (Condition("DisruptionTarget", "True", reason, None, after(60)),)}


DONE: dict[str, tuple[dict[str, Any], JobSnapshot | None, ErrorCode, Cause]] = {
    name: (fields, job, code or ErrorCode.POD_SCHEDULE_FAILED, cause)
    for name, fields, job, code, cause in (
        ("Job gone", {}, None, ErrorCode.JOB_DELETED_EXTERNALLY, Cause.JOB_DELETED),
        (
            "Job being deleted",
            GOING,
            replace(JOB, deletion_at=after(60)),
            ErrorCode.JOB_DELETED_EXTERNALLY,
            Cause.JOB_DELETED,
        ),
        ("suspended by its queue", GOING, QUEUED, None, Cause.PREEMPTED),
        (
            "deadline of the Job, not final yet",
            GOING,
            job_given_up("DeadlineExceeded"),
            None,
            Cause.DEADLINE_EXCEEDED,
        ),
        (
            "deadline of the Job",
            {},
            job_given_up("DeadlineExceeded", "Failed"),
            None,
            Cause.DEADLINE_EXCEEDED,
        ),
        (
            "evicted by the kubelet",
            {"reason": "Evicted", **disrupted("TerminationByKubelet")},
            JOB,
            None,
            Cause.EVICTED,
        ),
        ("drained", {**GOING, **disrupted("EvictionByEvictionAPI")}, JOB, None, Cause.EVICTED),
        (
            "drained, and its Job is given up for it",
            {**GOING, **disrupted("EvictionByEvictionAPI")},
            job_given_up("PodFailurePolicy"),
            None,
            Cause.EVICTED,
        ),
        (
            "preempted",
            {**GOING, **disrupted("PreemptionByScheduler")},
            JOB,
            None,
            Cause.PREEMPTED,
        ),
        ("pod of a lost node", disrupted("DeletionByPodGC"), JOB, None, Cause.NODE_LOST),
        ("pod deleted by hand", GOING, JOB, None, Cause.POD_REPLACED),
        ("disrupted, says its Job", GOING, job_given_up("PodFailurePolicy"), None, Cause.EVICTED),
    )
}


@pytest.mark.parametrize("name", DONE)
@pytest.mark.parametrize("phase", ["Pending", "Failed"])
@pytest.mark.parametrize("code", [137, 143])
def test_what_was_done_comes_before_the_init_container_that_it_ended(
    name: str, phase: str, code: int
) -> None:
    fields, job, error, cause = DONE[name]
    clone = ended(code, name="clone", reason="Error", finished_at=after(59))
    found = pod(waits("PodInitializing"), init_containers=(clone,), phase=phase, **fields)

    verdict = failure(look(found, job=job, bound="uid-1"))

    assert (verdict.code, verdict.cause, verdict.container) == (error, cause, None)


@pytest.mark.parametrize("name", DONE)
def test_what_was_done_comes_before_the_phase_of_a_pod_that_never_started(name: str) -> None:
    fields, job, error, cause = DONE[name]
    found = pod(waits("ContainerCreating"), phase="Failed", **fields)

    verdict = failure(look(found, job=job, bound="uid-1"))

    assert (verdict.code, verdict.cause) == (error, cause)


@pytest.mark.parametrize("name", DONE)
@pytest.mark.parametrize(
    "clone",
    [
        pytest.param(ended(1, name="clone", finished_at=after(59)), id="own exit code"),
        pytest.param(ended(137, name="clone", reason="OOMKilled"), id="out of memory"),
    ],
)
def test_init_container_that_failed_by_itself_is_named_whatever_was_done(
    name: str, clone: ContainerSnapshot
) -> None:
    fields, job, _, _ = DONE[name]
    found = pod(waits("PodInitializing"), init_containers=(clone,), phase="Failed", **fields)

    verdict = failure(look(found, job=job, bound="uid-1"))

    assert (verdict.code, verdict.container) == (ErrorCode.POD_SCHEDULE_FAILED, "clone")


@pytest.mark.parametrize(
    ("ended_at", "grace", "is_named"), [(49, 30, True), (50, 30, False), (49, 0, False)]
)
def test_init_container_ended_by_a_signal_is_named_if_it_ended_clearly_before_the_deletion(
    ended_at: int, grace: int, is_named: bool
) -> None:
    clone = ended(143, name="clone", finished_at=after(ended_at))
    fields: dict[str, Any] = {"deletion_at": after(60 + grace), "grace_seconds": grace}
    found = pod(waits("PodInitializing"), init_containers=(clone,), phase="Failed", **fields)

    verdict = failure(look(found, bound="uid-1"))

    assert verdict.cause is (Cause.APP_EXIT if is_named else Cause.POD_REPLACED)


def test_pod_refused_by_its_node_and_deleted_later_keeps_its_own_reason() -> None:
    found = pod(waits("ContainerCreating"), phase="Failed", reason="OutOfcpu", **GOING)

    verdict = failure(look(found, bound="uid-1"))

    assert (verdict.cause, "OutOfcpu" in verdict.message) == (Cause.UNKNOWN, True)


def test_deadline_that_is_not_final_yet_is_told_of_a_pod_that_has_gone() -> None:
    verdict = failure(look(job=job_given_up("DeadlineExceeded"), bound="uid-1"))

    assert verdict.cause is Cause.DEADLINE_EXCEEDED
    assert "Job job-1 was given up at a time that was not seen" in verdict.message


def test_pod_that_is_to_be_disrupted_and_is_left_alone_may_yet_start() -> None:
    found = pod(waits("ContainerCreating"), **disrupted("EvictionByEvictionAPI"))

    assert isinstance(look(found, bound="uid-1"), Waiting)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [({"phase": "Unknown"}, Cause.NODE_LOST), ({"reason": "NodeLost"}, Cause.NODE_LOST)],
)
def test_pod_on_a_lost_node_is_waited_for_within_the_start_limit(
    fields: dict[str, Any], cause: Cause
) -> None:
    found = pod(waits("ContainerCreating"), **fields)

    assert isinstance(watch((0, found), (299, found)), Waiting)
    assert failure(watch((0, found), (300, found))).cause is cause


def test_bound_pod_that_is_deleted_fails_at_once_and_names_its_replacement() -> None:
    going, newer = pod(deletion_at=NOON), pod(number=2)

    verdict = failure(look(newer, going, bound="uid-1"))

    assert verdict.cause is Cause.POD_REPLACED
    assert verdict.message == (
        "Pod pod-1 was deleted before the agent was seen to start; "
        "its replacement pod-2 does not get the prompt."
    )
    preempted = pod(deletion_at=NOON, reason="Preempted")
    assert failure(look(preempted, bound="uid-1")).message == (
        "Pod pod-1 was deleted before the agent was seen to start (Preempted)."
    )


def test_bound_pod_that_has_gone_fails_at_once() -> None:
    verdict = failure(look(pod(number=2), bound="uid-1"))

    assert verdict.cause is Cause.POD_REPLACED
    assert "its replacement pod-2 does not get the prompt" in verdict.message
    assert (
        "The pod that the prompt was created for was deleted"
        in failure(look(bound="uid-1")).message
    )


@pytest.mark.parametrize("pods", [(), (pod(),), (pod(deletion_at=NOON),)])
@pytest.mark.parametrize("bound", [None, "uid-1"])
@pytest.mark.parametrize("job", [None, replace(JOB, deletion_at=NOON)])
def test_job_deleted_before_the_start_is_told_from_a_pod_that_does_not_start(
    pods: tuple[PodSnapshot, ...], bound: str | None, job: JobSnapshot | None
) -> None:
    verdict = failure(look(*pods, job=job, bound=bound))

    assert (verdict.code, verdict.cause) == (ErrorCode.JOB_DELETED_EXTERNALLY, Cause.JOB_DELETED)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("DeadlineExceeded", Cause.DEADLINE_EXCEEDED),
        ("PodFailurePolicy", Cause.EVICTED),
        ("BackoffLimitExceeded", Cause.UNKNOWN),
        (None, Cause.UNKNOWN),
    ],
)
def test_job_that_ended_without_its_agent_names_its_condition(
    reason: str | None, cause: Cause
) -> None:
    over = replace(JOB, conditions=(Condition("Failed", "True", reason, "was too slow"),))

    for found in ((), (pod(waits("ContainerCreating")),)):
        verdict = failure(look(*found, job=over))
        assert verdict.cause is cause
        assert f'{reason or "Failed"}: "was too slow"' in verdict.message


# --- reattaching ---------------------------------------------------------------------------------


def test_failure_of_a_job_that_was_taken_over_has_its_own_code() -> None:
    verdict = failure(look(now=600, reattaching=True))
    gone = failure(look(job=None, reattaching=True))

    assert verdict.code is ErrorCode.POD_REATTACH_FAILED
    assert gone.code is ErrorCode.JOB_DELETED_EXTERNALLY


def test_taken_over_job_has_the_same_patience() -> None:
    assert isinstance(look(now=599, reattaching=True), Waiting)
