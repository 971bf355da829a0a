"""Every interruption at every stage: who goes on, with which agent, and that nothing is left."""

from pathlib import Path

import pytest

from tests.faults.interruptions.hosts import Hosts
from tests.faults.interruptions.interrupted_run import LINES, InterruptedRun, Surroundings
from tests.faults.interruptions.interruption_table import (
    COMPLETED,
    IMPOSSIBLE,
    TABLE,
    Expected,
    Follows,
    Interruption,
    Stage,
)
from tests.faults.prefect_gate import PrefectGate
from tests.faults.world import World

pytestmark = pytest.mark.timeout(400)

# Each where another part of the program acts, under each host.
_QUICK = {
    (Interruption.CANCEL, Stage.STREAMING),
    (Interruption.SIGTERM_CHILD, Stage.COMMIT),
    (Interruption.SIGKILL_CHILD, Stage.JOB),
    (Interruption.SIGTERM_PARENT, Stage.RESULT),
    (Interruption.RESCHEDULE, Stage.CLEANUP),
    (Interruption.KUBERNETES_DOWN, Stage.SECRET),
}


_CONTINUES = {Follows.SAME_CONTINUES, Follows.NEW_CONTINUES}


def _cells(*, quick: bool) -> list[object]:
    return [
        pytest.param(*cell, expected, id=f"{cell[0]} at {cell[1]}")
        for cell, expected in TABLE.items()
        if (cell in _QUICK) == quick
    ]


@pytest.fixture
def around(world: World, gate: PrefectGate, hosts: Hosts) -> Surroundings:
    return Surroundings(world, gate, hosts)


def test_table_has_every_pair_or_says_why_not() -> None:
    assert len(TABLE) + len(IMPOSSIBLE) == len(Interruption) * len(Stage)
    assert all(IMPOSSIBLE.values())


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.parametrize(("interruption", "stage", "expected"), _cells(quick=True))
def test_interrupted_run_ends_as_the_table_says(
    around: Surroundings,
    interruption: Interruption,
    stage: Stage,
    expected: Expected,
    tmp_path: Path,
) -> None:
    _interrupt_and_check(around, interruption, stage, expected, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("interruption", "stage", "expected"), _cells(quick=False))
def test_interrupted_run_ends_as_the_whole_table_says(
    around: Surroundings,
    interruption: Interruption,
    stage: Stage,
    expected: Expected,
    tmp_path: Path,
) -> None:
    _interrupt_and_check(around, interruption, stage, expected, tmp_path)


def _interrupt_and_check(
    around: Surroundings, interruption: Interruption, stage: Stage, expected: Expected, folder: Path
) -> None:
    folder.chmod(0o755)
    run = InterruptedRun(around, interruption, stage, folder)
    try:
        run.start()
        first_jobs = [job["metadata"]["uid"] for job in run.found_jobs]
        started = run.agents_started()
        run.interrupt()
        if expected.state == COMPLETED:
            run.let_agent_end()
        _check_what_is_left(run, expected)
        if expected.state != COMPLETED:
            # Otherwise those who come next have started theirs already.
            started = run.agents_started()
        run.barrier.lift()
        if expected.lease_held:
            run.expire_lease()
        follower = run.follow(expected.follows)
        if expected.follows in _CONTINUES:
            # With the agent that there was: it has waited for whoever takes it over.
            run.wait_for_output(follower)
        run.let_agent_end()
        if expected.follows is not Follows.NOBODY:
            run.wait_for_state(follower, COMPLETED, 120)
        _check_follower(run, expected.follows, follower, first_jobs, started)
        run.check_nothing_is_left(are_kept=True)
    finally:
        run.clear_away()


def _check_what_is_left(run: InterruptedRun, expected: Expected) -> None:
    # The longest bound is the guard's: two rounds of calls that are not answered.
    run.wait_for_state(run.flow_run_id, expected.state, 200)
    run.wait_for(run.flow_run_id, lambda: run.are(expected.jobs), 60)
    run.wait_for(run.flow_run_id, lambda: bool(run.lease_holder) == expected.lease_held, 20)


def _check_follower(
    run: InterruptedRun, how: Follows, follower: str, first_jobs: list[str], started: int
) -> None:
    result = run.result(follower)
    assert result["error_code"] is None, result
    assert (result["transcript"]["complete"], result["transcript"]["lines"]) == (True, LINES)
    job_uid = result["kubernetes"]["job_uid"]
    if how in _CONTINUES:
        assert [job_uid] == first_jobs
        assert run.agents_started() == 1
        is_new = how is Follows.NEW_CONTINUES
        assert result["reattached_from"] == (run.flow_run_id if is_new else None)
    elif how in {Follows.SAME_STARTS, Follows.NEW_STARTS, Follows.NEW_KEEPS}:
        assert job_uid not in first_jobs
        assert run.agents_started() == started + 1
        assert result["reattached_from"] is None
    else:
        assert run.agents_started() == 1
    if how is Follows.NEW_KEEPS:
        kept = run.result(run.flow_run_id)
        assert (kept["error_code"], kept["transcript"]["lines"]) == (None, LINES)
        assert [kept["kubernetes"]["job_uid"]] == first_jobs
