"""What is kept of a run that did not succeed: enough to check its verdict after all is deleted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.observation.api_fields import RawObject, object_at
from tasks.observation.cluster_evidence import ClusterEvidence, NodeSnapshot
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.text.quoting import without_json_events
from tasks.text.redaction import Redactor

LAST_LINES = 40
LAST_DECISIONS = 200

# Long and without a word about what happened: who wrote which field, and when.
_NOISE = frozenset({"managedFields", "selfLink"})


@dataclass(frozen=True, slots=True)
class Decision:
    """What the run noticed or decided, in its own words, when it did."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForensicsBundle:
    """The facts behind a verdict, known secrets masked; nothing in it is stream-json.

    Attributes:
        taken_at: UTC, before anything of the run was cleaned up.
        job: As the API server last gave it; `None` where there was none.
        pods: All of the Job's ever seen, oldest first, each as it told most.
        node: The agent pod's, where nodes may be read.
        kubernetes_events: About the Job and its pods, oldest first.
        last_lines: The end of the agent's output as people read it, stderr included.
        facts_used: What the verdict rests on, the deciding fact first.
        not_observed: What could not be seen and might have told more.
        not_read: What the cluster refused to tell, with its reason.
        decisions: What the run noticed and decided, oldest first.
    """

    taken_at: datetime
    job: RawObject | None = None
    pods: tuple[RawObject, ...] = ()
    node: NodeSnapshot | None = None
    kubernetes_events: tuple[KubernetesEventSnapshot, ...] = ()
    last_lines: tuple[str, ...] = ()
    facts_used: tuple[str, ...] = ()
    not_observed: tuple[str, ...] = ()
    not_read: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()


def build_forensics(
    *,
    taken_at: datetime,
    job: RawObject | None,
    pods: Sequence[RawObject],
    evidence: ClusterEvidence,
    last_lines: Iterable[str],
    facts_used: Iterable[str],
    not_observed: Iterable[str],
    decisions: Iterable[Decision],
    redactor: Redactor,
) -> ForensicsBundle:
    """Return the bundle: bounded in size, and with every known secret masked.

    Args:
        taken_at: Now, UTC.
        job: As the API server last gave it.
        pods: As the API server gave them, oldest first.
        evidence: Events and node.
        last_lines: Rendered lines of the agent's output.
        facts_used: Of the verdict.
        not_observed: Of the verdict.
        decisions: Of the run, oldest first.
        redactor: Knows the secrets.
    """
    text = redactor.text
    return ForensicsBundle(
        taken_at=taken_at,
        job=None if job is None else redactor.json(_without_noise(job)),
        pods=tuple(redactor.json(_without_noise(pod)) for pod in pods),
        node=evidence.node,
        kubernetes_events=tuple(
            replace(event, message=text(event.message)) for event in evidence.kubernetes_events
        ),
        last_lines=tuple(without_json_events(text(line)) for line in [*last_lines][-LAST_LINES:]),
        facts_used=tuple(map(text, facts_used)),
        not_observed=tuple(not_observed),
        not_read=tuple(map(text, evidence.not_read)),
        decisions=tuple(
            replace(decision, text=text(decision.text))
            for decision in [*decisions][-LAST_DECISIONS:]
        ),
    )


def _without_noise(raw: RawObject) -> RawObject:
    metadata = {
        key: value for key, value in object_at(raw, "metadata").items() if key not in _NOISE
    }
    return {**raw, "metadata": metadata}
