from datetime import UTC, datetime, timedelta

import pytest

from tasks.observation.snapshots import KubernetesEventSnapshot, PodSnapshot
from tasks.observation.telling_events import find_telling_event
from tasks.vocabulary.names import PodUid

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MULTI_ATTACH = (
    'Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and '
    "can't be attached to another"
)
ATTACHED = 'AttachVolume.Attach succeeded for volume "pvc-1"'
WAITED = (
    "Unable to attach or mount volumes: unmounted volumes=[home], unattached volumes=[], failed to "
    "process volumes=[]: timed out waiting for the condition"
)
NO_SECRET = 'MountVolume.SetUp failed for volume "run" : secret "job-1" not found'
CLAIM_FAULT = 'MountVolume.MountDevice failed for volume "pvc-1" : rpc error'
POD = PodSnapshot("pod-1", PodUid("uid"), own_volumes=frozenset({"run", "tmp"}))
NO_NETWORK = "Failed to create pod sandbox: plugin type=cilium failed"


def event(
    reason: str, message: str = "", at: float | None = 0, about: str = "uid"
) -> KubernetesEventSnapshot:
    last_at = None if at is None else NOON + timedelta(seconds=at)
    return KubernetesEventSnapshot(reason, message, last_at=last_at, about_uid=about)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        pytest.param([], None, id="none"),
        pytest.param([event("Scheduled", "assigned")], None, id="none that tells"),
        pytest.param([event("FailedMount", "of another", about="other")], None, id="of another"),
        pytest.param(
            [event("FailedAttachVolume", MULTI_ATTACH, 1), event("FailedMount", WAITED, 120)],
            MULTI_ATTACH,
            id="attached elsewhere, then waited in vain",
        ),
        pytest.param([event("FailedMount", WAITED, 120)], WAITED, id="only waited in vain"),
        pytest.param(
            [event("FailedMount", NO_SECRET, 1), event("FailedMount", WAITED, 120)],
            WAITED,
            id="mount fault that has healed, then waited in vain for another",
        ),
        pytest.param(
            [
                event("FailedMount", NO_SECRET, 1),
                event("FailedMount", WAITED.replace("[home]", "[home run]"), 120),
            ],
            NO_SECRET,
            id="mount fault, then waited in vain for it",
        ),
        pytest.param(
            [event("FailedMount", WAITED, 1), event("FailedMount", NO_SECRET, 120)],
            NO_SECRET,
            id="waited in vain, then mount fault",
        ),
        pytest.param(
            [event("FailedMount", CLAIM_FAULT, 1), event("FailedMount", WAITED, 120)],
            CLAIM_FAULT,
            id="mount fault of a claim, which has another name in the pod",
        ),
        pytest.param(
            [event("FailedMount", "older", 1), event("FailedMount", "newer", 2)],
            "newer",
            id="newest of equals",
        ),
        pytest.param(
            [event("FailedMount", "undated", None), event("FailedMount", "dated", 2)],
            "dated",
            id="dated before undated",
        ),
        pytest.param(
            [
                event("FailedAttachVolume", MULTI_ATTACH, 1),
                event("SuccessfulAttachVolume", ATTACHED, 50),
                event("FailedMount", NO_SECRET, 40),
            ],
            NO_SECRET,
            id="attached in the end",
        ),
        pytest.param(
            [
                event("FailedAttachVolume", MULTI_ATTACH, 1),
                event("SuccessfulAttachVolume", ATTACHED.replace("pvc-1", "pvc-2"), 50),
            ],
            MULTI_ATTACH,
            id="another volume attached",
        ),
        pytest.param(
            [event("FailedAttachVolume", MULTI_ATTACH, 1), event("Pulling", "Pulling image", 90)],
            "Pulling image",
            id="pulling: volumes and sandbox are there",
        ),
        pytest.param(
            [event("Pulling", "Pulling image", 1), event("FailedCreatePodSandBox", NO_NETWORK, 9)],
            NO_NETWORK,
            id="sandbox lost after the pull",
        ),
        pytest.param(
            [event("Pulling", "Pulling image", 1), event("Pulled", "Pulled", 9)],
            None,
            id="pulled",
        ),
        pytest.param(
            [event("Failed", "Error: cannot create", 5), event("Pulled", "Pulled", 9)],
            "Error: cannot create",
            id="pulled again, not created",
        ),
    ],
)
def test_event_that_tells_most_is_chosen(
    events: list[KubernetesEventSnapshot], told: str | None
) -> None:
    for order in (events, events[::-1]):
        found = find_telling_event(order, POD)
        assert (found.message if found else None) == told
