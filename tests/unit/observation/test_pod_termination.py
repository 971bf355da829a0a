from datetime import UTC, datetime, timedelta

from tasks.observation.container_states import ContainerRunning, ContainerSnapshot
from tasks.observation.pod_termination import TerminationVerdict, judge_termination
from tasks.observation.snapshots import PodSnapshot
from tasks.vocabulary.names import PodUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
RUNNING = ContainerSnapshot("agent", running=ContainerRunning(NOON))


def pod(number: int, deletion_seconds: float | None) -> PodSnapshot:
    return PodSnapshot(
        f"pod-{number}",
        PodUid(f"uid-{number}"),
        phase="Running",
        deletion_at=None
        if deletion_seconds is None
        else NOON + timedelta(seconds=deletion_seconds),
        containers=(RUNNING,),
    )


def test_pod_is_either_waited_for_or_stuck_and_never_both() -> None:
    stuck, waiting, left = pod(1, -31), pod(2, -29), pod(3, None)

    verdict = judge_termination((stuck, waiting, left), (), first_look_at=NOON, server_now=NOON)

    assert verdict == TerminationVerdict((waiting, left), NOON + timedelta(seconds=30), (stuck,))


def test_nothing_lingers_where_there_are_no_pods() -> None:
    verdict = judge_termination((), (), first_look_at=NOON, server_now=NOON)

    assert verdict == TerminationVerdict((), None, ())
