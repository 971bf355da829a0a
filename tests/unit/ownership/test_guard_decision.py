"""The guard's table: every combination for one Job, then what takes more than one."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tasks.observation.api_fields import Condition
from tasks.observation.container_states import (
    ContainerRunning,
    ContainerSnapshot,
    ContainerTerminated,
    ContainerWaiting,
)
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot, PodSnapshot
from tasks.ownership.commitment import RunSecret
from tasks.ownership.guard_decision import GuardObservation, decide_ownership
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
from tasks.ownership.orphans import RunIdentity
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, PodUid, SessionId, TaskId

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
AGENT = AgentId("agent-1")
MY_RUN, OTHER_RUN = FlowRunId("run-me"), FlowRunId("run-other")
ME = RunIdentity(AGENT, MY_RUN, TaskId("task"), SessionId("session"))
MINE = LeaseVerdict(LeaseState.MINE, MY_RUN)
LEASE = LeaseSnapshot("lease", holder="run-me/n", committed_job_uid=JobUid("job-1"))

COMPLETE = (Condition("Complete", "True"),)
FAILED = (Condition("Failed", "True"),)
WAITING = ContainerSnapshot("agent", waiting=ContainerWaiting("ContainerCreating"))
RUNNING = ContainerSnapshot("agent", running=ContainerRunning(NOON))
ENDED = ContainerSnapshot("agent", terminated=ContainerTerminated(0))
UNOBSERVED = ContainerSnapshot("agent", terminated=ContainerTerminated(ran=None))
MESH = ContainerSnapshot("mesh", running=ContainerRunning(NOON))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def job(number: int = 1, **fields: Any) -> JobSnapshot:
    built = JobSnapshot(
        JobName(f"job-{number}"),
        JobUid(f"job-{number}"),
        version="1",
        agent_id=AGENT,
        task_id=TaskId("task"),
        session_id=SessionId("session"),
        flow_run_id=OTHER_RUN,
        owner_flow_run_id=OTHER_RUN,
        attempt=1,
        created_at=after(-number),
    )
    return replace(built, **fields)


def pod(
    number: int = 1, container: ContainerSnapshot | None = RUNNING, **fields: object
) -> PodSnapshot:
    built = PodSnapshot(
        f"pod-{number}",
        PodUid(f"pod-{number}"),
        phase="Running",
        node_name="node-1",
        job_uid=JobUid(f"job-{number}"),
        agent_id=AGENT,
        containers=(container,) if container else (),
    )
    return replace(built, **fields)


def decide(
    *jobs: JobSnapshot,
    pods: tuple[PodSnapshot, ...] = (),
    lease: LeaseSnapshot | None = LEASE,
    secrets: dict[str, RunSecret] | None = None,
    stored: dict[str, bool] | None = None,
    now: float = 0,
    me: RunIdentity = ME,
    reattach: bool = True,
    verdict: LeaseVerdict = MINE,
) -> GuardVerdict:
    observed = GuardObservation(
        verdict,
        first_look_at=NOON,
        server_now=after(now),
        lease=lease,
        jobs=jobs,
        pods=pods,
        secrets={JobUid(uid): state for uid, state in (secrets or {}).items()},
        stored={JobUid(uid): answer for uid, answer in (stored or {}).items()},
    )
    return decide_ownership(observed, me, reattach_enabled=reattach)


# --- one Job, every combination ------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One Job as it can be found, and what the run knows.

    Attributes:
        whose: Who made the Job; `adopted` is ours since.
        named: The Lease has it as the committed one.
        pods: Whether its agent ran, as far as its pod tells.
        secret: Its Secret; `None` where nobody looked.
        stored: Whether its stored result answers this run; `None` where there is none to be read.
    """

    whose: str
    phase: str
    named: bool
    pods: str
    secret: RunSecret | None
    task: str = "same"
    session: str = "same"
    version: str = "1"
    stored: bool | None = None
    reattach: bool = True


