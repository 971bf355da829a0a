"""What is kept of a failed run: enough to check its verdict after everything was deleted."""

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

# Long, and no help in finding out what happened.
_NOISE = frozenset({"managedFields", "selfLink"})


@dataclass(frozen=True, slots=True)
class Decision:
    """One observation or decision of the run, in words, with its time."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForensicsBundle:
    """The facts behind a verdict, known secrets masked; nothing in it is stream-json.

    Attributes:
        taken_at: UTC, before anything of the run was cleaned up.
        job: The Job as last read; `None` if there was none.
        pods: All pods of the Job, oldest first, each as its most informative read showed it.
        node: Node of the agent's pod, if nodes may be read.
        kubernetes_events: About the Job and its pods, oldest first.
        last_lines: The end of the agent's output, rendered for people, including stderr.
        facts_used: The facts behind the verdict, the deciding one first.
        not_observed: What was not observed, although it might have shown more.
        not_read: What could not be read in the cluster, with the reason.
        decisions: Observations and decisions of the run, oldest first.
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
    """Return the bundle, with a bounded size and with every known secret masked.

    Args:
        taken_at: Now, UTC.
        job: The Job as last read.
        pods: The pods as read, oldest first.
        evidence: Kubernetes Events and the node.
        last_lines: Rendered lines of the agent's output.
        facts_used: From the verdict.
        not_observed: From the verdict.
        decisions: The run's, oldest first.
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
