from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.observation.container_states import ContainerTerminated
from tasks.observation.pod_states import has_ending, has_observed_ending, merge_states
from tasks.observation.snapshots import PodSnapshot

EXIT_3 = {"terminated": {"exitCode": 3, "reason": "Error"}}
RUNNING: dict[str, Any] = {"running": {}}
# What a kubelet writes for a container that it has lost.
LOST = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


def pod(agent: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    statuses = [{"name": "agent", "state": agent}] if agent is not None else []
    return {
        "metadata": {"name": "p", "uid": "u"},
        "status": {"containerStatuses": statuses, **status},
    }


def ending(raw: Any) -> ContainerTerminated | None:
    agent = PodSnapshot.from_api(raw).agent
    return agent.terminated if agent is not None else None


@pytest.mark.parametrize(
    ("state", "has_ended", "observed"),
    [
        (None, False, False),
        (RUNNING, False, False),
        (LOST, True, False),
        (EXIT_3, True, True),
    ],
)
def test_ending_that_nobody_saw_is_an_ending_and_not_observed(
    state: dict[str, Any] | None, has_ended: bool, observed: bool
) -> None:
    assert (has_ending(pod(state)), has_observed_ending(pod(state))) == (has_ended, observed)


@pytest.mark.parametrize("later", [None, RUNNING, LOST], ids=["no status", "running", "lost"])
def test_observed_ending_outlives_what_comes_later(later: dict[str, Any] | None) -> None:
    merged = merge_states(pod(later, phase="Failed"), pod(EXIT_3, phase="Running"))

    seen = ending(merged)
    assert seen is not None
    assert (seen.exit_code, seen.reason) == (3, "Error")
    assert PodSnapshot.from_api(merged).phase == "Failed"


def test_deletion_was_asked_for_when_it_was_first_said() -> None:
    asked = {"deletionTimestamp": "2026-11-29T01:08:03Z", "deletionGracePeriodSeconds": 20}
    # The kubelet's own DELETE, once the container has ended.
    last = {"deletionTimestamp": "2026-11-29T01:07:44Z", "deletionGracePeriodSeconds": 0}
    earlier, ended, latest = pod(RUNNING), pod(EXIT_3), pod(EXIT_3)
    earlier["metadata"] = {"name": "pod-1", **asked}
    latest["metadata"] = {"name": "pod-1", "labels": {"a": "b"}, **last}

    merged = merge_states(latest, ended, earlier)

    seen = PodSnapshot.from_api(merged).deletion_asked_at
    assert seen == datetime(2026, 11, 29, 1, 7, 43, tzinfo=UTC)
    assert merged["metadata"]["labels"] == {"a": "b"}
    alone = PodSnapshot.from_api(merge_states(latest, ended, latest)).deletion_asked_at
    assert alone == datetime(2026, 11, 29, 1, 7, 44, tzinfo=UTC)


def test_ending_that_is_said_again_is_taken_as_said_last() -> None:
    later = {"terminated": {"exitCode": 3, "reason": "OOMKilled"}}

    seen = ending(merge_states(pod(later), pod(EXIT_3)))

    assert seen is not None
    assert seen.reason == "OOMKilled"


def test_reason_and_disruption_of_the_pod_outlive_a_state_without_them() -> None:
    before = pod(EXIT_3, reason="Evicted", message="low on memory", conditions=[DISRUPTED])

    merged = PodSnapshot.from_api(merge_states(pod(EXIT_3, reason=""), before))

    assert (merged.reason, merged.message) == ("Evicted", "low on memory")
    assert merged.disruption is not None


def test_later_reason_and_condition_win() -> None:
    before = pod(EXIT_3, reason="Evicted", conditions=[DISRUPTED])
    cleared = {**DISRUPTED, "status": "False"}

    merged = PodSnapshot.from_api(
        merge_states(pod(EXIT_3, reason="NodeLost", conditions=[cleared]), before)
    )

    assert merged.reason == "NodeLost"
    assert merged.disruption is None


def test_pod_that_has_not_ended_is_its_newest_state() -> None:
    newest = pod(RUNNING)

    assert merge_states(newest, None) is newest