WHOSE = ("created", "adopted", "other")
PHASES = ("live", "finished", "harvested", "deleting")
# As "finished" and "harvested", but another container of the pod keeps the Job from finishing.
OPEN_PHASES = {"finished": "ended", "harvested": "ended, harvested"}
PODS = ("none", "never ran", "ran")
TASKS = ("same", "different", "unknown to us", "unknown to it")
SESSIONS = ("same", "different", "unknown")
# What a column of the written table changes about a row.
COLUMNS: dict[str, dict[str, Any]] = {
    "same": {},
    "task": {"task": "different"},
    "task-us": {"task": "unknown to us"},
    "task-it": {"task": "unknown to it"},
    "session": {"session": "different"},
    "session?": {"session": "unknown"},
    "task+ses": {"task": "different", "session": "different"},
    "task?+ses": {"task": "unknown to it", "session": "different"},
    "success": {"stored": True},
    "failure": {"stored": False},
    "task+suc": {"task": "different", "stored": True},
    "keep-off": {"reattach": False},
    "off+task?": {"reattach": False, "task": "unknown to it"},
    "version": {"version": "2"},
    "ver+suc": {"version": "2", "stored": True},
}
VERDICTS = {
    "bl": "blocked",
    "cp": "complete the pair",
    "de": "delete",
    "ha": "harvest",
    "hs": "harvest, then start",
    "re": "reattach",
    "sm": "session mismatch",
    "so": "stored",
    "st": "start",
    "su": "supersede",
    "tu": "task unknown",
}
SECRETS: dict[str, RunSecret | None] = {"unseen": None, **{each.value: each for each in RunSecret}}


def run_row(row: Row) -> GuardVerdict:
    held_open = row.phase in OPEN_PHASES.values()
    finished = row.phase in {"finished", "harvested"} or held_open
    found = job(
        flow_run_id=MY_RUN if row.whose == "created" else OTHER_RUN,
        owner_flow_run_id=OTHER_RUN if row.whose == "other" else MY_RUN,
        conditions=COMPLETE if row.phase in {"finished", "harvested"} else (),
        harvested_at=NOON if row.phase in {"harvested", "ended, harvested"} else None,
        deletion_at=NOON if row.phase == "deleting" else None,
        task_id=None if row.task == "unknown to it" else TaskId("task"),
        version=row.version,
    )
    states = {"none": (), "never ran": (WAITING,), "ran": (ENDED if finished else RUNNING,)}
    phase = "Failed" if finished or row.phase == "deleting" else "Pending"
    beside = (MESH,) if held_open else ()
    tasks = {"different": TaskId("another"), "unknown to us": None}
    sessions = {"different": SessionId("another"), "unknown": None}
    return decide(
        found,
        pods=tuple(
            pod(1, phase="Running" if held_open else phase, containers=(*beside, state))
            for state in states[row.pods]
        ),
        lease=replace(LEASE, committed_job_uid=found.uid if row.named else JobUid("another")),
        secrets={} if row.secret is None else {found.uid: row.secret},
        stored={} if row.stored is None else {found.uid: row.stored},
        me=replace(
            ME,
            task_id=tasks.get(row.task, TaskId("task")),
            session_id=sessions.get(row.session, SessionId("session")),
        ),
        reattach=row.reattach,
    )


def name_of(verdict: GuardVerdict) -> str:
    match verdict:
        case Blocked(code=ErrorCode.CONCURRENT_RUN_BLOCKED):
            return "blocked"
        case Blocked(code=ErrorCode.ORPHAN_TASK_UNKNOWN):
            return "task unknown"
        case Blocked(code=ErrorCode.ORPHAN_SESSION_MISMATCH):
            return "session mismatch"
        case Reattach(secret_missing=missing):
            return "complete the pair" if missing else "reattach"
        case Harvest(then_start=then_start):
            return "harvest, then start" if then_start else "harvest"
        case StartNew():
            return "start"
        case Supersede():
            return "supersede"
        case DeleteUncommitted():
            return "delete"
        case ReturnStored():
            return "stored"
        case _:
            return repr(verdict)


def _read_table() -> Iterator[tuple[Row, str]]:
    _, *blocks = Path(__file__).with_name("guard_table.txt").read_text().split("\n[")
    for block in blocks:
        title, header, *lines = block.strip().splitlines()
        whose, phase = title.removesuffix("]").split(", ")
        for line in lines:
            named, pods, secret, *cells = line.split()
            for column, cell in zip(header.split()[3:], cells, strict=True):
                row = Row(
                    whose,
                    phase,
                    {"named": True, "unnamed": False}[named],
                    pods.replace("-", " "),
                    SECRETS[secret],
                    **COLUMNS[column],
                )
                yield row, VERDICTS[cell]


