"""The Job's watch may be ahead of its pods': that a Job has ended says not that no agent ran."""

import pytest

from tests.ownership.rival_runs import Rivals, World


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(180)
def test_job_seen_complete_before_its_pod_is_seen_running_is_followed_to_its_result(
    world: World,
) -> None:
    rivals = Rivals(world)
    silent = {"verb": "watch", "resource": "pods", "namespace": rivals.space.name}
    hang = {"stream": {"afterSeconds": 0, "end": "hang"}}
    world.api.faults({"match": silent, "times": None, "do": hang})
    try:
        outcome = rivals.start().wait(120)

        assert outcome["error_code"] is None, rivals.describe()
        assert outcome["transcript"]["complete"], rivals.describe()
    finally:
        rivals.end()
