"""Containers beside the agent's: what they hold up, and that a Job is judged by its agent's end."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.agent_job.runtime_spec import Limits
from tasks.observation.beside_agent import AgentEnd, find_agent_end, find_unstarted, is_over
from tasks.observation.pod_states import has_observed_ending, merge_states
from tasks.observation.pod_wait import (
    Failed,
    PodWaitHistory,
    PodWaitObservation,
    PodWaitVerdict,
    Ready,
    Waiting,
    judge_pod_wait,
)
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.names import JobName, JobUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
JOB = JobSnapshot(JobName("job-1"), JobUid("job-1"))
DONE = JobSnapshot.from_api(
    {
        "metadata": {"name": "job-1", "uid": "job-1"},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
)
WAITING: dict[str, Any] = {"waiting": {"reason": "PodInitializing"}}
RUNNING: dict[str, Any] = {"running": {"startedAt": "2024-05-01T12:00:00Z"}}
EXIT_0 = {"terminated": {"exitCode": 0, "finishedAt": "2024-05-01T12:05:00Z"}}
EXIT_1 = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2024-05-01T12:05:00Z"}}
NOT_STARTED = {
    "terminated": {
        "exitCode": 128,
        "reason": "StartError",
        "message": "exec: no such file",
        "startedAt": "1970-01-01T00:00:00Z",
        "finishedAt": "2024-05-01T12:05:00Z",
    }
}
LOST = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}


def status(name: str, state: dict[str, Any], *, started: bool | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "state": state}
    return found if started is None else {**found, "started": started}


def raw_pod(
    *containers: dict[str, Any],
    native: tuple[dict[str, Any], ...] = (),
    plain_init: tuple[dict[str, Any], ...] = (),
    phase: str = "Pending",
    uid: str = "pod-1",
) -> dict[str, Any]:
    """Return a pod as the API gives it; the init containers' order in the status is turned."""
    init = [
        *({"name": item["name"], "restartPolicy": "Always"} for item in native),
        *({"name": item["name"]} for item in plain_init),
    ]
    return {
        "metadata": {
            "name": uid,
            "uid": uid,
            "labels": {"batch.kubernetes.io/controller-uid": "job-1"},
        },
        "spec": {"nodeName": "node-1", "initContainers": init},
        "status": {
            "phase": phase,
            "containerStatuses": list(containers),
            "initContainerStatuses": [*plain_init, *native],
        },
    }


def pod(*containers: dict[str, Any], **fields: Any) -> PodSnapshot:
    return PodSnapshot.from_api(raw_pod(*containers, **fields))


def judge(found: PodSnapshot, *, after_seconds: float = 0) -> PodWaitVerdict:
    now = NOON + timedelta(seconds=after_seconds)
    history = PodWaitHistory(NOON, found.uid, pod_since=NOON, scheduled_since=NOON)
    return judge_pod_wait(PodWaitObservation(JOB, [found], now), history, Limits())


# --- native sidecars before the agent's start ----------------------------------------------------