WRITTEN = dict(_read_table())


def test_written_table_has_every_row_and_every_verdict() -> None:
    evidence = list(itertools.product(WHOSE, PHASES, (True, False), PODS, SECRETS.values()))

    assert set(WRITTEN) == {Row(*row, **more) for row in evidence for more in COLUMNS.values()}
    assert len(list(_read_table())) == len(WRITTEN) == 4320
    assert set(WRITTEN.values()) == set(VERDICTS.values())


@pytest.mark.parametrize("whose", WHOSE)
@pytest.mark.parametrize("phase", PHASES)
def test_guard_decides_every_combination_as_its_table_says(whose: str, phase: str) -> None:
    expected = {
        row: name for row, name in WRITTEN.items() if (row.whose, row.phase) == (whose, phase)
    }

    assert {row: name_of(run_row(row)) for row in expected} == expected


@pytest.mark.parametrize("phase", OPEN_PHASES)
def test_job_that_another_container_keeps_open_is_decided_on_like_a_finished_one(
    phase: str,
) -> None:
    rows = {row: name for row, name in WRITTEN.items() if (row.phase, row.pods) == (phase, "ran")}
    held_open = {row: name_of(run_row(replace(row, phase=OPEN_PHASES[phase]))) for row in rows}

    assert len(rows) == 360
    assert held_open == rows


def test_guard_names_the_container_that_keeps_a_job_open() -> None:
    held = pod(1, containers=(MESH, ENDED))

    own = decide(job(1, flow_run_id=MY_RUN), pods=(held,))
    another = decide(job(1), pods=(held,))

    over = "is over: its agent has ended, but container mesh still runs; its result is not stored."
    assert isinstance(own, Harvest)
    assert isinstance(another, Harvest)
    assert own.reason == f"Job job-1 of this flow run {over}"
    assert another.reason == f"Job job-1 of flow run run-other on the same task {over}"


@cache
def _verdicts() -> list[tuple[Row, str]]:
    """Return what the guard says of every combination there is, of all columns together."""
    rows = itertools.product(
        *(WHOSE, PHASES, (True, False), PODS, SECRETS.values()),
        *(TASKS, SESSIONS, ("1", "2"), (None, True, False), (True, False)),
    )
    return [(row, name_of(run_row(row))) for row in itertools.starmap(Row, rows)]


PROPERTIES: dict[str, tuple[Callable[[Row], bool], set[str]]] = {
    "an agent that runs is left alone or taken over": (
        lambda row: row.phase == "live" and row.pods == "ran" and row.version == "1",
        {"blocked", "reattach", "task unknown", "session mismatch"},
    ),
    "nothing is started beside a live Job": (
        lambda row: row.phase == "live",
        set(VERDICTS.values()) - {"start", "harvest, then start", "stored", "harvest"},
    ),
    "a Job of another version is never touched": (
        lambda row: row.version == "2",
        {"blocked", "start"},
    ),
    "a Job that has its Secret is neither deleted nor superseded": (
        lambda row: row.secret is RunSecret.PRESENT,
        set(VERDICTS.values()) - {"delete", "supersede"},
    ),
    "a Job of another run is never ours": (
        lambda row: row.whose == "other",
        set(VERDICTS.values()) - {"stored", "harvest", "complete the pair"},
    ),
    "a run that takes over nothing takes over nothing": (
        lambda row: not row.reattach,
        set(VERDICTS.values()) - {"reattach", "complete the pair"},
    ),
    "a live Job of another known task is never taken over": (
        lambda row: row.whose == "other" and row.task == "different",
        set(VERDICTS.values()) - {"reattach", "harvest, then start"},
    ),
    "what has been harvested is not harvested for another run": (
        lambda row: row.whose == "other" and row.phase == "harvested",
        {"start"},
    ),
    "a Job that is being deleted is in nobody's way": (
        lambda row: row.phase == "deleting",
        {"start"},
    ),
}


@pytest.mark.parametrize("law", PROPERTIES)
def test_guard_keeps_its_law_in_every_combination(law: str) -> None:
    applies, allowed = PROPERTIES[law]
    found = [(row, name) for row, name in _verdicts() if applies(row)]

    assert found
    assert [(row, name) for row, name in found if name not in allowed] == []


