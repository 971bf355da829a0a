"""What the cluster reported about a run's ending, in its own words, from the agent outwards."""

from collections.abc import Iterator

from tasks.observation.container_states import ContainerSnapshot
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.run_facts import RunFacts
from tasks.text.quoting import plain_words, quote
from tasks.transcript.line_grammar import parse_trailer_text

_NAME_LIMIT_CHARACTERS = 200
_SAID_LIMIT_CHARACTERS = 1_500
# Warnings repeat under the same reason; the newest ones describe the ending.
_MOST_EVENTS = 3


def cluster_words(facts: RunFacts) -> str | None:
    """Return all that the cluster reported, shortened; `None` if it reported nothing."""
    said = "; ".join(part for part in _parts(facts) if part)
    return said[:_SAID_LIMIT_CHARACTERS] if said else None


def _parts(facts: RunFacts) -> Iterator[str | None]:
    yield container_words(facts)
    yield init_words(facts)
    yield pod_words(facts)
    yield node_words(facts)
    for condition in facts.job_conditions:
        if condition.is_true and condition.type == "Failed":
            reason = f", reason {_name(condition.reason)}" if condition.reason else ""
            yield f"Job condition Failed{reason} {quote(condition.message)}".rstrip()
    for event in _warnings(facts):
        yield f"Kubernetes Event {_name(event.reason)} {quote(event.message)}".rstrip()


def container_words(facts: RunFacts) -> str | None:
    """Return how the kubelet describes the end of the agent's container."""
    reason, message = facts.container_reason, facts.container_message or ""
    # The run script writes its trailer into the same field; it is not meant for people.
    quoted = quote(message) if parse_trailer_text(message) is None else ""
    child_only = reason == "OOMKilled" and facts.container_exit_code == 0
    parts = (
        f"container reason {_name(reason)}" if reason else "",
        "only a child process was killed for its memory use" if child_only else "",
        f"kubelet message {quoted}" if quoted else "",
    )
    return ", ".join(part for part in parts if part) or None


def init_words(facts: RunFacts) -> str | None:
    """Return which init container has failed, or is waiting with a reason."""
    if facts.container_started:
        return None
    failed = facts.failed_init_container
    if failed is not None and failed.terminated is not None:
        ended = failed.terminated
        said = quote(ended.message)
        return (
            f"init container {_name(failed.name)} {_name(ended.words)}{f' {said}' if said else ''}"
        )
    return next(filter(None, map(_waiting_words, facts.init_containers)), None)


def _waiting_words(container: ContainerSnapshot) -> str | None:
    waiting = container.waiting
    if waiting is None or waiting.reason in (None, "PodInitializing"):
        return None
    return f"init container {_name(container.name)} is waiting: {_name(waiting.reason)}"


def pod_words(facts: RunFacts) -> str | None:
    """Return the pod's name, phase, reason, message and node.

    The phase follows a container's end by a second: until then it still says Running.
    """
    reason = facts.pod_reason or (facts.disruption.reason if facts.disruption else None)
    is_late = facts.container_exit_code is not None and facts.pod_phase == "Running"
    phase = None if is_late else facts.pod_phase
    parts = (
        f"pod {_name(facts.pod_name)}" if facts.pod_name else "",
        f"pod phase {_name(phase)}" if phase else "",
        f"pod reason {_name(reason)}" if reason else "",
        quote(facts.pod_message),
        f"node {_name(facts.node_name)}" if facts.node_name else "",
    )
    return ", ".join(part for part in parts if part) or None


def node_words(facts: RunFacts) -> str | None:
    """Return what is wrong with the pod's node; `None` if nothing is, or nodes may not be read."""
    node = facts.node
    if node is None:
        return None
    pressed = [item.type for item in node.conditions if item.is_true and "Pressure" in item.type]
    ready = node.ready
    parts = (
        f"{_name(node.words_when_lost)} {quote(ready.message if ready else None)}".rstrip()
        if node.is_lost
        else "",
        f"node under {_name(', '.join(pressed))}" if pressed else "",
        f"the node's architecture is {_name(node.architecture)}"
        if facts.wrong_architecture and node.architecture
        else "",
    )
    return ", ".join(part for part in parts if part) or None


def _warnings(facts: RunFacts) -> list[KubernetesEventSnapshot]:
    newest = {event.reason: event for event in facts.kubernetes_events if event.type == "Warning"}
    return list(newest.values())[-_MOST_EVENTS:]


def _name(text: str | None) -> str:
    return plain_words(text or "", _NAME_LIMIT_CHARACTERS) or "(unreadable)"
