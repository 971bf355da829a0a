"""A Secret that the API server refuses for a while is created by the stage's second try."""

import pytest

from tests.faults.ownership.rival_runs import Rivals
from tests.faults.world import World

_TRIES_OF_A_CALL = 5


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(180)
def test_run_whose_secret_is_refused_for_all_tries_of_a_call_starts_its_agent(
    world: World,
) -> None:
    """The first try has bound the run to its pod, which cannot start before it has its Secret."""
    rivals = Rivals(world)
    busy = {"status": 503, "reason": "ServiceUnavailable", "message": "busy"}
    creations = {"verb": "create", "resource": "secrets"}
    try:
        rivals.add_faults({"match": creations, "times": _TRIES_OF_A_CALL, "do": busy})
        outcome = rivals.start().wait(90)

        assert outcome["error_code"] is None, rivals.describe()
        assert outcome["transcript"]["complete"], rivals.describe()
        assert "Secret not created" in rivals.describe()
        rivals.check_nothing_is_left()
    finally:
        rivals.clear_away()