# --- the Lease -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [LeaseState.FREE, LeaseState.RELEASED, LeaseState.EXPIRED])
def test_lease_that_nobody_holds_is_taken_before_jobs_are_looked_at(state: LeaseState) -> None:
    assert decide(job(), pods=(pod(),), verdict=LeaseVerdict(state)) == TakeLease(
        f"The Lease of agent agent-1 is {state}."
    )


@pytest.mark.parametrize(
    ("run", "holder"),
    [(OTHER_RUN, "flow run run-other"), (MY_RUN, "another process of this flow run")],
)
def test_fresh_lease_is_waited_for_and_a_renewed_one_blocks_without_any_job(
    run: FlowRunId, holder: str
) -> None:
    fresh = decide(verdict=LeaseVerdict(LeaseState.FRESH, run, 42.0))
    renewed = decide(verdict=LeaseVerdict(LeaseState.RENEWED, run))

    assert isinstance(fresh, WaitForLease)
    assert fresh.seconds == 42.0
    assert isinstance(renewed, Blocked)
    assert renewed.code is ErrorCode.CONCURRENT_RUN_BLOCKED
    assert holder in fresh.reason
    assert holder in renewed.reason


# --- attempts ------------------------------------------------------------------------------------


def test_first_attempt_is_number_one() -> None:
    assert decide(lease=None) == StartNew(1, "Agent agent-1 has no live Job.")


@pytest.mark.parametrize(
    ("jobs", "lease", "attempt"),
    [
        pytest.param([], replace(LEASE, attempt_flow_run_id=MY_RUN, attempt=4), 5, id="Lease"),
        pytest.param([], replace(LEASE, attempt_flow_run_id=MY_RUN), 1, id="Lease says no number"),
        pytest.param(
            [], replace(LEASE, attempt_flow_run_id=OTHER_RUN, attempt=4), 1, id="another's Lease"
        ),
        pytest.param(
            [job(1, flow_run_id=MY_RUN, attempt=2, deletion_at=NOON)], None, 3, id="deleting Job"
        ),
        pytest.param(
            [job(1, flow_run_id=MY_RUN, attempt=None, deletion_at=NOON)], None, 1, id="no number"
        ),
        pytest.param(
            [job(1, flow_run_id=OTHER_RUN, attempt=7, deletion_at=NOON)], None, 1, id="another's"
        ),
        pytest.param(
            [job(1, flow_run_id=MY_RUN, attempt=6, deletion_at=NOON)],
            replace(LEASE, attempt_flow_run_id=MY_RUN, attempt=4),
            7,
            id="the larger of both",
        ),
    ],
)
def test_attempt_is_counted_from_our_jobs_and_the_lease(
    jobs: list[JobSnapshot], lease: LeaseSnapshot | None, attempt: int
) -> None:
    verdict = decide(*jobs, lease=lease)

    assert isinstance(verdict, StartNew)
    assert verdict.attempt == attempt


# --- Jobs that are none of ours ------------------------------------------------------------------


@pytest.mark.parametrize("agent_id", [None, AgentId("agent-2"), AgentId("Agent-1")])
def test_job_and_pod_that_only_look_similar_are_ignored(agent_id: AgentId | None) -> None:
    verdict = decide(
        job(agent_id=agent_id), pods=(pod(agent_id=agent_id), pod(2, agent_id=agent_id)), now=900
    )

    assert isinstance(verdict, StartNew)


def test_job_of_another_protocol_version_is_refused_by_name() -> None:
    verdict = decide(job(version="2"))

    assert isinstance(verdict, Blocked)
    assert "protocol 2, this one knows 1" in verdict.reason


# --- several Jobs --------------------------------------------------------------------------------


def test_several_live_jobs_are_touched_by_nobody() -> None:
    verdict = decide(job(1), job(2), pods=(pod(1), pod(2)))

    assert isinstance(verdict, Blocked)
    assert verdict.code is ErrorCode.JOB_STATE_MISMATCH
    assert "Job job-1, Job job-2" in verdict.reason


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_blocking_verdict_on_one_of_several_live_jobs_wins(order: tuple[int, int]) -> None:
    jobs = {1: job(1), 2: job(2, task_id=None)}

    verdict = decide(*(jobs[number] for number in order), pods=(pod(1), pod(2)))

    assert isinstance(verdict, Blocked)
    assert verdict.code is ErrorCode.ORPHAN_TASK_UNKNOWN