SIDECARS = [
    pytest.param(
        status("mesh", EXIT_1, started=False),
        "container mesh, which must start before the agent's, ended with exit code 1 (Error) and "
        "is started again",
        id="crashed once",
    ),
    pytest.param(
        status("mesh", LOST, started=False),
        "container mesh, which must start before the agent's, ended (ContainerStatusUnknown) and "
        "is started again",
        id="lost",
    ),
    pytest.param(
        status("mesh", NOT_STARTED, started=False),
        "container mesh, which must start before the agent's, could not be started (StartError) "
        "and is started again",
        id="could not be started",
    ),
    pytest.param(
        status("mesh", {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
        "container mesh, which must start before the agent's, waits: CrashLoopBackOff: "
        "back-off 10s",
        id="backs off",
    ),
    pytest.param(
        status("mesh", RUNNING, started=False),
        "container mesh, which must start before the agent's, runs, but its startup probe has not "
        "succeeded yet",
        id="startup probe",
    ),
    pytest.param(status("mesh", RUNNING, started=True), None, id="started"),
    pytest.param(status("mesh", RUNNING), None, id="runs, as far as is said"),
    pytest.param(status("mesh", WAITING, started=False), None, id="not its turn yet"),
]


@pytest.mark.parametrize(("sidecar", "words"), SIDECARS)
def test_native_sidecar_that_has_not_started_is_named_while_it_is_waited_for(
    sidecar: dict[str, Any], words: str | None
) -> None:
    found = pod(status("agent", WAITING), native=(sidecar,))

    verdict = judge(found)

    unstarted = find_unstarted(found)
    assert (unstarted[1] if unstarted else None) == words
    assert isinstance(verdict, Waiting)
    assert (
        verdict.progress == f"Pod pod-1 on node node-1{f': {words}.' if words else ' is starting.'}"
    )


@pytest.mark.parametrize(("sidecar", "words"), SIDECARS)
def test_native_sidecar_that_never_starts_is_named_at_the_limit(
    sidecar: dict[str, Any], words: str | None
) -> None:
    found = pod(status("agent", WAITING), native=(sidecar,))

    verdict = judge(found, after_seconds=301)

    assert isinstance(verdict, Failed)
    assert verdict.code is ErrorCode.POD_SCHEDULE_FAILED
    if words:
        assert verdict.cause is Cause.CONFIG_ERROR
        assert verdict.message == (f"Pod pod-1 did not start on node node-1 within 300 s: {words}.")
        assert verdict.container == "mesh"


@pytest.mark.parametrize("sidecar", [param.values[0] for param in SIDECARS])
def test_native_sidecar_is_no_failed_init_container_before_or_after_the_agents_start(
    sidecar: Any,
) -> None:
    before = pod(status("agent", WAITING), native=(sidecar,))
    after = pod(status("agent", RUNNING), native=(sidecar,), phase="Running")

    assert before.failed_init_container is None
    assert judge(after) == Ready(after)


def test_init_container_that_failed_is_found_beside_a_native_sidecar() -> None:
    found = pod(
        status("agent", WAITING),
        native=(status("mesh", EXIT_1, started=False),),
        plain_init=(status("clone", EXIT_1),),
    )

    verdict = judge(found)

    assert isinstance(verdict, Failed)
    assert "Init container clone" in verdict.message


def test_init_container_that_runs_is_named_and_a_started_sidecar_is_not() -> None:
    found = pod(
        status("agent", WAITING),
        native=(status("mesh", RUNNING, started=True),),
        plain_init=(status("clone", RUNNING),),
    )

    verdict = judge(found)

    assert isinstance(verdict, Waiting)
    assert verdict.progress == (
        "Pod pod-1 on node node-1: container clone runs before the agent's."
    )


# --- the agent's end -----------------------------------------------------------------------------

STATES = {"waiting": WAITING, "running": RUNNING, "ended": EXIT_0, "failed": EXIT_1, "lost": LOST}
AGENT_HAS_ENDED = {"ended", "failed", "lost"}


@pytest.mark.parametrize(
    ("agent", "other", "agent_first"), list(itertools.product(STATES, STATES, [True, False]))
)
def test_agents_end_is_read_from_its_own_container_in_whatever_order_statuses_come(
    agent: str, other: str, agent_first: bool
) -> None:
    statuses = [status("agent", STATES[agent]), status("mesh", STATES[other])]
    found = pod(*(statuses if agent_first else statuses[::-1]), phase="Running")

    end = find_agent_end(JOB, [found])

    assert (end is not None) is (agent in AGENT_HAS_ENDED)
    assert is_over(JOB, [found]) is (agent in AGENT_HAS_ENDED)
    if end is not None:
        assert end.still_running == (() if other in AGENT_HAS_ENDED else ("mesh",))
        assert end.at == (None if agent == "lost" else NOON + timedelta(minutes=5))


def test_pod_without_the_agents_status_has_not_ended() -> None:
    assert find_agent_end(JOB, [pod(status("mesh", EXIT_0), phase="Running")]) is None
    assert find_agent_end(JOB, []) is None


def test_native_sidecar_is_not_said_to_keep_the_job_open() -> None:
    found = pod(
        status("agent", EXIT_0), native=(status("mesh", RUNNING, started=True),), phase="Running"
    )

    assert find_agent_end(JOB, [found]) == AgentEnd(NOON + timedelta(minutes=5))


def test_end_of_a_finished_job_is_its_condition() -> None:
    found = pod(status("agent", EXIT_0), status("mesh", RUNNING), phase="Running")

    assert find_agent_end(DONE, [found]) is None
    assert is_over(DONE, [found])


def test_job_is_not_over_while_any_of_its_pods_may_run_an_agent() -> None:
    first = pod(status("agent", EXIT_1), status("mesh", RUNNING), phase="Running")
    second = pod(status("agent", RUNNING), phase="Running", uid="pod-2")

    assert find_agent_end(JOB, [second, first]) is None
    assert find_agent_end(JOB, [pod(phase="Failed", uid="pod-2"), first]) is not None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "its agent has ended"),
        (("mesh",), "its agent has ended, but container mesh still runs"),
        (("mesh", "logs"), "its agent has ended, but containers mesh, logs still run"),
    ],
)
def test_end_names_what_still_runs(names: tuple[str, ...], words: str) -> None:
    assert AgentEnd(still_running=names).words == words


