"""The Job's watch may be ahead of its pods': that a Job has ended says not that no agent ran."""

import pytest

from tests.faults.ownership.rival_runs import Rivals
from tests.faults.world import World


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(180)
def test_job_seen_complete_before_its_pod_is_seen_running_is_followed_to_its_result(
    world: World,
) -> None:
    rivals = Rivals(world)
    hang = {"stream": {"afterSeconds": 0, "end": "hang"}}
    try:
        pod_watches = {"verb": "watch", "resource": "pods"}
        rivals.add_faults({"match": pod_watches, "times": None, "do": hang})
        outcome = rivals.start().wait(120)

        assert outcome["error_code"] is None, rivals.describe()
        assert outcome["transcript"]["complete"], rivals.describe()
    finally:
        rivals.clear_away()
