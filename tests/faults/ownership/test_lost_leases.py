"""A run learns that its Lease went to a successor, which may have gone again by then."""

import pytest

from tests.faults.ownership.rival_runs import Rivals
from tests.faults.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

_RUN_SECONDS = 180.0
_BLOCKED = "k8s_concurrent_run_blocked"
_RETRIED = {"retry": {"codes": ["llm_api_error"], "max_attempts": 2, "delay_seconds": 120}}


@pytest.mark.parametrize("said", ["COMPLETED", "CRASHED", "RUNNING"])
def test_run_whose_twin_has_come_and_gone_leaves_what_it_has_said(world: World, said: str) -> None:
    """Prefect would let it fail a completed run."""
    rivals = Rivals(world)
    flow = world.prefect.post("/flows/", {"name": "ownership"})
    asked = {"flow_id": flow["id"], "state": {"type": said}}
    flow_run = world.prefect.post("/flow_runs/", asked)
    to_secrets = {"verb": "create", "resource": "secrets"}
    try:
        barrier = rivals.hold(to_secrets, drop=True)
        run = rivals.start(flow_run["id"])
        rivals.until(lambda: rivals.is_held(barrier), 60)
        rivals.succeed_and_release()
        rivals.refuse(to_secrets)
        rivals.release(barrier)
        assert run.wait(_RUN_SECONDS)["error_code"] == _BLOCKED, rivals.describe()
        assert ("steps back" in run.log) is (said == "COMPLETED"), rivals.describe()
    finally:
        rivals.clear_away()


def test_run_that_loses_its_lease_between_two_attempts_makes_no_other(world: World) -> None:
    rivals = Rivals(world)
    try:
        run = rivals.start(env={"REPLAY_TRANSCRIPT": "api_error_500"}, runtime=_RETRIED)
        rivals.until(lambda: "the next attempt starts in 120 s" in run.log, 60)
        rivals.succeed_and_release()
        assert run.wait(_RUN_SECONDS)["error_code"] == _BLOCKED, rivals.describe()
        assert len(world.record.pods_of(rivals.agent_id)) == 1, rivals.describe()
    finally:
        rivals.clear_away()