# --- init containers with a restart policy of their own -------------------------------------------

RESTART_ON_42 = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
RESTART_BUT_ON_42 = [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]


@pytest.mark.parametrize(
    ("own", "code", "starts_again"),
    [
        ({}, 1, False),
        ({"restartPolicy": "Never"}, 1, False),
        ({"restartPolicy": "OnFailure"}, 1, True),
        ({"restartPolicy": "OnFailure"}, 0, False),
        ({"restartPolicy": "Never", "restartPolicyRules": RESTART_ON_42}, 42, True),
        ({"restartPolicy": "Never", "restartPolicyRules": RESTART_ON_42}, 1, False),
        ({"restartPolicy": "OnFailure", "restartPolicyRules": RESTART_ON_42}, 1, True),
        ({"restartPolicy": "Never", "restartPolicyRules": RESTART_BUT_ON_42}, 1, True),
        ({"restartPolicy": "Never", "restartPolicyRules": RESTART_BUT_ON_42}, 42, False),
        ({"restartPolicy": "Never", "restartPolicyRules": [5, {"exitCodes": 5}]}, 1, False),
    ],
)
@pytest.mark.parametrize("phase", ["Pending", "Failed"])
def test_init_container_that_is_started_again_by_its_own_policy_has_not_failed(
    own: dict[str, Any], code: int, starts_again: bool, phase: str
) -> None:
    clone = status("clone", {"terminated": {"exitCode": code, "reason": "Error"}})
    raw = raw_pod(status("agent", WAITING), plain_init=(clone,), phase=phase)
    raw["spec"]["initContainers"] = [{"name": "clone", **own}]
    found = PodSnapshot.from_api(raw)

    is_waited_for = phase == "Pending" and (starts_again or code == 0)
    assert isinstance(judge(found), Waiting) is is_waited_for
    failed = found.failed_init_container
    assert (failed is not None) is (code != 0 and not is_waited_for)


def test_init_container_that_is_started_again_is_given_up_after_three_restarts() -> None:
    failed = {**status("clone", EXIT_1), "restartCount": 3}
    raw = raw_pod(status("agent", WAITING), plain_init=(failed,))
    raw["spec"]["initContainers"] = [{"name": "clone", "restartPolicy": "OnFailure"}]

    verdict = judge(PodSnapshot.from_api(raw))

    assert isinstance(verdict, Failed)
    assert "Init container clone was started again 3 times and failed" in verdict.message


# --- which state of a pod is kept ----------------------------------------------------------------


def test_end_of_another_container_does_not_hide_the_agents() -> None:
    before = raw_pod(status("mesh", EXIT_1), status("agent", RUNNING), phase="Running")
    ended = raw_pod(status("mesh", EXIT_1), status("agent", EXIT_0), phase="Running")
    later = raw_pod(status("mesh", EXIT_1), status("agent", LOST), phase="Failed")

    assert [has_observed_ending(state) for state in (before, ended, later)] == [False, True, False]
    merged = PodSnapshot.from_api(merge_states(later, ended))
    assert merged.agent is not None
    assert merged.agent.terminated is not None
    assert merged.agent.terminated.exit_code == 0