def test_uncommitted_job_beside_the_live_one_goes_first() -> None:
    late = job(2)

    assert decide(job(1), late, job(3), pods=(pod(1),)) == DeleteUncommitted(
        (late, job(3)), "Job job-2, Job job-3 was left by an earlier run and never ran an agent."
    )


def test_uncommitted_job_is_left_where_the_live_one_blocks() -> None:
    assert isinstance(decide(job(1, task_id=None), job(2), pods=(pod(1),)), Blocked)


def test_live_job_comes_before_an_unharvested_one() -> None:
    over = job(2, conditions=COMPLETE)

    verdict = decide(job(1), over, pods=(pod(1),))

    assert isinstance(verdict, Reattach)
    assert verdict.job.name == "job-1"


def test_newest_own_job_decides_and_the_older_does_not() -> None:
    older = job(2, flow_run_id=MY_RUN, attempt=1, conditions=FAILED)
    newest = job(1, flow_run_id=MY_RUN, attempt=2, conditions=FAILED, harvested_at=NOON)

    for jobs in ((older, newest), (newest, older)):
        assert isinstance(decide(*jobs, stored={"job-1": False}), StartNew)
        assert decide(*jobs, stored={"job-1": True}) == ReturnStored(
            newest.uid, "The result of this flow run is already stored."
        )


def test_newest_of_two_own_jobs_of_one_second_is_the_later_attempt() -> None:
    first = job(1, flow_run_id=MY_RUN, attempt=1, conditions=FAILED, harvested_at=NOON)
    second = replace(first, name=JobName("job-2"), uid=JobUid("job-2"), attempt=2)

    for jobs in ((first, second), (second, first)):
        assert isinstance(decide(*jobs, stored={"job-1": True, "job-2": False}), StartNew)


def test_own_job_without_dates_and_numbers_is_harvested() -> None:
    undated = job(1, flow_run_id=MY_RUN, attempt=None, created_at=None, conditions=FAILED)

    assert isinstance(decide(undated), Harvest)


def test_own_unharvested_job_comes_before_another_runs() -> None:
    own = job(2, flow_run_id=MY_RUN, conditions=COMPLETE)

    verdict = decide(job(1, conditions=COMPLETE), own)

    assert verdict == Harvest(
        own, False, False, "Job job-2 of this flow run has finished; its result is not stored."
    )


def test_two_unknown_tasks_are_not_the_same_task() -> None:
    over = job(conditions=COMPLETE, task_id=None)

    assert isinstance(decide(over, me=replace(ME, task_id=None)), StartNew)


def test_own_failure_and_another_runs_unharvested_job_is_harvested_before_the_new_attempt() -> None:
    own = job(1, flow_run_id=MY_RUN, conditions=FAILED, harvested_at=NOON)

    verdict = decide(own, job(2, conditions=COMPLETE), stored={"job-1": False})

    assert isinstance(verdict, Harvest)
    assert (verdict.job.name, verdict.then_start) == ("job-2", True)


KEEPER = ContainerSnapshot("keeper", running=ContainerRunning(NOON))
KEEPER_ENDED = ContainerSnapshot("keeper", terminated=ContainerTerminated(0))


@pytest.mark.parametrize("task", [TaskId("another"), None])
def test_work_that_a_keeper_holds_is_collected_before_a_new_agent_starts(
    task: TaskId | None,
) -> None:
    held = job(task_id=task, keeps_work=True)

    verdict = decide(held, pods=(pod(containers=(ENDED, KEEPER)),))

    assert verdict == Harvest(
        held,
        True,
        # A session of another task is none of ours.
        False,
        "Job job-1 of flow run run-other is over: its agent has ended, but container keeper still "
        "runs; its result is not stored.",
    )


