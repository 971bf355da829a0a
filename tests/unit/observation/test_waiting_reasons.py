import pytest

from tasks.observation.container_states import ContainerSnapshot, ContainerWaiting
from tasks.observation.pod_reasons import CONFIG_ERROR, IMAGE_PULL
from tasks.observation.waiting_reasons import NORMAL, RULES, HoldUp, find_waiting_rule


def waits(reason: str, message: str | None = None) -> ContainerSnapshot:
    return ContainerSnapshot("agent", waiting=ContainerWaiting(reason, message))


@pytest.mark.parametrize(
    ("reason", "message", "hold_up", "seconds"),
    [
        ("ErrImagePull", "rpc error", HoldUp.IMAGE, None),
        ("ImagePullBackOff", "Back-off pulling image", HoldUp.IMAGE, None),
        ("RegistryUnavailable", None, HoldUp.IMAGE, None),
        ("SignatureValidationFailed", None, HoldUp.IMAGE, None),
        ("ImageInspectError", None, HoldUp.IMAGE, 120),
        ("ErrImageNeverPull", None, HoldUp.IMAGE, 0),
        ("InvalidImageName", None, HoldUp.IMAGE, 0),
        ("CreateContainerConfigError", 'secret "claude" not found', HoldUp.MISSING, 20),
        ("CreateContainerConfigError", 'configmap "settings" not found', HoldUp.MISSING, 20),
        (
            "CreateContainerConfigError",
            "couldn't find key api-key in Secret agents/claude",
            HoldUp.MISSING,
            20,
        ),
        (
            "CreateContainerConfigError",
            'failed to prepare subPath for volumeMount "home" of container "agent"',
            HoldUp.CONFIG,
            120,
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
            HoldUp.CONFIG,
            120,
        ),
        ("CreateContainerConfigError", None, HoldUp.CONFIG, 120),
        ("CreateContainerError", "context deadline exceeded", HoldUp.CREATION, 120),
        ("CreateContainerError", 'secret "claude" not found', HoldUp.CREATION, 120),
        ("RunContainerError", "failed to start shim", HoldUp.START, 120),
        ("StartError", "exec /bin/sh: exec format error", HoldUp.START, 120),
        ("ContainerCannotRun", None, HoldUp.START, 120),
        ("PostStartHookError", "exit 1", HoldUp.HOOK, 120),
        ("PreStartHookError", None, HoldUp.HOOK, 120),
        ("PreCreateHookError", None, HoldUp.HOOK, 120),
    ],
)
def test_waiting_reason_has_its_kind_and_patience(
    reason: str, message: str | None, hold_up: HoldUp, seconds: int | None
) -> None:
    rule = find_waiting_rule(waits(reason, message))

    assert rule is not None
    assert (rule.hold_up, rule.patience_seconds) == (hold_up, seconds)


@pytest.mark.parametrize("reason", [*sorted(NORMAL), "SomethingNewer"])
def test_waiting_reason_that_is_normal_or_unknown_has_no_rule(reason: str) -> None:
    assert find_waiting_rule(waits(reason)) is None


def test_container_that_does_not_wait_has_no_rule() -> None:
    assert find_waiting_rule(ContainerSnapshot("agent")) is None


def test_only_a_missing_object_asks_to_create_one() -> None:
    assert not [rule for rule in RULES.values() if "Create the Secret" in rule.advice]


def test_what_happened_and_advice_differ_between_kinds() -> None:
    texts = {(rule.hold_up, rule.happened): rule.advice for rule in RULES.values()}

    assert len(set(texts.values())) >= len({rule.hold_up for rule in RULES.values()})


def test_every_reason_shows_one_cause() -> None:
    assert frozenset(RULES) == IMAGE_PULL | CONFIG_ERROR
    assert not IMAGE_PULL & CONFIG_ERROR
