from datetime import UTC, datetime, timedelta

import pytest

from tasks.observation.snapshots import KubernetesEventSnapshot, PodSnapshot
from tasks.observation.telling_events import find_telling_event, rule_of
from tasks.vocabulary.error_codes import Cause
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
    reason: str,
    message: str = "",
    at: float | None = 0,
    about: str = "uid",
    kind: str = "Normal",
) -> KubernetesEventSnapshot:
    last_at = None if at is None else NOON + timedelta(seconds=at)
    return KubernetesEventSnapshot(reason, message, kind, last_at=last_at, about_uid=about)


def warning(reason: str, message: str, at: float) -> KubernetesEventSnapshot:
    return event(reason, message, at, kind="Warning")


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
        pytest.param(
            [warning("FailedPrepareDynamicResources", "no claim", 5)],
            "no claim",
            id="device of a claim cannot be prepared",
        ),
        pytest.param(
            [warning("NewerThanWe", "older", 1), warning("NewestOfAll", "newer", 2)],
            "newer",
            id="newest Warning that no rule knows",
        ),
        pytest.param(
            [warning("NewerThanWe", "unknown", 9), event("Failed", "known", 1)],
            "known",
            id="Event that a rule knows before a Warning that none does",
        ),
        pytest.param(
            [warning("NewerThanWe", "unknown", 9), event("Pulling", "Pulling image", 1)],
            "Pulling image",
            id="progress before a Warning that no rule knows",
        ),
        pytest.param(
            [warning("NewerThanWe", "unknown", 1), event("Created", "Created", 9)],
            None,
            id="Warning that no rule knows, and that is past",
        ),
        pytest.param(
            [event("NewerThanWe", "not a Warning", 1)], None, id="unknown, and not a Warning"
        ),
        pytest.param(
            [warning("FailedScheduling", "0/3 nodes", 1), warning("DNSConfigForming", "many", 2)],
            None,
            id="Warnings that tell nothing of the start",
        ),
    ],
)
def test_event_that_tells_most_is_chosen(
    events: list[KubernetesEventSnapshot], told: str | None
) -> None:
    for order in (events, events[::-1]):
        found = find_telling_event(order, POD)
        assert (found.message if found else None) == told


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("FailedPrepareDynamicResources", Cause.CONFIG_ERROR),
        ("FailedMountOnFilesystemMismatch", Cause.CONFIG_ERROR),
        ("VolumeResizeFailed", Cause.CONFIG_ERROR),
        ("FileSystemResizeFailed", Cause.CONFIG_ERROR),
        ("FailedPodSandBoxStatus", Cause.CONFIG_ERROR),
        ("FailedCreatePodContainer", Cause.CONFIG_ERROR),
        ("InspectFailed", Cause.IMAGE_PULL),
        ("FailedPostStartHook", Cause.CONFIG_ERROR),
        ("FailedValidation", Cause.CONFIG_ERROR),
        ("FailedToRetrieveImagePullSecret", Cause.IMAGE_PULL),
        ("NewerThanWe", Cause.UNKNOWN),
    ],
)
def test_event_of_the_kubelet_is_told_with_its_cause_and_what_to_do(
    reason: str, cause: Cause
) -> None:
    found = find_telling_event([warning(reason, "why", 1)], POD)

    assert found is not None
    assert rule_of(found).cause is cause
    assert rule_of(found).advice