@pytest.mark.parametrize(
    ("found", "beside"),
    [
        pytest.param({"keeps_work": True, "harvested_at": NOON}, KEEPER, id="it is stored"),
        pytest.param({"keeps_work": True}, KEEPER_ENDED, id="the keeper has ended"),
        pytest.param({"keeps_work": True}, MESH, id="another container still runs"),
        pytest.param({}, KEEPER, id="a container of that name is not ours"),
        pytest.param({"keeps_work": True, "conditions": FAILED}, KEEPER, id="the Job is over"),
    ],
)
def test_job_of_another_task_that_holds_no_work_is_left_alone(
    found: dict[str, Any], beside: ContainerSnapshot
) -> None:
    left = job(task_id=TaskId("another"), **found)

    assert isinstance(decide(left, pods=(pod(containers=(ENDED, beside)),)), StartNew)


@pytest.mark.parametrize(
    ("ours", "its", "resume"),
    [
        ("session", "session", True),
        ("session", None, True),
        (None, "session", True),
        ("a", "b", False),
    ],
)
def test_new_run_resumes_the_harvested_session_unless_both_are_known_to_differ(
    ours: str | None, its: str | None, resume: bool
) -> None:
    verdict = decide(
        job(conditions=COMPLETE, session_id=SessionId(its) if its else None),
        me=replace(ME, session_id=SessionId(ours) if ours else None),
    )

    assert isinstance(verdict, Harvest)
    assert verdict.resume_session is resume


# --- results whose Job has gone ------------------------------------------------------------------


OURS_ON_LEASE = replace(LEASE, attempt_flow_run_id=MY_RUN, attempt=2)


def test_stored_success_is_returned_after_its_job_has_gone() -> None:
    assert decide(lease=OURS_ON_LEASE, stored={"job-1": True}) == ReturnStored(
        JobUid("job-1"), "The result of this flow run is already stored."
    )


def test_stored_success_of_a_gone_job_wins_over_an_older_kept_failure() -> None:
    failed = job(2, flow_run_id=MY_RUN, conditions=FAILED, harvested_at=NOON)
    stored = {"job-1": True, "job-2": False}

    assert isinstance(decide(failed, lease=OURS_ON_LEASE, stored=stored), ReturnStored)


@pytest.mark.parametrize(
    ("lease", "stored"),
    [
        pytest.param(OURS_ON_LEASE, {"job-1": False}, id="stored failure"),
        pytest.param(OURS_ON_LEASE, {}, id="nothing stored"),
        pytest.param(LEASE, {"job-1": True}, id="committed by another run"),
        pytest.param(replace(OURS_ON_LEASE, committed_job_uid=None), {}, id="nothing committed"),
    ],
)
def test_lease_without_a_job_and_without_a_stored_success_starts(
    lease: LeaseSnapshot, stored: dict[str, bool]
) -> None:
    assert isinstance(decide(lease=lease, stored=stored), StartNew)


def test_success_that_is_stored_but_not_marked_is_not_read_a_second_time() -> None:
    own = job(flow_run_id=MY_RUN, conditions=COMPLETE)

    assert isinstance(decide(own, lease=OURS_ON_LEASE, stored={"job-1": True}), ReturnStored)


# --- pods that outlive their Job -----------------------------------------------------------------


@pytest.mark.parametrize(
    "jobs",
    [(), (job(deletion_at=NOON),), (job(conditions=FAILED, harvested_at=NOON),)],
    ids=["Job gone", "Job deleting", "Job over"],
)
def test_terminating_pod_is_waited_for_within_its_grace(jobs: tuple[JobSnapshot, ...]) -> None:
    going = pod(deletion_at=after(20))

    for now in (0, 20, 49.9):
        assert decide(*jobs, pods=(going,), now=now) == WaitForTermination(
            (going,), after(50), "Pod pod-1 of an earlier Job has not terminated yet."
        )


@pytest.mark.parametrize(
    ("container", "expected"),
    [(RUNNING, Blocked), (WAITING, StartNew), (None, StartNew)],
    ids=["running", "never started", "never reported"],
)
def test_terminating_pod_beyond_its_grace_counts_as_absent_unless_its_agent_runs(
    container: ContainerSnapshot | None, expected: type
) -> None:
    assert isinstance(decide(pods=(pod(1, container, deletion_at=after(20)),), now=50), expected)


