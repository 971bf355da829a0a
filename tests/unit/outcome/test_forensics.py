import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.observation.cluster_evidence import ClusterEvidence, NodeSnapshot, events_from_api
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.forensics import (
    LAST_DECISIONS,
    LAST_LINES,
    Decision,
    ForensicsBundle,
    build_forensics,
)
from tasks.text.redaction import MASK, Redactor

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
SECRET = "correct-horse-battery"


def build(**fields: Any) -> ForensicsBundle:
    given: dict[str, Any] = {
        "taken_at": NOW,
        "job": None,
        "pods": (),
        "evidence": ClusterEvidence(),
        "last_lines": (),
        "facts_used": (),
        "not_observed": (),
        "decisions": (),
        "redactor": Redactor([SECRET]),
    }
    return build_forensics(**{**given, **fields})


def test_bundle_masks_secrets_wherever_they_stand() -> None:
    raw = {"metadata": {"name": "x"}, "spec": {"args": [f"--key={SECRET}"]}}

    bundle = build(
        job=raw,
        pods=[raw],
        evidence=ClusterEvidence(
            kubernetes_events=(KubernetesEventSnapshot("Failed", f"says {SECRET}"),),
            not_read=(f"node: {SECRET}",),
        ),
        last_lines=[f"key {SECRET}"],
        facts_used=[f"fact {SECRET}"],
        decisions=[Decision(NOW, f"took {SECRET}")],
    )

    assert SECRET not in repr(bundle)
    assert repr(bundle).count(MASK) == 7


def test_bundle_leaves_out_who_wrote_which_field() -> None:
    job: dict[str, Any] = {
        "metadata": {"name": "x", "managedFields": [{}], "uid": "u"},
        "status": {"active": 1},
    }

    assert build(job=job).job == {"metadata": {"name": "x", "uid": "u"}, "status": {"active": 1}}


def test_bundle_keeps_the_end_of_lines_and_decisions() -> None:
    lines = [f"line {number}" for number in range(LAST_LINES + 5)]
    decisions = [Decision(NOW + timedelta(seconds=n), str(n)) for n in range(LAST_DECISIONS + 5)]

    bundle = build(last_lines=lines, decisions=decisions)

    assert bundle.last_lines == tuple(lines[5:])
    assert bundle.decisions == tuple(decisions[5:])


def test_bundle_names_lines_of_json_events_instead_of_repeating_them() -> None:
    event = json.dumps({"type": "result", "is_error": False})

    [line] = build(last_lines=[f"tool result Bash\n    {event}\n    {{}}"]).last_lines

    assert line == f"tool result Bash\n[a line of JSON, {len(event)} characters]\n    {{}}"


def test_events_come_oldest_first() -> None:
    raw = [
        {"reason": "Killing", "lastTimestamp": "2026-11-20T18:00:09Z"},
        {"reason": "Undated"},
        {"reason": "Started", "lastTimestamp": "2026-11-20T18:00:01Z"},
    ]

    assert [event.reason for event in events_from_api(raw)] == ["Undated", "Started", "Killing"]


def test_node_is_lost_when_it_is_not_known_to_be_ready() -> None:
    def node(*conditions: dict[str, str]) -> NodeSnapshot:
        return NodeSnapshot.from_api(
            {
                "metadata": {"name": "n"},
                "spec": {
                    "unschedulable": True,
                    "taints": [
                        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
                        {"key": "pool", "value": "gpu", "effect": "NoSchedule"},
                    ],
                },
                "status": {"conditions": list(conditions)},
            }
        )

    pressure = {"type": "MemoryPressure", "status": "False"}
    assert node(pressure, {"type": "Ready", "status": "Unknown"}).is_lost
    assert node({"type": "Ready", "status": "False"}).is_lost
    assert not node({"type": "Ready", "status": "True"}).is_lost
    assert not node(pressure).is_lost
    assert node().unschedulable
    assert node().taints == ("node.kubernetes.io/unreachable:NoExecute", "pool=gpu:NoSchedule")