@pytest.mark.parametrize(
    "found",
    [pod(1, ENDED), pod(1, UNOBSERVED), pod(1, RUNNING, phase="Failed"), pod(1, phase="Succeeded")],
    ids=["container ended", "container lost", "pod failed", "pod succeeded"],
)
def test_pod_whose_agent_has_ended_is_not_waited_for(found: PodSnapshot) -> None:
    assert isinstance(decide(pods=(found,)), StartNew)


@pytest.mark.parametrize("container", [RUNNING, WAITING, None])
def test_pod_that_nobody_deletes_is_waited_for_then_blocks(
    container: ContainerSnapshot | None,
) -> None:
    left = pod(1, container)

    assert decide(pods=(left,), now=29) == WaitForTermination(
        (left,), after(30), "Pod pod-1 of an earlier Job has not terminated yet."
    )
    blocked = decide(pods=(left,), now=30)
    assert isinstance(blocked, Blocked)
    assert blocked.code is ErrorCode.CONCURRENT_RUN_BLOCKED
    assert "Pod pod-1 on node node-1" in blocked.reason


def test_several_terminating_pods_are_waited_for_until_the_last() -> None:
    first, last = pod(1, deletion_at=after(5)), pod(2, deletion_at=after(15))

    verdict = decide(pods=(first, last))

    assert isinstance(verdict, WaitForTermination)
    assert (verdict.pods, verdict.until) == ((first, last), after(45))


def test_own_result_is_harvested_although_a_pod_of_it_is_stuck() -> None:
    own = job(flow_run_id=MY_RUN, conditions=FAILED)
    stuck = pod(deletion_at=after(-60))

    assert isinstance(decide(own, pods=(stuck,)), Harvest)


def test_another_runs_result_is_not_harvested_to_start_beside_a_stuck_pod() -> None:
    stuck = pod(deletion_at=after(-60))

    assert isinstance(decide(job(conditions=FAILED), pods=(stuck,)), Blocked)


def test_stored_result_is_returned_whatever_pods_there_are() -> None:
    own = job(flow_run_id=MY_RUN, conditions=COMPLETE, harvested_at=NOON)

    verdict = decide(own, pods=(pod(deletion_at=after(20)),), stored={"job-1": True})

    assert isinstance(verdict, ReturnStored)


def test_replaced_pod_of_a_live_job_is_not_waited_for() -> None:
    going = pod(1, deletion_at=after(20))

    assert isinstance(decide(job(1), pods=(pod(1), going)), Reattach)


# --- what counts as committed --------------------------------------------------------------------


ELSEWHERE = replace(LEASE, committed_job_uid=JobUid("another"))


@pytest.mark.parametrize("lease", [None, ELSEWHERE], ids=["no Lease", "Lease names another"])
@pytest.mark.parametrize(
    ("fields", "pods", "secret", "deleted"),
    [
        pytest.param({}, (), None, True, id="bare"),
        pytest.param({}, (pod(1, WAITING),), None, True, id="pod waits"),
        pytest.param({}, (pod(1, None),), RunSecret.ABSENT, True, id="no Secret"),
        pytest.param({}, (pod(1, RUNNING),), None, False, id="agent runs"),
        pytest.param({}, (pod(1, UNOBSERVED),), None, False, id="it is unknown whether it ran"),
        pytest.param({}, (), RunSecret.PRESENT, False, id="Secret is there"),
        pytest.param({"owner_flow_run_id": MY_RUN}, (), None, False, id="adopted"),
        pytest.param({"owner_flow_run_id": None}, (), None, True, id="no owner noted"),
        pytest.param({"conditions": FAILED}, (), None, False, id="failed, pods gone"),
        pytest.param(
            {"conditions": FAILED}, (pod(1, WAITING, phase="Failed"),), None, True, id="never ran"
        ),
        pytest.param({"conditions": FAILED}, (pod(1, ENDED),), None, False, id="failed, ran"),
        pytest.param({"harvested_at": NOON}, (), None, False, id="harvested"),
    ],
)
def test_job_that_the_lease_does_not_name_is_deleted_only_without_any_trace(
    lease: LeaseSnapshot | None,
    fields: dict[str, Any],
    pods: tuple[PodSnapshot, ...],
    secret: RunSecret | None,
    deleted: bool,
) -> None:
    found = job(**fields)

    verdict = decide(found, pods=pods, lease=lease, secrets={found.uid: secret} if secret else {})

    assert isinstance(verdict, DeleteUncommitted) is deleted
